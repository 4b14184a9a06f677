"""Valid requests of a device: what the grammar bends."""

import random
import uuid
from typing import Any

from syncreset.protocol.clock import now
from tests.fuzz.world import World
from tests.support.bad_inputs import ABSENT
from tests.support.device import Device

#: A value of each type that its fields take.
VALUES: dict[str, list[Any]] = {
    "UUID": ["0190a5b4-0000-7000-8000-000000000001"],
    "BigInteger": ["0", str(2**63 - 1), "9007199254740993"],
    "PositiveBigInteger": ["0", str(2**63 - 1)],
    "Decimal": ["1.5", "0", "12.50"],
    "Char": ["a", "Rex", "e\u0301", ""],
    "Text": ["", "some text", "\U0001f9a5" * 40],
    "Email": ["a@example.org"],
    "Slug": ["a-b"],
    "URL": ["http://example.org/"],
    "Integer": [0, 1, 7, 2**31 - 1],
    "PositiveInteger": [0, 7],
    "SmallInteger": [-1, 7],
    "PositiveSmallInteger": [0, 7],
    "Float": [0.5, 1, -0.0, 1e300],
    "Boolean": [True, False],
    "DateTime": ["2026-11-22T20:24:00.123456Z", "2026-11-22T20:24:00.123456789+05:30"],
    "Date": ["2026-11-22"],
    "Time": ["20:24:00.123456"],
    "Duration": ["P1DT02H03M04.5S", "-PT1S"],
    "Binary": ["AAEC", ""],
    "JSON": [{"a": [1, None]}, [], "text", 0],
    "GenericIPAddress": ["::1", "10.0.0.1"],
}


