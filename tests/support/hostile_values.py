"""Values that a client can write and that want to harm whoever looks at them, by what they are."""

from typing import Any

from tests.support.bad_inputs import REFUSED

#: An element, an attribute and a template's tag that no page may have of a value.
ELEMENT, TEMPLATED = "x-mark", "x-templated"
MARKUP = f"</code></title></textarea><{ELEMENT} onload={ELEMENT}>\"' onfocus={ELEMENT} '"
TEMPLATE = '{{ "x-"|add:"templated" }}{% now "Y" %}${{ 7*7 }}%s{0}'
#: A letter of the scripts that are written from the right, in a word that nothing else has.
RIGHT_TO_LEFT = "\u05d0\u05d1\u05d2"

TEXTS = {
    "markup": MARKUP,
    "template": TEMPLATE,
    "long": "n" * 10_000,
    "controls": "".join(map(chr, range(1, 32))) + "\x7f\x80\x85\x9b",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m\rover",
    "lines": "one\ntwo\r\n2026-01-01 INFO forged\u2028\u2029",
    "override": "a\u202etxt.exe\u202c",
    "isolates": "\u2066\u2067\u2068\u200e\u200f\u061c",
    "right_to_left": f"{RIGHT_TO_LEFT} 123 ({RIGHT_TO_LEFT})",
    "invisible": "a\u200b\u200c\u200d\u2060\ufeff\u00ad\u3164b",
    "marks": "\u0301" * 3 + "z" + "\u0336\u0489" * 40,
    "nul": "a\0b",
    "surrogate": "\ud800",
    "spaces": "  \u00a0\u3000 x  ",
    "astral": "\U0001f9a5\U000e0041\U0010ffff",
}

#: By field of `zoo.specimen`. Those that it cannot hold are in `REFUSED`.
FIELDS: list[tuple[str, Any]] = [
    *(("text", text) for text in TEXTS.values()),
    ("text", "m" * 1_000_000),
    ("char", MARKUP),
    ("char", TEXTS["override"]),
    ("date", "0001-01-01"),
    ("date", "9999-12-31"),
    ("date_time", "0001-01-01T00:00:00Z"),
    ("date_time", "9999-12-31T23:59:59.999999Z"),
    ("time", "00:00:00"),
    ("time", "23:59:59.999999"),
    ("duration", "P99999999DT23H59M59.999999S"),
    ("duration", "-P99999999D"),
    ("duration", "P999999999DT23H59M59.999999S"),
    ("duration", "-P999999999D"),
    ("decimal", "-99999999.9999"),
    ("decimal", "9e7"),
    ("float", 1.7976931348623157e308),
    ("float", 5e-324),
    ("float", -0.0),
    ("big_integer", str(2**63 - 1)),
    ("big_integer", str(-(2**63))),
    ("integer", -(2**31)),
    ("positive_small_integer", 2**15 - 1),
    ("binary", "AP8="),
    ("uuid", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    ("json", {TEXTS["markup"]: [TEXTS["override"], {TEXTS["controls"]: None}]}),
    ("json", {f"key{number}": number for number in range(3_000)}),
    ("json", [1.7976931348623157e308, 2**53, -0.0, "", {}, []]),
    ("generic_ip_address", "::ffff:1.2.3.4"),
    ("url", "javascript:alert(1)"),
    ("url", "https://example.org/?q=<x-mark>"),
    *((field, value) for _, field, value, _ in REFUSED),
]

#: Primary keys that a text can be, at most 50 characters of them.
KEYS = [
    "add",
    "delete",
    "a/b/change/",
    "..",
    ".",
    "../../delete/",
    "%2F",
    "a%",
    "_2F",
    '"quoted"',
    "it's",
    f"<{ELEMENT}>",
    "{{ x }}",
    "?q=1&o=2#x",
    "a\nb",
    "a\r\nb",
    " lead",
    "trail ",
    "a\u202etxt.exe",
    "\u2066\u200f",
    "\x1b[31m",
    RIGHT_TO_LEFT,
    "\u0301",
    "a\u00a0b",
    "a\\u00a0b",
    "\U0001f9a5",
    "k" * 50,
    ",",
    "*",
]


def nested(depth: int) -> Any:
    """Lists in each other."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value
