"""The demo project: its data, its command to seed them, its services."""
