"""The tests' project as an ASGI application, for a real server."""

from django.core.asgi import get_asgi_application

application = get_asgi_application()
