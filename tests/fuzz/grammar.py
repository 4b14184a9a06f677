"""How valid JSON, text and bytes are bent: one mutation after the other, each drawn from a source of chance."""

import copy
import gzip
import json
import random
from collections.abc import Callable
from typing import Any

from tests.support.bad_inputs import FIELDS, KEYS, MODELS, REFUSED

#: Where a value stands: the container that holds it, and its key or index there.
Place = tuple[Any, Any]

TEXTS = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\x1b[2J\x7f\x85\u2028",
    "\ud800",
    "a\udfffb",
    "\udc00\ud800",
    "\u202e\u0661\uff11",
    "e\u0301" * 50,
    "\U0001f9a5" * 300,
    "x" * 10_000,
    "9" * 5_000,
    "' OR 1=1 --",
    "%s%(a)s{0}{x.__class__}",
    "../../etc/passwd",
    "NaN",
    "-Infinity",
    "1e1000000",
    "sNaN",
    "-0",
    "+1",
    "null",
    "*",
    "__proto__",
    "a__contains",
]
TIMES = [
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999-12:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "10000-01-01T00:00:00Z",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "2026-02-30",
    "2026-12-31T23:59:60Z",
    "2026-01-01T00:00:00.123456789Z",
    "2026-01-01T24:00:00Z",
    "24:00:00",
    "23:59:59.9999999",
    "P999999999DT23H59M59.999999S",
    "-P999999999D",
    "P1000000000D",
    "PT",
    "P",
    "-P0D",
]
NUMBERS: list[Any] = [
    0,
    -1,
    1,
    -0.0,
    0.5,
    5e-324,
    1.7976931348623157e308,
    2**15,
    2**31 - 1,
    2**31,
    2**53 + 1,
    2**62,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    2**64,
    10**40,
    10**400,
    10**3999,
    float("nan"),
    float("inf"),
    -float("inf"),
]
SHAPES: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"\x00": 1},
    {"\ud800": 1},
    {"delta": 1},
    {"steps": []},
    {"steps": [{"id": "a", "delta": 1}]},
    {"steps": [{"id": "b", "add": ["red"], "remove": ["red"]}]},
    {"steps": [{"id": "c", "delta": "NaN"}, {"id": "c", "delta": 1}], "value": None},
]


