"""The snapshot's way to the server: written once, sent by tus 1.0 from wherever an earlier attempt had come to."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ...protocol.clock import now
from ..errors import ProblemReceived, ProtocolViolation, ServerUnavailable, StoreDamaged
from ..store.faults import storage_errors
from ..transport.messages import Exchange, Request, Response, call, check, member
from . import damaged
from . import snapshot as backup
from .device import Device
from .entries import ResetPlan, SnapshotFile

#: Bytes of a piece, at first and where a proxy takes no more.
CHUNK, SMALLEST = 1024 * 1024, 16 * 1024
TUS = {"tus-resumable": "1.0.0"}

#: The checksums of pieces that are offered to the server, the best first.
CHECKSUMS = ("sha256", "sha1")

#: A snapshot written longer ago (µs) is written anew before its upload begins, for it says what time it is.
STALE = 30_000_000

#: How often one sync finds the upload elsewhere, or a piece damaged on its way, before it leaves the rest to the next.
INTERRUPTIONS = 5


class ResetForgotten(Exception):
    """The server does not know the reset any more, or its time has passed: a bootstrap in its name settles which."""


def write(device: Device, plan: ResetPlan) -> ResetPlan:
    """Write what the backups hold, and let the upload of it be the next step. Where nothing can be read, it ends."""
    snapshot = _write(device, plan)
    if snapshot is None:
        problem = {"code": "backup_unreadable", "detail": "nothing can be read of what was set aside"}
        return device.advance(plan, step="finish", outcome="discarded", problem=problem)
    _keep_outlived(device, snapshot)
    return device.advance(plan, step="upload", snapshot=snapshot, location=None, recovery=None)


def _write(device: Device, plan: ResetPlan) -> SnapshotFile | None:
    """The snapshot, None where no backup can be read. What no check of the pages tells is found out by reading."""
    journal, store = device.journal, device.store
    for name in (None, *(record.name for record in journal.held())):
        if name is not None and journal.record(name).damaged is None:
            damaged.distrust(journal, name, store)
        found = [(record, damaged.readable(journal, record.name, store)) for record in journal.held()]
        sources = [(journal.record(record.name), path) for record, path in found if path is not None]
        if not sources:
            return None
        try:
            with storage_errors(journal.path(plan.backup)):
                return backup.write_snapshot_file(
                    journal, plan, sources, plan.strategy, store.corrected_now()
                )
        except StoreDamaged:
            continue
    raise StoreDamaged(
        f"{journal.path(plan.backup)} is damaged, and so is what was salvaged of it",
        path=journal.path(plan.backup),
    )


def _keep_outlived(device: Device, snapshot: SnapshotFile) -> None:
    """Deletions that the snapshot leaves out, because an older backup holds unsynced edits, are told to the user."""
    store = device.store
    listed = {(item.model, item.pk) for item in store.unresolved() if item.code == "edited_before"}
    with store.transaction():
        for model, pk in snapshot.outlived:
            if (model, pk) not in listed:
                store.add_unresolved(
                    seq=None,
                    model=model,
                    pk=pk,
                    op="delete",
                    state="superseded",
                    fields={},
                    problem={
                        "code": "edited_before",
                        "detail": "edits that the server had not seen outlive the deletion",
                    },
                )


def upload(device: Device, plan: ResetPlan) -> Exchange[ResetPlan]:
    """Send what the server has not got yet of the snapshot; the step after it is to wait for the recovery.

    Raises ResetForgotten, ProblemReceived where the server refuses it, and ServerUnavailable where it does not get
    through in one sync.
    """
    for _ in range(INTERRUPTIONS):
        if not _is_whole(device, snapshot_of(plan)):
            plan = write(device, plan)
            if plan.step != "upload":
                return plan
        if plan.location is None:
            if now() - snapshot_of(plan).written > STALE:
                plan = write(device, plan)
                if plan.step != "upload":
                    return plan
            plan = yield from _create(device, plan)
            if plan.step != "upload":
                return plan
        offset = yield from offset_of(plan)
        if offset is None:
            recovery = yield from recovery_of(plan)
            if recovery is None:
                plan = device.advance(plan, location=None)
                continue
        else:
            recovery = yield from _send(device, plan, offset)
        if recovery is not None:
            return device.advance(plan, step="wait", recovery=recovery)
    raise ServerUnavailable(
        "the upload of the snapshot was interrupted again and again; the next sync continues it"
    )


def _is_whole(device: Device, snapshot: SnapshotFile) -> bool:
    path = device.journal.path(snapshot.name)
    return path.exists() and path.stat().st_size == snapshot.size


def snapshot_of(plan: ResetPlan) -> SnapshotFile:
    """The snapshot that a plan has written."""
    if plan.snapshot is None:
        raise RuntimeError("the journal lost the snapshot")
    return plan.snapshot


def state_of(reset: str) -> Exchange[Mapping[str, Any] | None]:
    """A reset as the server has it; None where it knows none of this id."""
    try:
        found = yield from call("GET", f"resets/{quote(reset, safe='')}")
        member(found, "state", str)
        return found
    except ProblemReceived as problem:
        if problem.status != 404:
            raise
        return None


def recovery_of(plan: ResetPlan) -> Exchange[str | None]:
    """The recovery that the server has for the reset: the answer that said so may have been lost.

    Raises ResetForgotten.
    """
    reset = yield from state_of(plan.reset)
    if reset is None:
        raise ResetForgotten(plan.reset)
    return member(reset, "recovery", str, "") or None


def _create(device: Device, plan: ResetPlan) -> Exchange[ResetPlan]:
    path = plan.upload or f"resets/{quote(plan.reset, safe='')}/snapshot"
    offered = yield Request(method="OPTIONS", path=path, headers=TUS)
    algorithms = offered.headers.get("tus-checksum-algorithm", "").replace(" ", "").split(",")
    checksum = next((name for name in CHECKSUMS if name in algorithms), None)
    snapshot = snapshot_of(plan)
    metadata = {"sha256": snapshot.sha256, "mode": "recover"}
    if plan.strategy is not None:
        metadata["strategy"] = plan.strategy
    encoded = ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in metadata.items()
    )
    response = yield Request(
        method="POST",
        path=path,
        headers=TUS | {"upload-length": str(snapshot.size), "upload-metadata": encoded},
    )
    if response.is_problem and response.status == 404 and (yield from state_of(plan.reset)) is None:
        raise ResetForgotten(plan.reset)
    if response.is_problem and response.status == 410:
        raise ResetForgotten(plan.reset)
    check(response)
    recovery = response.headers.get("syncreset-recovery")
    if recovery is not None:
        return device.advance(plan, step="wait", recovery=recovery)
    location = response.headers.get("location")
    if location is None:
        raise ProtocolViolation("the server made an upload and did not say where")
    return device.advance(plan, location=location, checksum=checksum)


def offset_of(plan: ResetPlan) -> Exchange[int | None]:
    """How much of the upload the server has; None where it knows no such upload any more."""
    response = yield Request(method="HEAD", path=str(plan.location), headers=TUS)
    if response.is_problem and response.status in (404, 410):
        return None
    if response.is_problem:
        # An answer to HEAD has no body: what is wrong is said to another question.
        yield from state_of(plan.reset)
    check(response)
    return _upload_offset(response)


def _upload_offset(response: Response) -> int:
    text = response.headers.get("upload-offset", "")
    if not (text.isascii() and text.isdecimal()):
        raise ProtocolViolation(
            f"the server's answer ({response.status}) does not say how much of the upload it has"
        )
    return int(text)


def _send(device: Device, plan: ResetPlan, offset: int) -> Exchange[str | None]:
    """Send pieces from ``offset`` on, and give the recovery. None where the upload has to be looked at again.

    Where the server has it all and made no recovery, an empty piece at its end lets it try once more.
    """
    snapshot, size = snapshot_of(plan), CHUNK
    with device.journal.path(snapshot.name).open("rb") as content:
        while True:
            content.seek(offset)
            piece = content.read(size)
            response = yield Request(
                method="PATCH", path=str(plan.location), headers=_headers(plan, offset, piece), body=piece
            )
            if response.status == 413 and not response.is_problem and len(piece) > SMALLEST:
                size = len(piece) // 2  # a proxy takes less than the server
                continue
            lost = response.is_problem and response.status in (404, 409, 410, 460)
            if lost and b"client_reset" not in response.body:
                return None
            check(response)
            if _upload_offset(response) != offset + len(piece):
                return None
            offset += len(piece)
            device.tell("uploaded", plan, sent=offset, total=snapshot.size)
            if offset >= snapshot.size:
                break
    recovery = response.headers.get("syncreset-recovery")
    if recovery is None:
        recovery = yield from recovery_of(plan)
    if recovery is None:
        raise ProtocolViolation("the server has the whole snapshot and makes no recovery of it")
    return recovery


def _headers(plan: ResetPlan, offset: int, piece: bytes) -> dict[str, str]:
    headers = TUS | {"content-type": "application/offset+octet-stream", "upload-offset": str(offset)}
    if plan.checksum is not None:
        digest = hashlib.new(plan.checksum, piece, usedforsecurity=False).digest()
        headers["upload-checksum"] = f"{plan.checksum} {base64.b64encode(digest).decode()}"
    return headers
