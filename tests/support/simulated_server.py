"""A server of the protocol in memory, on the shared merge rule: enough of it to try replicas against.

It answers requests of the SDK's engine directly, can be copied and put back to an earlier copy, and can be told to
lose answers. Its feed has no scopes.
"""

import base64
import copy
import hashlib
import io
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from syncreset.protocol.changes import Change, Row, Tombstone, parse_change
from syncreset.protocol.clock import now
from syncreset.protocol.errors import InvalidSnapshot
from syncreset.protocol.snapshot.lines import (
    ChangeLine,
    FieldSteps,
    Header,
    RowLine,
    TombstoneLine,
    UpdateLine,
)
from syncreset.protocol.snapshot.read import SnapshotReader
from syncreset.protocol.steps import Step, add_step, is_steps, nothing, parse_steps, sum_of
from syncreset.rules.instruction import Instruction
from syncreset.rules.merge import Outcome, Policy, merge
from syncreset.rules.strategies import STRATEGIES, Synced, heal, tombstone_change
from syncreset.sdk import Request, Response

SCHEMA = {
    "hash": "schema-1",
    "models": [
        {
            "name": "farm.barn",
            "primary_key": "id",
            "scope": None,
            "fields": [{"name": "name", "type": "Char", "null": False, "max_length": 50}],
        },
        {
            "name": "farm.animal",
            "primary_key": "id",
            "scope": None,
            "fields": [
                {"name": "name", "type": "Char", "null": False, "max_length": 50},
                {"name": "age", "type": "Integer", "null": True},
                {"name": "weight", "type": "Decimal", "null": True},
                {"name": "tags", "type": "JSON", "null": True},
                {"name": "barn", "type": "ForeignKey", "null": True, "to": "farm.barn"},
            ],
        },
        {
            "name": "farm.crate",
            "primary_key": "id",
            "scope": None,
            "fields": [
                {"name": "name", "type": "Char", "null": False, "max_length": 50},
                {"name": "eggs", "type": "Integer", "null": False, "counter": True},
                {"name": "sold", "type": "BigInteger", "null": True, "counter": True},
                {"name": "weight", "type": "Decimal", "null": True, "counter": True},
                {"name": "labels", "type": "ManyToMany", "null": False, "to": "farm.label"},
            ],
        },
    ],
}

Key = tuple[str, str]


@dataclass
class SimClient:
    acked: int = 0
    pushes: int = 0
    receipt: str = ""
    receipt_before: str = ""
    answers: dict[int, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    reset: str | None = None


@dataclass
class SimReset:
    id: str
    client: str
    reason: str
    full: bool
    recovery: str | None = None
    bootstrapped: bool = False


@dataclass
class SimUpload:
    reset: str
    length: int
    sha256: str
    strategy: str
    data: bytes = b""


@dataclass
class SimRecovery:
    id: str
    reset: str
    upload: str
    state: str = "queued"
    totals: dict[str, int] = field(default_factory=dict)
    receipt: dict[str, Any] = field(default_factory=dict)
    problem: dict[str, Any] | None = None


@dataclass
class Item:
    """One line of the ledger."""

    client: str
    change: Change
    #: The change with what of its steps was not counted before.
    counted: Change
    outcome: Outcome


@dataclass
class State:
    """Everything that a database dump would hold."""

    epoch: str = "e1"
    schema: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(SCHEMA))
    rows: dict[Key, Row] = field(default_factory=dict)
    tombstones: dict[Key, Tombstone] = field(default_factory=dict)
    entries: dict[Key, int | None] = field(default_factory=dict)
    salts: list[str] = field(default_factory=lambda: ["start"])
    clients: dict[str, SimClient] = field(default_factory=dict)
    resets: dict[str, SimReset] = field(default_factory=dict)
    uploads: dict[str, SimUpload] = field(default_factory=dict)
    recoveries: dict[str, SimRecovery] = field(default_factory=dict)
    ledger: list[Item] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)
    clock: int = 0


class Problem(Exception):
    def __init__(self, status: int, code: str, **members: Any) -> None:
        super().__init__(code)
        self.response = refusal(status, code, **members)