class Valid:
    """Draws requests that a device could send in earnest."""

    def __init__(self, chance: random.Random, world: World, device: Device) -> None:
        self.chance, self.world, self.device = chance, world, device
        self.models = {model["name"]: model for model in world.schema["models"]}

    def push(self) -> dict[str, Any]:
        changes = [self.change() for _ in range(self.chance.randint(1, 4))]
        if self.chance.random() < 0.2:
            changes = [{**change, "group": "g"} for change in changes]
        return self.device.body(*changes)

    def changes_of_one_row(self) -> list[dict[str, Any]]:
        """Puts of a row that the device holds, the first of which refers to nothing."""
        pointing = [key for key in self.device.rows if self.references(key[0])]
        model, pk = self.chance.choice(pointing)
        lost = {self.chance.choice(self.references(model)): ABSENT}
        several = [lost, *(self.fields(model, 2) for _ in range(self.chance.randint(1, 3)))]
        return [self.device.put(model, pk, fields) for fields in several]

    def references(self, model: str) -> list[str]:
        return [field["name"] for field in self.models[model]["fields"] if field["type"] == "ForeignKey"]

    def pull(self) -> dict[str, Any]:
        device = self.device
        body = {"client": device.client, "schema": device.schema, "receipt": device.receipt, "limit": 5}
        body["checkpoint"] = self.chance.choice([device.checkpoint, None])
        if self.chance.random() < 0.3:
            body["reset"], body["mode"] = self.chance.choice(self.world.resets), "recover"
        return body | {"max_bytes": 1000, "pending": 1, "held": device.checkpoint}

    def registration(self) -> dict[str, Any]:
        client = self.chance.choice([self.device.client, str(uuid.uuid4())])
        return {"client": client, "name": "phone", "platform": "tests", "schema": self.device.schema}

    def decision(self) -> dict[str, Any]:
        kept = self.chance.choice(["client", "server", {"mother": None, "notes": "n"}, {"age": 4}])
        return {"keep": kept}

    def change(self) -> dict[str, Any]:
        """A change of a row that the device holds, a new row, or a delete."""
        model, pk = self.chance.choice(list(self.device.rows))
        draw = self.chance.random()
        if draw < 0.1:
            return self.trespass()
        if draw < 0.22:
            return self.device.delete(model, pk)
        if draw < 0.5:
            return self.device.create(model, self.device.rows[model, pk]["fields"] | self.fields(model, 4))
        return self.device.put(model, pk, self.fields(model, self.chance.randint(1, 5)))

    def trespass(self) -> dict[str, Any]:
        """A change of a row that the user may not see, or a reference to it."""
        model, pk = self.chance.choice(self.world.hidden)
        held = self.like(model)
        draw = self.chance.randrange(4)
        if draw == 0:
            return self.device.create(model, held | self.fields(model, 2), pk)
        change = {"model": model, "pk": pk, "op": "put", "clocks": {"*": now()}, "base": {}}
        if draw == 1:
            return {**change, "op": "delete", "base": {"*": now()}}
        if draw == 2:
            return {**change, "fields": {**held, **self.fields(model, 2)}}
        mine, key = self.chance.choice(list(self.device.rows))
        pointing = [each["name"] for each in self.models[mine]["fields"] if each.get("to") == model]
        return self.device.put(mine, key, dict.fromkeys(pointing, pk) or self.fields(mine, 1))

    def fields(self, model: str, count: int) -> dict[str, Any]:
        described = self.models[model]["fields"]
        chosen = self.chance.sample(described, min(count, len(described)))
        return {field["name"]: self.value(field) for field in chosen}

    def value(self, field: dict[str, Any]) -> Any:
        """A value of a field, or steps where it takes them."""
        if field["type"] == "ManyToMany":
            keys = self.keys(field["to"])
            return self.steps({"add": keys[:1], "remove": keys[1:]}) if self.chance.random() < 0.7 else keys
        if field.get("counter") and self.chance.random() < 0.7:
            return self.steps({"delta": "1" if field["type"] in ("BigInteger", "Decimal") else 1})
        if field.get("null") and self.chance.random() < 0.2:
            return None
        if "choices" in field:
            return self.chance.choice(field["choices"])[0]
        if "to" in field:
            return self.chance.choice([*self.keys(field["to"]), ABSENT])
        return self.chance.choice(VALUES.get(field["type"], ["a"]))

    def keys(self, model: str) -> list[str]:
        return [pk for label, pk in self.device.rows if label == model]

    def steps(self, amount: dict[str, Any]) -> dict[str, Any]:
        return {"steps": [{"id": self.chance.choice(["s1", str(uuid.uuid4())]), **amount}]}

    def lines(self) -> list[dict[str, Any]]:
        """The lines of a snapshot between header and end: every row, some edited, and what goes with them."""
        rows = [self.row_line(*key) for key in self.device.rows]
        lines = [*rows, *(self.new_line() for _ in range(self.chance.randint(0, 2)))]
        (model, pk), row = self.chance.choice(list(self.device.rows.items()))
        tombstone = {"tombstone": [model, pk, now(), row["updated"]]}
        if self.chance.random() < 0.5:
            lines = [line for line in lines if line["row"][:2] != [model, pk]]
            lines.append({**tombstone, "pulled": True} if self.chance.random() < 0.3 else tombstone)
        for _ in range(self.chance.randint(0, 3)):
            model, pk = self.chance.choice(list(self.device.rows))
            lines += [{"update": [model, pk, name, now()]} for name in self.fields(model, 1)]
        return [
            *lines,
            *({"change": {"seq": 900, **self.change()}} for _ in range(self.chance.randint(0, 2))),
        ]

    def row_line(self, model: str, pk: str) -> dict[str, Any]:
        row = self.device.rows[model, pk]
        edits = self.fields(model, self.chance.randint(0, 2)) if self.chance.random() < 0.4 else {}
        # What is changed by steps has the value that they lead to; the old one will do.
        steps = {name: value for name, value in edits.items() if isinstance(value, dict) and "steps" in value}
        plain = {name: value for name, value in edits.items() if name not in steps}
        clocks = row["clocks"] | dict.fromkeys(edits, now())
        base = {name: row["clocks"].get(name, row["clocks"]["*"]) for name in edits}
        line = [model, pk, row["fields"] | plain, max(clocks.values()), clocks, base]
        return {"row": [*line, steps] if steps else line}

    def like(self, model: str) -> dict[str, Any]:
        """The fields of a row of a model that the device holds, if there is one."""
        held = [row["fields"] for (label, _), row in self.device.rows.items() if label == model]
        return held[0] if held else {}

    def trespassing_line(self) -> dict[str, Any]:
        """A row that the user may not see, as one who holds it would send it."""
        model, pk = self.chance.choice(self.world.hidden)
        held = self.like(model)
        if self.chance.random() < 0.3:
            return {"tombstone": [model, pk, now(), now()], "pulled": self.chance.random() < 0.5}
        base = self.chance.choice([None, {}, dict.fromkeys(held, now())])
        return {"row": [model, pk, held | self.fields(model, 1), now(), {"*": now()}, base]}

    def new_line(self) -> dict[str, Any]:
        model, pk = self.chance.choice(list(self.device.rows))
        fields = self.device.rows[model, pk]["fields"]
        return {"row": [model, str(uuid.uuid4()), fields, now(), {"*": now()}, None]}
