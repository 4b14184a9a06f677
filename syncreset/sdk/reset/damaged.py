"""Damaged files of a replica: backups that are read around their damage, a damaged store, a damaged journal.

Nothing of it is ever deleted, and nothing of it stands in the way of ordinary syncing.
"""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from ...protocol.clock import now
from ..errors import StorageFailed, StoreDamaged, StoreUnreadable
from ..store.faults import storage_errors
from ..store.salvage import Key, Salvage, is_sound, salvage
from ..store.schema import EMPTY, Schema
from ..store.store import Store
from ..sync import outbox, pulled
from . import files
from .backup import fold_journal, name_backup
from .entries import DAMAGED, Record, ResetPlan
from .journal import Journal

#: The modes that a server may allow, where the journal has lost which this one does.
_ANY_MODE = ("manual", "recover", "discard")


def is_damaged(path: Path) -> bool:
    """Whether a store is damaged anywhere. Raises StoreUnreadable where it cannot be opened for another reason."""
    try:
        with storage_errors(path):
            return not is_sound(path)
    except StoreDamaged:
        return True


# -- backups ------------------------------------------------------------------------------------------------------


def readable(journal: Journal, name: str, live: Store) -> Path | None:
    """The file to read a backup from: itself, or what could be salvaged of it. None where nothing can be read.

    What is found out is noted in the journal, and told in the live store's list of what is unresolved.
    """
    record = journal.record(name)
    if record.state == "unreadable":
        return None
    salvaged = journal.path(name + ".salvaged")
    if record.damaged is not None and salvaged.exists():
        return salvaged
    if record.damaged is None and not _is_damaged_or_gone(journal.path(name)):
        return journal.path(name)
    return distrust(journal, name, live)


def distrust(journal: Journal, name: str, live: Store) -> Path | None:
    """Salvage what can be read of a backup; as ``readable``."""
    record = journal.record(name)
    found = salvage_backup(journal, record, fallback=live.schema)
    if not (live.schema.models or (found is not None and found.schema)):
        # Without a schema the tables of models cannot be read: once one is there, it is tried anew.
        return None if found is None or not found.rows else journal.path(name + ".salvaged")
    if found is None or not found.rows:
        journal.note_damage(name, _every_table(live), "unreadable")
        return None
    _tell_of(live, found.lost)
    journal.note_damage(name, found.tables, None)
    return journal.path(name + ".salvaged")


def to_renew_from(journal: Journal, record: Record) -> Path | None:
    """The file to read from what a new store takes over, before there is one. What is found out is not noted yet."""
    path = journal.path(record.name)
    if not _is_damaged_or_gone(path):
        return path
    found = salvage_backup(journal, record, fallback=EMPTY)
    return None if found is None else journal.path(record.name + ".salvaged")


def _is_damaged_or_gone(path: Path) -> bool:
    try:
        return is_damaged(path)
    except StoreUnreadable:
        return True


def salvage_backup(journal: Journal, record: Record, *, fallback: Schema) -> Salvage | None:
    """Write what can be read of a backup into a file beside it. None where the file cannot be opened at all."""
    path, target = journal.path(record.name), journal.path(record.name + ".salvaged")
    try:
        return _salvage_into(path, target, client=record.client, fallback=fallback)
    except StoreUnreadable:
        return None


def _salvage_into(source: Path, target: Path, *, client: str | None, fallback: Schema) -> Salvage:
    draft = target.with_name(target.name + ".new")
    _remove_store(draft)
    try:
        with storage_errors(source), closing(Store(draft)) as store:
            found = salvage(source, store, fallback=fallback)
            with store.transaction():
                if store.get("client") is None and client is not None:
                    store.put(client=client)
            fold_journal(store.connection)
        files.move(draft, target)
    except StorageFailed:
        _remove_store(draft)
        raise
    return found


def _remove_store(path: Path) -> None:
    for suffix in ("-shm", "-wal", ""):
        files.remove(path.with_name(path.name + suffix))


def _every_table(live: Store) -> tuple[str, ...]:
    return tuple(model.table for model in live.schema.models.values())


def _tell_of(live: Store, lost: Iterable[Key]) -> None:
    """Rows of which something unsynced could not be read."""
    with live.transaction():
        for model, pk in lost:
            live.add_unresolved(
                seq=None,
                model=model,
                pk=pk,
                op="put",
                state="unreadable",
                fields={},
                problem={
                    "code": "unreadable",
                    "detail": "changes of this row that were not sent stand where the disk is damaged",
                },
            )


