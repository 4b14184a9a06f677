"""The cases: a few requests each, of which one or more are bent."""

import base64
import gzip
import hashlib
import json
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from syncreset.protocol.clock import now
from tests.fuzz.grammar import TEXTS, Grammar
from tests.fuzz.sent import Sent
from tests.fuzz.valid import Valid
from tests.fuzz.world import World, order_reset
from tests.support.bad_inputs import FIELDS
from tests.support.device import Device
from tests.support.wire import as_json

CONTENT_TYPES = [
    "",
    "text/plain",
    "application/json; charset=utf-16",
    "application/json; charset=bz2_codec",
    "application/json; charset=x-none",
    "application/json;;;=",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=a",
    "multipart/form-data",
    "application/offset+octet-stream",
]
ENCODINGS = ["gzip", "identity", "br", "", "gzip, gzip"]
HEADER_TEXTS = [
    "",
    "0",
    "-1",
    "1e3",
    "01",
    "9" * 19,
    "9" * 5000,
    "\u0661",
    "sha256",
    "sha256 !",
    "md5 AAAA",
    "sha1 ",
    "2.0.0",
]

#: What a case does: its requests, in order. A generator, for what comes next may depend on the answer.
Case = Iterator[Sent]


class Cases:
    """Draws one case. ``device`` is its sender's, fresh."""

    def __init__(self, chance: random.Random, world: World, device: Device) -> None:
        self.chance, self.world, self.device = chance, world, device
        self.valid = Valid(chance, world, device)
        self.grammar = Grammar(chance, world.foreign)

    def draw(self) -> Case:
        names = list(self.kinds)
        name = self.chance.choices(names, [self.kinds[each] for each in names])[0]
        method: Callable[[], Case] = getattr(self, name)
        return method()

    #: The kinds of case, and how often each is drawn.
    kinds = {
        "push": 12,
        "push_one_row": 2,
        "push_twice": 2,
        "pull": 4,
        "clients": 2,
        "resolve": 4,
        "addresses": 3,
        "upload": 10,
    }

    def push(self) -> Case:
        body = self.valid.push()
        if self.chance.random() < 0.7:
            # The envelope stays whole, so that the rows are looked at.
            body["changes"] = [self.bent_change(change) for change in body["changes"]]
            yield Sent("POST", "push", as_json(body))
        else:
            yield self.posted("push", body)

    def bent_change(self, change: dict[str, Any]) -> dict[str, Any]:
        """A change whose shape is right, and hardly any value in it; or one that is right as it is."""
        if self.chance.random() < 0.3:
            return change
        bent = {**change, "fields": dict(change.get("fields", {}))}
        for name in self.chance.sample(list(bent["fields"]), min(2, len(bent["fields"]))):
            value = bent["fields"][name]
            bent["fields"][name] = (
                self.grammar.bend(value) if self.chance.random() < 0.4 else self.grammar.junk()
            )
        draw = self.chance.random()
        if draw < 0.15:
            name, junk = self.chance.choice(FIELDS)[1:3]
            bent["fields"][name] = junk
        elif draw < 0.3:
            bent["pk"] = self.chance.choice([*self.world.foreign, self.grammar.junk()])
        elif draw < 0.4:
            bent["model"] = self.chance.choice([*self.valid.models, "shelters.membership", "auth.user", ""])
        elif draw < 0.5:
            bent["base"] = self.chance.choice([None, {}, {"*": 0}, dict.fromkeys(bent["fields"], 2**70)])
        moments = [0, -1, 2**63 - 1, 2**70, -(2**63), now() + 10**15, now()]
        if self.chance.random() < 0.3:
            bent["clocks"] = {"*": self.chance.choice(moments)}
        else:
            bent["clocks"] = {"*": now(), **change["clocks"]}
        if bent["op"] == "delete":
            del bent["fields"]
        return bent

    def push_one_row(self) -> Case:
        """Several changes of one row, of which one refers to nothing and the others may be bent."""
        changes = self.valid.changes_of_one_row()
        spot = self.chance.randrange(1, len(changes))
        changes[spot] = self.bent_change(changes[spot])
        yield Sent("POST", "push", as_json(self.device.body(*changes)))

    def push_twice(self) -> Case:
        """A push whose answer was lost is sent again, and then the device goes on."""
        body = self.valid.push()
        first = self.posted("push", body)
        yield first
        yield (
            Sent("POST", "push", first.body, first.content_type, first.headers)
            if self.chance.random() < 0.5
            else self.posted("push", {**body, "again": True})
        )
        yield self.posted("push", self.valid.push())

    def pull(self) -> Case:
        yield self.posted("pull", self.valid.pull())

    def clients(self) -> Case:
        yield self.posted("clients", self.valid.registration())

    def resolve(self) -> Case:
        item = self.chance.choice([*self.world.items, *self.world.items, str(uuid.uuid4())])
        yield self.posted(f"items/{item}/resolve", self.valid.decision())

    def addresses(self) -> Case:
        """Calls without a body, to addresses that are more or less there."""
        known = ["", "schema", f"schema/{self.device.schema}", "events", "push", "pull", "clients"]
        for kind in ("resets", "uploads", "recoveries", "items"):
            some = self.chance.choice([*self.world.foreign, *self.world.resets, str(uuid.uuid4())])
            known += [
                f"{kind}/{some}",
                f"{kind}/{some}/items?state=parked&start=1",
                f"{kind}/{some}/snapshot",
            ]
        path = self.chance.choice(known)
        if self.chance.random() < 0.5:
            spot = self.chance.randint(0, len(path))
            path = path[:spot] + self.chance.choice(
                ["/", "%00", "%ff", "..", "?start=", "\u0661", "?a=%ud800"]
            )
        method = self.chance.choice(["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE"])
        yield Sent(method, path, headers=self.bent_headers({"Tus-Resumable": "1.0.0"}))

    def upload(self) -> Case:
        """An order to reset, a snapshot of many lines, and its recovery."""
        reset = order_reset(self.device, full=self.chance.random() < 0.3)
        data = self.snapshot(reset)
        digest = hashlib.sha256(data).hexdigest()
        metadata = {"sha256": digest, "mode": "recover"}
        if self.chance.random() < 0.3:
            metadata["strategy"] = self.chance.choice(["overwrite", "by_object", "by_field", "", "none"])
        length = len(data) + (self.chance.choice([-1, 1, 2**62]) if self.chance.random() < 0.05 else 0)
        headers = {"Upload-Length": str(length), "Upload-Metadata": self.metadata(metadata)}
        begun = Sent("POST", f"resets/{reset}/snapshot", headers=self.tus(headers))
        yield begun
        location = begun.answered.get("Location")
        if location is None:
            return
        spot = self.chance.choice([0, len(data) // 2])
        for offset, piece in ((0, data[:spot]), (spot, data[spot:])):
            headers = {"Upload-Offset": str(offset)}
            if self.chance.random() < 0.3:
                headers["Upload-Checksum"] = (
                    f"sha256 {base64.b64encode(hashlib.sha256(piece).digest()).decode()}"
                )
            yield Sent("PATCH", location, piece, "application/offset+octet-stream", self.tus(headers))
        yield Sent(self.chance.choice(["HEAD", "DELETE", "GET"]), location, headers=self.tus({}))

    def snapshot(self, reset: str) -> bytes:
        """A snapshot, bent in its values, its lines or its bytes."""
        device = self.device
        header: dict[str, Any] = {
            "format": "syncreset-snapshot/1",
            "client": device.client,
            "reset": reset,
            "schema": device.schema,
            "checkpoint": device.checkpoint,
            "strategy": self.chance.choice(
                ["by_base", "by_field", "by_object", "by_update_log", "overwrite"]
            ),
            "last_synced": {model: now() - 10**6 for model in self.valid.models},
            "full": self.chance.random() < 0.8,
            "created": now(),
            "client_time": now(),
        }
        drawn = self.valid.lines()
        lines: list[Any] = list(drawn)
        if self.chance.random() < 0.2:
            header = self.grammar.bend(header)
        if self.chance.random() < 0.8:
            for _ in range(self.chance.randint(1, 4)):
                spot = self.chance.randrange(len(lines))
                lines[spot] = self.bent_line(drawn[spot])
        if self.chance.random() < 0.3:
            lines = self.rearranged(lines)
        end = {"rows": 0, "tombstones": 0, "updates": 0, "pushed": 0}
        kinds = {"row": "rows", "tombstone": "tombstones", "update": "updates", "change": "pushed"}
        for line in lines:
            for kind in kinds.keys() & (line.keys() if isinstance(line, dict) else set()):
                end[kinds[kind]] += 1
        ending = {"end": end if self.chance.random() < 0.95 else self.grammar.bend(end)}
        text = b"".join(json.dumps(line).encode("ascii") + b"\n" for line in (header, *lines, ending))
        if self.chance.random() < 0.05:
            text = self.grammar.bend_bytes(text)
        data = gzip.compress(text, mtime=0)
        if self.chance.random() < 0.05:
            data = self.grammar.bend_bytes(data)
        return data or b"-"

    def bent_line(self, line: dict[str, Any]) -> Any:
        """A line that is still a line of its kind, mostly."""
        ((kind, content),) = (
            (name, value) for name, value in line.items() if name not in ("pulled", "scope")
        )
        if not content or self.chance.random() < 0.05:
            return self.grammar.bend(line)
        if kind == "change":
            return {
                "change": self.bent_change(content)
                if self.chance.random() < 0.7
                else self.grammar.bend(content)
            }
        if kind == "row" and self.chance.random() < 0.6:
            fields = dict(content[2])
            for name in self.chance.sample(list(fields), min(2, len(fields))):
                fields[name] = self.grammar.junk()
            return {"row": [*content[:2], fields, *content[3:]]}
        return {**line, kind: self.grammar.bend(content)}

    def rearranged(self, lines: list[Any]) -> list[Any]:
        """Lines doubled, reordered or missing."""
        changed = list(lines)
        change = self.chance.randrange(4)
        if change == 0:
            changed += self.chance.sample(lines, min(3, len(lines)))
        elif change == 1:
            self.chance.shuffle(changed)
        elif change == 2:
            changed = self.chance.sample(lines, len(lines) // 2)
        else:
            changed.insert(self.chance.randint(0, len(lines)), {self.chance.choice(TEXTS): [1]})
        return changed

    def metadata(self, values: dict[str, str]) -> str:
        if self.chance.random() < 0.1:
            values = {**values, self.chance.choice(["sha256", "mode", "strategy", "filename"]): "../../\x00"}
        pairs = [f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in values.items()]
        return ",".join(pairs) + self.chance.choice(["", "", "", ",", ",a", " , "])

    def tus(self, headers: dict[str, str]) -> dict[str, str]:
        headers = {"Tus-Resumable": "1.0.0", **headers}
        return self.bent_headers(headers) if self.chance.random() < 0.08 else headers

    def bent_headers(self, headers: dict[str, str]) -> dict[str, str]:
        name = self.chance.choice(
            [*headers, "Syncreset-Protocol", "X-HTTP-Method-Override", "Content-Encoding"]
        )
        return {**headers, name: self.chance.choice([*HEADER_TEXTS, "DELETE", "gzip"])}

    def posted(self, path: str, body: Any) -> Sent:
        """A request with a JSON body that is mostly bent."""
        if self.chance.random() < 0.8:
            for _ in range(self.chance.choice([1, 1, 1, 2, 3])):
                body = self.grammar.bend(body)
        sent = Sent("POST", path, self.grammar.written(body))
        if self.chance.random() < 0.1:
            sent.body, sent.headers = gzip.compress(sent.body, mtime=0), {"Content-Encoding": "gzip"}
            if self.chance.random() < 0.5:
                sent.body = sent.body[: self.chance.randrange(len(sent.body))]
        if self.chance.random() < 0.05:
            sent.content_type = self.chance.choice(CONTENT_TYPES)
        if self.chance.random() < 0.05:
            sent.headers = {"Content-Encoding": self.chance.choice(ENCODINGS)}
        if self.chance.random() < 0.03:
            sent.headers |= {"Syncreset-Protocol": self.chance.choice(HEADER_TEXTS)}
        return sent
