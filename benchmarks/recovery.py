"""How fast a snapshot is merged, against the loop one would write by hand: get, compare clocks, save.

python -m benchmarks.recovery [rows]    (SYNCRESET_TEST_DATABASE=postgresql for PostgreSQL)
"""

import io
import sys
import uuid
from collections.abc import Iterator
from hashlib import sha256

from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.db import connection

from benchmarks.sidebyside import compare, database
from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.protocol.changes import Row
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import Header, RowLine
from syncreset.protocol.snapshot.read import SnapshotReader
from syncreset.protocol.snapshot.write import write_snapshot
from syncreset.recovery.intake import finish_upload
from syncreset.recovery.run import run
from syncreset.recovery.uploads import create_upload, receive
from syncreset.wire.schema import publish
from tests.shelters.models import Vet


def snapshot(reset: Reset, percent: int) -> bytes:
    """The store of a client that holds every vet and has renamed some of them."""
    target = io.BytesIO()
    header = Header(
        client=str(reset.client_id),
        reset=str(reset.pk),
        schema=publish()["hash"],
        checkpoint=None,
        strategy="by_base",
    )
    write_snapshot(target, header, _lines(percent))
    return target.getvalue()


def _lines(percent: int) -> Iterator[RowLine]:
    for number, vet in enumerate(Vet.objects.order_by("pk").iterator()):
        fields, clocks = {"name": vet.name, "phone": vet.phone}, vet.field_timestamps
        base: dict[str, int] = {}
        if number % 100 < percent:
            base = {"name": clocks.get("name", clocks["*"])}
            fields["name"], clocks = uuid.uuid4().hex, {**clocks, "name": now()}
        row = Row(fields=fields, updated=max(clocks.values()), clocks=clocks)
        yield RowLine(model="shelters.vet", pk=vet.pk, row=row, base=base)


def recover(reset: Reset, percent: int) -> None:
    """From the uploaded bytes to the closed ledger."""
    data = snapshot(reset, percent)
    reset.recoveries.all().delete()
    upload = create_upload(reset, length=len(data), metadata={"sha256": sha256(data).hexdigest()})
    receive(upload, ContentFile(data), offset=0)
    run(finish_upload(upload).pk)


def merge_by_hand(reset: Reset, percent: int) -> None:
    """What the guide does: a query and a save for each row, and no record of anything."""
    for line in SnapshotReader(io.BytesIO(snapshot(reset, percent))):
        if isinstance(line, RowLine) and line.base:
            vet = Vet.objects.get(pk=line.pk)
            if vet.field_timestamps.get("name", 0) < line.row.clock("name"):
                vet.name = line.row.fields["name"]
                vet.save()


def main(rows: int) -> None:
    with database():
        user = get_user_model()._default_manager.create_superuser("bench", password="bench")  # type: ignore[attr-defined]
        (reset,) = Reset.objects.force([Client.objects.create(user=user)])
        Vet.objects.bulk_create((Vet(code=f"v{n}", name="old") for n in range(rows)), batch_size=1000)
        print(
            f"{connection.vendor}: a snapshot of {rows:,} rows written, checked and merged, against a loop by hand"
        )
        for percent in (1, 10, 100):
            compare(
                f"{percent} % of the rows changed",
                lambda percent=percent: recover(reset, percent),
                lambda percent=percent: merge_by_hand(reset, percent),
                rounds=3,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
