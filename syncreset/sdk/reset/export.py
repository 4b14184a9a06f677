"""Everything unsynced of a replica in one file: what a user may carry to the operator where no sync gets through."""

from contextlib import ExitStack, closing
from pathlib import Path

from ...protocol.snapshot.write import write_snapshot
from ..store.store import Store
from . import files
from . import snapshot as backup
from .device import Device


def export_pending(device: Device, target: Path) -> int:
    """Write the pending changes of the store and of every kept backup. Returns how many rows and deletions.

    The file is a snapshot (``syncreset-snapshot/1``) as a reset uploads it, with the reset under way in its header if
    there is one. It is there whole or not at all, in the place of any file of that name.
    """
    with device.alone(within=True):
        device.journal.reload()
        plan = device.journal.plan
        with ExitStack() as opened:
            kept = [device.backup(record.name) for record in device.journal.kept()]
            stores = [
                opened.enter_context(closing(Store(path, read_only=True)))
                for path in (*kept, device.path)
                if path is not None
            ]
            stores[-1].connection.execute("BEGIN")
            at = stores[-1].corrected_now()
            header = backup.header_of(
                stores,
                reset="" if plan is None else plan.reset,
                strategy=device.strategy,
                full=False,
                created=at,
                client_time=at,
            )
            draft = opened.enter_context(files.draft_of(target))
            with draft.open("wb") as content:
                counts = write_snapshot(
                    content, header, backup.lines_of_stores(stores, backup.LeftOut(), full=False)
                )
            files.move(draft, target)
    return counts.rows + counts.tombstones