class Grammar:
    """Bends values by chance. ``foreign`` are texts that belong elsewhere: other keys, clients and checkpoints."""

    def __init__(self, chance: random.Random, foreign: list[str]) -> None:
        self.chance, self.foreign = chance, foreign

    def junk(self) -> Any:
        """A value that hardly any place expects."""
        kind = self.chance.randrange(8)
        if kind == 0:
            return self.chance.choice(TEXTS)
        if kind == 1:
            return self.chance.choice(NUMBERS)
        if kind == 2:
            return self.chance.choice(TIMES)
        if kind == 3:
            return copy.deepcopy(self.chance.choice(SHAPES))
        if kind == 4:
            return self.chance.choice(REFUSED)[2]
        if kind == 5:
            return nested(self.chance.choice([2, 30, 55, 60, 64, 200]), self.chance.choice(["list", "dict"]))
        if kind == 6:
            return self.chance.choice(KEYS)[2]
        return self.chance.choice(self.foreign)

    def bend(self, value: Any) -> Any:
        """A copy of a JSON value with one mutation."""
        bent = [copy.deepcopy(value)]
        everywhere = places(bent)
        # The members of rows are many, and the envelope's are few: both get their share.
        depth = self.chance.choice(sorted({level for level, _ in everywhere}))
        place = self.chance.choice([place for level, place in everywhere if level == depth])
        self.chance.choice(self.mutations)(self, place, [place for _, place in everywhere])
        return bent[0]

    def _replace(self, place: Place, _: list[Place]) -> None:
        container, key = place
        container[key] = self.junk()

    def _foreign(self, place: Place, _: list[Place]) -> None:
        container, key = place
        container[key] = self.chance.choice(self.foreign)

    def _remove(self, place: Place, _: list[Place]) -> None:
        container, key = place
        del container[key]
        if isinstance(container, list) and not container:
            container.append(self.junk())

    def _swap(self, place: Place, everywhere: list[Place]) -> None:
        container, key = place
        other, name = self.chance.choice(everywhere)
        container[key], other[name] = copy.deepcopy(other[name]), copy.deepcopy(container[key])

    def _add(self, place: Place, _: list[Place]) -> None:
        container, key = place
        value = container[key]
        if isinstance(value, dict):
            name, junk = self.chance.choice(FIELDS)[1:3]
            value[name] = junk if self.chance.random() < 0.5 else self.junk()
        elif isinstance(value, list):
            value.insert(self.chance.randint(0, len(value)), self.junk())
        else:
            container[key] = [value]

    def _rename(self, place: Place, _: list[Place]) -> None:
        container, key = place
        if isinstance(container, dict):
            name = self.chance.choice([*TEXTS, *(field[1] for field in FIELDS), key.upper(), f"{key}_id"])
            container[name] = container.pop(key)
        else:
            container[key] = {str(key): container[key]}

    def _shuffle(self, place: Place, _: list[Place]) -> None:
        container, key = place
        value = container[key]
        if isinstance(value, list) and value:
            value += copy.deepcopy(self.chance.sample(value, self.chance.randint(1, len(value))))
            self.chance.shuffle(value)
        elif isinstance(value, str):
            container[key] = self._text(value)
        elif isinstance(value, int):
            container[key] = value + self.chance.choice([-1, 1, 10**6, -(10**6), 2**40, -(2**62), 2**62])
        else:
            container[key] = self.junk()

    def _text(self, text: str) -> str:
        spot = self.chance.randint(0, len(text))
        changed = [text.upper(), text[:spot], text * 300, text + " ", f"{{{text}}}", text.replace("-", "")]
        changed += [text[:spot] + self.chance.choice(TEXTS) + text[spot:], text[::-1]]
        return self.chance.choice(changed)

    def _model(self, place: Place, _: list[Place]) -> None:
        container, key = place
        known = [*(name for _, name in MODELS), "market.product", "shelters.membership", "market.trader"]
        container[key] = self.chance.choice(known)

    mutations: list[Callable[["Grammar", Place, list[Place]], None]] = [
        _replace,
        _replace,
        _foreign,
        _remove,
        _swap,
        _add,
        _rename,
        _shuffle,
        _shuffle,
        _model,
    ]

    def written(self, value: Any) -> bytes:
        """A JSON value as bytes, mostly well-formed."""
        data = json.dumps(value, ensure_ascii=self.chance.random() < 0.7).encode("utf-8", "surrogatepass")
        return self.bend_bytes(data) if self.chance.random() < 0.15 else data

    def bend_bytes(self, data: bytes) -> bytes:
        """Bytes with one mutation that no JSON library would make."""
        spot = self.chance.randint(0, len(data))
        begin, end = data[:spot], data[spot:]
        return self.chance.choice(
            [
                b"",
                b"null",
                begin,
                data + data,
                data + b"\x00",
                b"\xef\xbb\xbf" + data,
                begin + b"\xff\xfe" + end,
                begin + bytes([self.chance.randrange(256)]) + end,
                begin + end[1:],
                data.replace(b"{", b'{"client":1,"client":2,', 1),
                data.replace(b": ", b": NaN, ", 1),
                data.replace(b": ", b": 1e999, ", 1),
                data.replace(b": ", b":" + b"9" * 5_000 + b",", 1),
                data.replace(b": ", b":" + b"[" * 100_000 + b",", 1),
                data.decode("utf-8", "replace").encode("utf-16"),
                data + b" " * 300_000,
                gzip.compress(data, mtime=0)[: spot or 1],
            ]
        )


def nested(levels: int, kind: str) -> Any:
    """Lists or objects, one in the other."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


def places(value: Any, level: int = 0) -> list[tuple[int, Place]]:
    """Every place in a JSON value, with its depth."""
    if level > 70 or not isinstance(value, dict | list):
        return []
    found: list[tuple[int, Place]] = []
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        found.append((level, (value, key)))
        found += places(value[key], level + 1)
    return found
