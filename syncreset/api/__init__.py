"""The HTTP interface, by Django REST framework: the protocol page, endpoint by endpoint."""
