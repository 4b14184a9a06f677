"""The user leaves this device: everything of theirs is deleted, once nothing of it would be lost."""

from ..errors import LogoutRefused
from ..store.reader import pending_changes
from . import files
from .device import Device
from .dispose import delete_everything


def leave(device: Device, *, force: bool) -> None:
    """Delete the store, its backups and its journal. Raises LogoutRefused where something would be lost.

    ``force`` deletes all the same. Between the look at the store and its deletion nobody can write to it; a kill in
    the middle is finished when the replica is opened again.
    """
    with device.alone():
        device.journal.reload()
        store = device.store
        with store.transaction():
            pending = pending_changes(store)
            held = {device.journal.path(record.name) for record in device.journal.held()}
            backups = [
                backup
                for backup in device.journal.backups()
                if backup.path in held or (backup.state == "unreadable" and backup.path.exists())
            ]
            unresolved = [item for item in store.unresolved() if item.item is None]
            if not force and (pending or backups or unresolved):
                raise LogoutRefused(pending=pending, backups=backups, unresolved=unresolved)
            store.put(leaving=True)
            store.seal()
        device.close()
        delete_everything(device.path, device.journal)
    files.remove(device.lock)