class SimulatedServer:
    """Answers requests. ``polls`` is how often a recovery is asked for before it is done."""

    def __init__(self, *, page: int = 1000, changes: int = 1000, polls: int = 0) -> None:
        self.state = State()
        self.page_bytes = 4 * 1024**2
        self.page, self.changes, self.polls = page, changes, polls
        self.modes = ["manual", "recover", "discard", "recover_or_discard"]
        self.policy = Policy()
        self.requests: list[Request] = []
        self.refuse: Callable[[Change], dict[str, Any] | None] = lambda change: None
        self.fail_recoveries = False
        self.retry_after: int | None = None
        self.checksums = "sha1,sha256"

    # -- what tests do to it --------------------------------------------------------------------------------------

    def dump(self) -> State:
        return copy.deepcopy(self.state)

    def restore(self, state: State) -> None:
        self.state = copy.deepcopy(state)

    def force_reset(self, client: str, reason: str = "admin_forced", *, full: bool = False) -> str:
        return self._order(client, reason, full).id

    def wait(self) -> None:
        """Let a second pass on the server, which is more than a device's clock is ever wrong by after a sync."""
        self.state.clock = now() + 1_000_000

    def put(self, model: str, pk: str, **fields: Any) -> None:
        """A write on the server itself."""
        key, at = (model, pk), self.tick()
        row = self.state.rows.get(key)
        if row is None:
            self._store(key, Row(fields=self._defaults(model) | fields, updated=at, clocks={"*": at}))
        else:
            at = max(at, row.updated + 1)
            clocks = dict(row.clocks) | dict.fromkeys(fields, at)
            self._store(key, Row(fields={**row.fields, **fields}, updated=at, clocks=clocks))

    def delete(self, model: str, pk: str) -> None:
        key = (model, pk)
        row = self.state.rows.pop(key)
        self.state.tombstones[key] = Tombstone(deleted=max(self.tick(), row.updated + 1), row=row)
        self.state.entries[key] = None

    def tick(self) -> int:
        self.state.clock = max(now(), self.state.clock + 1)
        return self.state.clock

    def fields(self, model: str) -> dict[str, dict[str, Any]]:
        """All rows of a model by primary key."""
        return {pk: dict(row.fields) for (name, pk), row in self.state.rows.items() if name == model}

    # -- answering ------------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        try:
            return self._route(request)
        except Problem as problem:
            return problem.response

    def _route(self, request: Request) -> Response:
        path = request.path.removeprefix("/sync/v1/")
        parts = path.split("/")
        if request.method == "OPTIONS":
            return Response(status=204, headers={"tus-checksum-algorithm": self.checksums})
        if request.method == "HEAD":
            upload = self._upload(parts[1])
            return Response(status=200, headers={"upload-offset": str(len(upload.data))})
        if request.method == "PATCH":
            return self._patch(parts[1], request)
        if request.method == "POST" and parts[-1] == "snapshot":
            return self._create_upload(parts[1], request)
        if request.method == "GET":
            return _json(200, self._get(parts))
        body = json.loads(request.body)
        calls = {"clients": self._clients, "pull": self._pull, "push": self._push}
        return _json(200, calls[path](body) | {"server_time": now()})

    def _get(self, parts: list[str]) -> dict[str, Any]:
        if parts == [""]:
            limits = {"changes": self.changes, "page": self.page, "body": 1_000_000, "snapshot": 10**9}
            limits["page_bytes"] = self.page_bytes
            schema = self.state.schema["hash"]
            return {
                "protocol": 1,
                "epoch": self.state.epoch,
                "schema": schema,
                "server_time": now(),
                "limits": limits,
                "retention": 86_400,
                "minimum_protocol": 1,
            }
        if parts == ["schema"]:
            return self.state.schema
        if parts[0] == "resets":
            reset = self._reset(parts[1])
            state = "bootstrapped" if reset.bootstrapped else "ordered"
            if reset.recovery is not None and self.state.recoveries[reset.recovery].state == "queued":
                state = "recovering"
            return {
                "id": reset.id,
                "reason": reset.reason,
                "bootstrapped": 1 if reset.bootstrapped else None,
                "recovery": reset.recovery,
                "state": state,
            }
        recovery = self.state.recoveries.get(parts[1])
        if recovery is None:
            raise Problem(404, "not_found")
        return self._recovery(recovery)

    def _clients(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.state.clients.setdefault(body["client"], SimClient())
        return {"client": body["client"], "scopes": ["*"]}

    # -- resets ---------------------------------------------------------------------------------------------------

    def _order(self, client: str, reason: str, full: bool) -> SimReset:
        known = self.state.clients.setdefault(client, SimClient())
        if known.reset is not None:
            open_reset = self.state.resets[known.reset]
            if open_reset.reason == reason:
                return open_reset
        reset = SimReset(id=secrets.token_hex(8), client=client, reason=reason, full=full)
        self.state.resets[reset.id] = reset
        known.reset = reset.id
        return reset

    def _require_current(self, body: Mapping[str, Any]) -> SimClient:
        client_id, cursor = body["client"], _decode(body["checkpoint"])
        if client_id not in self.state.clients:
            raise self._ordered(self._order(client_id, "client_unknown", cursor is not None))
        client = self.state.clients[client_id]
        diverged = cursor is not None and (
            cursor["number"] >= len(self.state.salts) or self.state.salts[cursor["number"]] != cursor["salt"]
        )
        reset = body.get("reset")
        if diverged:
            raise self._ordered(self._order(client_id, "history_diverged", True))
        if body["schema"] != self.state.schema["hash"]:
            raise self._ordered(self._order(client_id, "schema_incompatible", False))
        if reset is not None and reset not in self.state.resets:
            raise self._ordered(self._order(client_id, "history_diverged", True))
        if client.reset is not None and client.reset != reset:
            raise self._ordered(self.state.resets[client.reset])
        return client

    def _ordered(self, reset: SimReset) -> Problem:
        problem = Problem(
            409,
            "client_reset",
            reason=reset.reason,
            reset=reset.id,
            mode_allowed=self.modes,
            recovery={"upload": f"/sync/v1/resets/{reset.id}/snapshot", "full": reset.full},
            schema=self.state.schema["hash"],
        )
        if self.retry_after is not None:
            headers = {**problem.response.headers, "retry-after": str(self.retry_after)}
            problem.response = replace(problem.response, headers=headers)
        return problem

    def _reset(self, reset: str) -> SimReset:
        if reset not in self.state.resets:
            raise Problem(404, "not_found")
        return self.state.resets[reset]

    # -- pull -----------------------------------------------------------------------------------------------------

    def _stamp(self) -> int:
        unstamped = [key for key, number in self.state.entries.items() if number is None]
        if unstamped:
            self.state.salts.append(secrets.token_hex(4))
            self.state.entries.update(dict.fromkeys(unstamped, len(self.state.salts) - 1))
        return len(self.state.salts) - 1

    def _pull(self, body: Mapping[str, Any]) -> dict[str, Any]:
        client = self._require_current(body)
        if body.get("reset") is None:
            self._require_chain(client, body)
        newest = self._stamp()
        cursor = _decode(body["checkpoint"]) or {"number": newest, "load": ["", ""], "at": None}
        limit, room = min(body["limit"], self.page), min(body["max_bytes"], self.page_bytes)
        changes: list[dict[str, Any]] = []
        if cursor["load"] is not None:
            keys = [
                key
                for key in sorted(self.state.rows, key=self._order_of)
                if self._order_of(key) > tuple(cursor["load"])
            ]
            changes = _fitting([self._put(key) for key in keys[:limit]], room)
            count = len(changes)
            cursor["load"] = list(self._order_of(keys[count - 1])) if len(keys) > count else None
            if cursor["load"] is not None:
                cursor["salt"] = self.state.salts[cursor["number"]]
                page = self._page(changes, cursor, more=True, client=client)
                return page | {"remaining": len(keys) - count}
        after = (cursor["number"], *(cursor["at"] or ["~", "~"]))
        entries = sorted((number or 0, *key) for key, number in self.state.entries.items())
        entries = [entry for entry in entries if entry > after]
        found = [self._change((model, pk)) for _, model, pk in entries[: limit - len(changes)]]
        count = len(_fitting([*changes, *found], room)) - len(changes)
        changes += found[:count]
        more = len(entries) > count
        last = entries[count - 1] if more and count else None
        if not more:
            cursor.update(number=newest, at=None)
        elif last is not None:
            cursor.update(number=last[0], at=list(last[1:]))
        cursor["salt"] = self.state.salts[cursor["number"]]
        if not more and body.get("reset") is not None and client.reset == body["reset"]:
            self.state.resets[body["reset"]].bootstrapped, client.reset = True, None
        return self._page(changes, cursor, more=more, client=client)

    def _page(
        self, changes: list[Any], cursor: dict[str, Any], *, more: bool, client: SimClient
    ) -> dict[str, Any]:
        encoded = base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode()
        return {
            "changes": changes,
            "checkpoint": encoded,
            "more": more,
            "scopes": ["*"],
            "acked": client.acked,
            "receipt": client.receipt,
        }

    def _order_of(self, key: Key) -> tuple[str, str]:
        names = [model["name"] for model in self.state.schema["models"]]
        return str(names.index(key[0])), key[1]

    def _put(self, key: Key) -> dict[str, Any]:
        row = self.state.rows[key]
        return {
            "model": key[0],
            "pk": key[1],
            "fields": dict(row.fields),
            "updated": row.updated,
            "clocks": dict(row.clocks),
        }

    def _change(self, key: Key) -> dict[str, Any]:
        if key in self.state.rows:
            return self._put(key)
        return {"model": key[0], "pk": key[1], "deleted": self.state.tombstones[key].deleted}

    # -- push -----------------------------------------------------------------------------------------------------

    def _push(self, body: Mapping[str, Any]) -> dict[str, Any]:
        client = self._require_current(body)
        if len(body["changes"]) > self.changes:
            raise Problem(413, "too_many_changes")
        self._require_chain(client, body)
        results: list[dict[str, Any]] = []
        answers: dict[int, tuple[str, dict[str, Any]]] = {}
        fresh = False
        for raw in body["changes"]:
            change = parse_change(raw, "changes")
            seq = change.seq or 0
            digest = hashlib.sha256(json.dumps(raw).encode()).hexdigest()
            if seq <= client.acked:
                before, result = client.answers.get(seq, ("", {}))
                if before != digest:
                    raise self._copied(body)
            else:
                fresh, client.acked = True, seq
                result = {"seq": seq} | self._result(body["client"], change)
            answers[seq] = digest, result
            results.append(result)
        if fresh:
            client.pushes += 1
            client.receipt_before, client.receipt = client.receipt, f"{client.pushes}.{secrets.token_hex(4)}"
            client.answers = answers
        return {"acked": client.acked, "receipt": client.receipt, "results": results}

    def _require_chain(self, client: SimClient, body: Mapping[str, Any]) -> None:
        shown = body.get("receipt") or ""
        if shown == client.receipt or (client.pushes and shown == client.receipt_before):
            return
        if shown and int(shown.partition(".")[0]) >= client.pushes - 1:
            raise self._ordered(self._order(body["client"], "history_diverged", True))
        raise self._copied(body)

    def _copied(self, body: Mapping[str, Any]) -> Problem:
        own = f"{body['client']}-{secrets.token_hex(4)}"
        self.state.clients[own] = SimClient()
        return Problem(409, "client_copied", client=own, checkpoint=body["checkpoint"])

    def _result(self, client: str, change: Change) -> dict[str, Any]:
        problem = self.refuse(change)
        key = (change.model, change.pk)
        if problem is not None:
            return {"state": "rejected", "problem": problem} | self._row_of(key)
        if change.base is None and change.op == "put":
            fields = self._defaults(change.model) | dict(change.fields)
            change = replace(change, fields=fields)
        before = self.state.rows.get(key)
        outcome = self._merge(client, change)
        result: dict[str, Any] = {"state": outcome.state}
        row = outcome.row or (before if outcome.state == "identical" else None)
        if row is not None and change.op == "put":
            whole = change.base is None and before is None
            result["clocks"] = (
                dict(row.clocks) if whole else {name: row.clock(name) for name in change.fields}
            )
            result["updated"] = row.updated
        if outcome.problem is not None:
            result["problem"] = outcome.problem.as_wire()
        simply = outcome.state == "applied" or (
            outcome.state == "identical" and not any(map(is_steps, change.fields.values()))
        )
        return result if simply else result | self._row_of(key)

    def _row_of(self, key: Key) -> dict[str, Any]:
        row = self.state.rows.get(key)
        if row is None:
            return {}
        return {"row": {"fields": dict(row.fields), "updated": row.updated, "clocks": dict(row.clocks)}}

    def _merge(self, client: str, change: Change) -> Outcome:
        key = (change.model, change.pk)
        described = self._model(change.model)["fields"]
        policy = replace(
            self.policy,
            counters=[entry["name"] for entry in described if entry.get("counter")],
            sets=[entry["name"] for entry in described if entry["type"] == "ManyToMany"],
        )
        counted = self._net(change)
        outcome = merge(self.state.rows.get(key), self.state.tombstones.get(key), counted, policy)
        for name, value in change.fields.items():
            if is_steps(value) and outcome.decisions[name].kept == "client":
                self.state.counted |= {step.id for step in parse_steps(value)}
        if outcome.deletes:
            row = self.state.rows.pop(key)
            self.state.tombstones[key] = Tombstone(deleted=max(self.tick(), row.updated + 1), row=row)
            self.state.entries[key] = None
        elif outcome.row is not None:
            self._store(key, outcome.row)
        self.state.ledger.append(Item(client=client, change=change, counted=counted, outcome=outcome))
        return outcome

    def _net(self, change: Change) -> Instruction:
        """The change with what its steps come to that are not counted yet."""
        fields, from_nothing = dict(change.fields), {}
        for name, value in change.fields.items():
            if is_steps(value):
                steps = parse_steps(value)
                fresh = sum_of(step for step in steps if step.id not in self.state.counted)
                fields[name] = nothing(sum_of(steps)) if fresh is None else fresh
                from_nothing[name] = value.get("value", add_step(None, sum_of(steps)))
        return replace(Instruction.of(change), fields=fields, from_nothing=from_nothing)

    def _store(self, key: Key, row: Row) -> None:
        self.state.rows[key] = row
        self.state.tombstones.pop(key, None)
        self.state.entries[key] = None

    def _defaults(self, model: str) -> dict[str, Any]:
        empty = {"ManyToMany": [], "Integer": 0}
        return {
            entry["name"]: None if entry["null"] else empty.get(entry["type"])
            for entry in self._model(model)["fields"]
        }

    def _model(self, name: str) -> dict[str, Any]:
        return next(model for model in self.state.schema["models"] if model["name"] == name)

    # -- upload and recovery --------------------------------------------------------------------------------------

    def _upload(self, upload: str) -> SimUpload:
        if upload not in self.state.uploads:
            raise Problem(404, "not_found")
        return self.state.uploads[upload]

    def _create_upload(self, reset: str, request: Request) -> Response:
        self._reset(reset)
        pairs = (pair.split(" ") for pair in request.headers["upload-metadata"].split(","))
        metadata = {name: base64.b64decode(value).decode() for name, value in pairs}
        name = secrets.token_hex(8)
        self.state.uploads[name] = SimUpload(
            reset=reset,
            length=int(request.headers["upload-length"]),
            sha256=metadata["sha256"],
            strategy=metadata.get("strategy", "by_base"),
        )
        return Response(status=201, headers={"location": f"/sync/v1/uploads/{name}"})

    def _patch(self, name: str, request: Request) -> Response:
        upload = self._upload(name)
        if int(request.headers["upload-offset"]) != len(upload.data):
            raise Problem(409, "wrong_offset")
        algorithm, _, digest = request.headers.get("upload-checksum", "").partition(" ")
        if algorithm and base64.b64decode(digest) != hashlib.new(algorithm, request.body).digest():
            raise Problem(460, "checksum_mismatch")
        upload.data += request.body
        headers = {"upload-offset": str(len(upload.data))}
        if len(upload.data) == upload.length:
            headers["syncreset-recovery"] = self._finish_upload(name, upload).id
        return Response(status=204, headers=headers)

    def _finish_upload(self, name: str, upload: SimUpload) -> SimRecovery:
        reset = self.state.resets[upload.reset]
        if reset.recovery is not None:
            return self.state.recoveries[reset.recovery]
        if hashlib.sha256(upload.data).hexdigest() != upload.sha256:
            raise Problem(422, "invalid_snapshot")
        try:
            reader = SnapshotReader(io.BytesIO(upload.data))
            lines = list(reader)
        except InvalidSnapshot as error:
            raise Problem(422, "invalid_snapshot", detail=error.detail) from error
        assert reader.header.client == reset.client
        keys = [(line.model, line.pk) for line in lines if isinstance(line, RowLine | TombstoneLine)]
        assert len(set(keys)) == len(keys), "two lines of one key"
        recovery = SimRecovery(id=secrets.token_hex(8), reset=reset.id, upload=name)
        recovery.receipt = {"sha256": upload.sha256} | reader.counts.as_wire()
        self.state.recoveries[recovery.id] = recovery
        reset.recovery = recovery.id
        return recovery

    def _recovery(self, recovery: SimRecovery) -> dict[str, Any]:
        if recovery.state == "queued" and self.polls:
            self.polls -= 1
        elif recovery.state == "queued":
            self._recover(recovery)
        wire = {
            "id": recovery.id,
            "reset": recovery.reset,
            "state": recovery.state,
            "totals": recovery.totals,
            "receipt": recovery.receipt,
            "progress": {"done": 0, "total": 1},
        }
        return wire if recovery.problem is None else wire | {"problem": recovery.problem}

    def _recover(self, recovery: SimRecovery) -> None:
        if self.fail_recoveries:
            recovery.state, recovery.problem = "failed", {"code": "worker_lost", "detail": "no worker"}
            return
        upload, reset = self.state.uploads[recovery.upload], self.state.resets[recovery.reset]
        reader = SnapshotReader(io.BytesIO(upload.data))
        header: Header = reader.header
        for line in reader:
            for change in self._changes_of(line, STRATEGIES[header.strategy], reset):
                outcome = self._merge(reset.client, change)
                recovery.totals[outcome.state] = recovery.totals.get(outcome.state, 0) + 1
        recovery.state = "done"

    def _changes_of(self, line: Any, strategy: Any, reset: SimReset) -> list[Change]:
        if isinstance(line, TombstoneLine):
            change = tombstone_change(line, healing=reset.full)
            return [] if change is None else [change]
        if isinstance(line, ChangeLine):
            known = self.state.clients[reset.client].acked
            return [line.change] if (line.change.seq or 0) > known else []
        if isinstance(line, UpdateLine):
            return []
        assert isinstance(line, RowLine)
        key = (line.model, line.pk)
        healed = None
        if reset.full:
            row = self.state.rows.get(key)
            counted = {} if row is None else self._lost_steps(line)
            healed = heal(line, row, self.state.tombstones.get(key), counted)
            line = self._without_counted(line, made=row is None)
        change = strategy(line, Synced())
        if change is not None and line.base is not None and key not in self.state.rows and reset.full:
            change = replace(Instruction.of(change), healing=True)
        return [each for each in (healed, change) if each is not None]

    def _lost_steps(self, line: RowLine) -> dict[str, tuple[Step, ...]]:
        """What the client was answered and the server has not counted, by field."""
        return {
            name: tuple(step for step in made.counted if step.id not in self.state.counted)
            for name, made in line.steps.items()
        }

    def _without_counted(self, line: RowLine, *, made: bool) -> RowLine:
        """The line less the steps that are in the server's value, or in that of the row which is ``made`` of it."""
        left = {}
        for name, steps in line.steps.items():
            if made:
                self.state.counted |= {step.id for step in steps.counted}
            fresh = tuple(step for step in steps.steps if step.id not in self.state.counted)
            left[name] = FieldSteps(steps=fresh)
        return replace(line, steps=left)


def _fitting(changes: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """The first of the changes that so many bytes have room for, and one in any case."""
    for count, change in enumerate(changes):
        room -= len(json.dumps(change))
        if room < 0 and count:
            return changes[:count]
    return changes


def _decode(checkpoint: str | None) -> dict[str, Any] | None:
    if checkpoint is None:
        return None
    cursor: dict[str, Any] = json.loads(base64.urlsafe_b64decode(checkpoint))
    return cursor


def refusal(status: int, code: str, **members: Any) -> Response:
    """A refusal in the server's own words."""
    answer = _json(status, {"code": code, "detail": code} | members)
    return replace(answer, headers={"content-type": "application/problem+json"})


def _json(status: int, value: Mapping[str, Any]) -> Response:
    return Response(
        status=status, headers={"content-type": "application/json"}, body=json.dumps(value).encode()
    )
