"""Real processes that are really killed, and real databases that are really restored; not part of the suite.

A PostgreSQL that waits for its disk, gunicorn, a Celery worker, Redis, and devices in processes of their own. Run by
``make kill`` and ``make restores``.
"""
