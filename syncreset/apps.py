"""Wires syncreset into a project: checks, and triggers around ``migrate``."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.module_loading import autodiscover_modules


class SyncresetConfig(AppConfig):
    name = "syncreset"
    label = "syncreset"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Syncreset"

    def ready(self) -> None:
        from syncreset import buried_sets, checks, clients, recovery, signals, tasks
        from syncreset.tracking import migrations_guard

        checks.register_all()
        buried_sets.watch_deletions()
        signals.synced.connect(
            clients.record_synced, sender=clients.Client, dispatch_uid="syncreset.record_synced"
        )
        signals.recovery_queued.connect(
            tasks.enqueue, sender=recovery.Recovery, dispatch_uid="syncreset.enqueue"
        )
        pre_migrate.connect(
            migrations_guard.before_migrate, sender=self, dispatch_uid="syncreset.before_migrate"
        )
        post_migrate.connect(
            migrations_guard.after_migrate, sender=self, dispatch_uid="syncreset.after_migrate"
        )
        autodiscover_modules("upcasters")