# -- the store ----------------------------------------------------------------------------------------------------


def salvage_store(store: Path, journal: Journal) -> None:
    """Set the damaged store aside as a backup, and begin a store with what can be read of it.

    It goes on as a copy of itself, which its server makes a client of its own if pushes may be missing. May be repeated
    after a kill.
    """
    if journal.salvaging is None:
        noted = now()
        name = name_backup(store, "damaged", noted)
        journal.begin_salvage(Record(name=name, reset="", reason=DAMAGED, created=noted))
    record = journal.record(str(journal.salvaging))
    backup = journal.path(record.name)
    if not backup.exists():
        files.remove(store.with_name(store.name + "-shm"))
        files.move_away(store.with_name(store.name + "-wal"), backup.with_name(backup.name + "-wal"))
        files.move_away(store, backup)
    if not store.exists():
        files.remove(store.with_name(store.name + "-wal"))
        _begin_anew(store, journal, record)
    with closing(Store(store)) as begun:
        tables, anything = begun.get("salvaged", [[], False])
    state = "salvaged" if anything else "unreadable"
    journal.note_damage(record.name, tuple(tables), "salvaged" if state == "salvaged" else "unreadable")
    journal.end_salvage()


def _begin_anew(store: Path, journal: Journal, record: Record) -> None:
    draft = store.with_name(store.name + ".salvaged")
    found = _salvage_into(
        journal.path(record.name), draft, client=None, fallback=_schema_of_another(journal, record)
    )
    with closing(Store(draft)) as begun:
        outbox.take_back_unsent(begun)
        with begun.transaction():
            begun.connection.execute(
                "UPDATE _syncreset_step SET seq = NULL, base = NULL, sent = 2 WHERE seq IS NOT NULL AND at IS NULL"
            )
            pulled.bootstrap_again(begun)
            begun.put(receipt="", salvaged=[list(found.tables), bool(found.rows and found.schema)])
        _tell_of(begun, found.lost)
        fold_journal(begun.connection)
    files.move(draft, store)


def _schema_of_another(journal: Journal, damaged: Record) -> Schema:
    """The schema of the newest backup that has one."""
    for record in reversed(journal.records):
        if record.name == damaged.name:
            continue
        try:
            with closing(Store(journal.path(record.name), read_only=True)) as other:
                if other.schema.models:
                    return other.schema
        except StorageFailed:
            continue
    return EMPTY


# -- the journal --------------------------------------------------------------------------------------------------


def needs_mending(journal: Journal) -> bool:
    """Whether the journal is damaged, or does not know of a backup that is there."""
    return journal.damaged or bool(journal.found())


def mend(store: Path, journal: Journal, *, mode: str, strategy: str | None) -> None:
    """Keep what can be read of the journal, and take up the backups that it has lost.

    Where it has lost the reset under way, the one that made the newest of them is gone on with: if it is through, the
    server says so.
    """
    found = journal.found()
    plan = journal.plan
    kept = [record for record in (*journal.records, *found) if record.state == "kept"]
    if plan is None and kept and journal.salvaging is None:
        newest = max(kept, key=lambda record: record.created)
        plan = ResetPlan(
            reset=newest.reset,
            reason=newest.reason,
            mode=mode,
            strategy=strategy,
            allowed=_ANY_MODE,
            upload=None,
            full=newest.full,
            noted=now(),
            backup=newest.name,
            step="renew" if store.exists() else "set_aside",
        )
    journal.mend(found, plan)


def told_of_damage(journal: Journal) -> tuple[tuple[Path, ...], StoreDamaged | None]:
    """The files found damaged that the app has not been told of, and the error for one of which nothing is left."""
    names = journal.untold
    lost = [
        record.name for record in journal.records if record.name in names and record.state == "unreadable"
    ]
    paths = tuple(journal.path(name) for name in dict.fromkeys(names))
    if not lost:
        return paths, None
    path = journal.path(lost[0])
    message = (
        f"nothing can be read of {path}, a backup with work that may not have been sent. It is kept where it is; "
        "retry_reset() looks at it again. Everything else was synced"
    )
    return paths, StoreDamaged(message, path=path)
