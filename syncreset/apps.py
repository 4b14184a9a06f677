"""Wires syncreset into a project: checks, and triggers around ``migrate``."""

from django.apps import AppConfig
from django.core.signals import request_started
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.module_loading import autodiscover_modules


class SyncresetConfig(AppConfig):
    name = "syncreset"
    label = "syncreset"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Syncreset"

    def ready(self) -> None:
        from syncreset import signals, tasks
        from syncreset.api import headers
        from syncreset.checks import register as checks
        from syncreset.clients import client as clients
        from syncreset.events import written
        from syncreset.recovery import job as recovery
        from syncreset.tracking import migrate as migrations_guard
        from syncreset.wire import deleted_sets as deleted_sets
        from syncreset.wire import schema

        checks.register_all()
        deleted_sets.watch_deletions()
        signals.synced.connect(
            clients.record_synced, sender=clients.Client, dispatch_uid="syncreset.record_synced"
        )
        signals.changes_applied.connect(written.announce, dispatch_uid="syncreset.announce_written")
        signals.recovery_queued.connect(
            tasks.enqueue, sender=recovery.Recovery, dispatch_uid="syncreset.enqueue"
        )
        request_started.connect(headers.make_readable, dispatch_uid="syncreset.make_readable")
        pre_migrate.connect(
            migrations_guard.before_migrate, sender=self, dispatch_uid="syncreset.before_migrate"
        )
        post_migrate.connect(
            migrations_guard.after_migrate, sender=self, dispatch_uid="syncreset.after_migrate"
        )
        post_migrate.connect(
            schema.publish_after_migrate, sender=self, dispatch_uid="syncreset.publish_after_migrate"
        )
        autodiscover_modules("upcasters")
