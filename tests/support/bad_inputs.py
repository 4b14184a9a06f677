"""Inputs of the catalogue that come by a push and by a snapshot alike."""

import zlib
from typing import Any

SPECIMEN = "zoo.specimen"


PK = "0190a5b4-0000-7000-8000-{:012x}"


ABSENT = PK.format(0xABCDEF)


def zeros(size: int) -> bytes:
    """So many bytes of nothing, as gzip."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    chunk = bytes(2**20)
    return b"".join(compressor.compress(chunk) for _ in range(size // len(chunk))) + compressor.flush()


REFUSED: list[tuple[str, str, Any, str]] = [
    ("23-nul-in-text", "text", "a\x00b", "invalid_text"),
    ("23-nul-in-char", "char", "\x00", "invalid_text"),
    ("23-nul-in-email", "email", "a\x00@example.org", "invalid_text"),
    ("23-nul-in-slug", "slug", "a\x00", "invalid_text"),
    ("23-nul-in-url", "url", "http://example.org/\x00", "invalid_text"),
    ("23-nul-in-file-path", "file_path", "\x00", "invalid_text"),
    ("24-nul-in-a-json-value", "json", ["\x00"], "invalid_text"),
    ("24-nul-in-a-json-text", "json", "\x00", "invalid_text"),
    ("25-nul-in-a-json-key", "json", {"a": {"\x00": 1}}, "invalid_text"),
    ("26-lone-surrogate", "text", "\ud800", "invalid_text"),
    ("26-lone-low-surrogate", "char", "a\udfffb", "invalid_text"),
    ("26-surrogates-the-wrong-way-round", "text", "\udc00\ud800", "invalid_text"),
    ("27-lone-surrogate-in-json", "json", [["\ud800"]], "invalid_text"),
    ("27-lone-surrogate-in-a-json-key", "json", {"\udfff": 1}, "invalid_text"),
    ("28-big-integer-as-a-number", "big_integer", 2**53 + 1, "invalid"),
    ("29-two-to-the-63", "big_integer", str(2**63), "out_of_range"),
    ("29-minus-two-to-the-63-less-1", "big_integer", str(-(2**63) - 1), "out_of_range"),
    ("29-positive-big-below-zero", "positive_big_integer", "-1", "out_of_range"),
    ("29-two-to-the-31", "integer", 2**31, "out_of_range"),
    ("29-two-to-the-63-as-an-integer", "integer", 2**63, "out_of_range"),
    ("29-two-to-the-15", "small_integer", 2**15, "out_of_range"),
    ("29-minus-one", "positive_integer", -1, "out_of_range"),
    ("29-minus-one-small", "positive_small_integer", -1, "out_of_range"),
    ("29-text-of-5000-digits", "big_integer", "9" * 5000, "out_of_range"),
    ("31-integer-of-4000-digits-in-json", "json", {"n": [10**3999]}, "out_of_range"),
    ("31-integer-of-4000-digits", "integer", 10**3999, "out_of_range"),
    ("31-integer-of-4000-digits-for-a-float", "float", 10**3999, "out_of_range"),
    ("32-nan-for-a-float", "float", "NaN", "invalid"),
    ("32-text-for-a-float", "float", "1.5", "invalid"),
    ("32-float-that-is-none", "float", 2**53 + 1, "invalid"),
    ("33-infinity-for-a-float", "float", "Infinity", "invalid"),
    ("33-minus-infinity-for-a-float", "float", "-Infinity", "invalid"),
    ("34-decimal-nan", "decimal", "NaN", "invalid"),
    ("34-decimal-signalling-nan", "decimal", "sNaN", "invalid"),
    ("34-decimal-infinity", "decimal", "Infinity", "invalid"),
    ("35-decimal-1e1000000", "decimal", "1e1000000", "invalid"),
    ("35-decimal-1e-1000000", "decimal", "1e-1000000", "invalid"),
    ("35-decimal-of-9-digits-before-the-point", "decimal", "123456789", "out_of_range"),
    ("35-decimal-as-a-number", "decimal", 1.5, "invalid"),
    ("35-decimal-of-arabic-digits", "decimal", "\u0661\u0662", "invalid"),
    ("36-too-many-decimals", "decimal", "1.00005", "invalid"),
    ("36-duration-with-too-many-decimals", "duration", "PT0.1234567S", "invalid"),
    ("39-naive-datetime", "date_time", "2026-11-22T20:24:00", "invalid"),
    ("39-date-for-a-datetime", "date_time", "2026-11-22", "invalid"),
    ("40-year-1-east", "date_time", "0001-01-01T00:00:00+14:00", "out_of_range"),
    ("40-year-9999-west", "date_time", "9999-12-31T23:59:59-12:00", "out_of_range"),
    ("41-year-10000", "date_time", "10000-01-01T00:00:00Z", "invalid"),
    ("41-year-10000-for-a-date", "date", "10000-01-01", "invalid"),
    ("41-year-0", "date", "0000-01-01", "invalid"),
    ("41-second-60", "date_time", "2026-12-31T23:59:60Z", "invalid"),
    ("41-second-60-for-a-time", "time", "23:59:60", "invalid"),
    ("41-february-30", "date", "2026-02-30", "invalid"),
    ("41-zone-of-99-hours", "date_time", "2026-01-01T00:00:00+99:00", "invalid"),
    ("42-integer-for-a-datetime", "date_time", 1795380687, "invalid"),
    ("42-integer-for-a-date", "date", 20261122, "invalid"),
    ("42-integer-for-a-time", "time", 12, "invalid"),
    ("42-integer-for-a-duration", "duration", 60, "invalid"),
    ("44-true-for-an-integer", "integer", True, "invalid"),
    ("44-true-for-a-float", "float", True, "invalid"),
    ("44-one-for-a-boolean", "boolean", 1, "invalid"),
    ("44-text-for-a-boolean", "boolean", "true", "invalid"),
    ("44-whole-float-for-an-integer", "integer", 1.0, "invalid"),
    ("45-201-characters", "char", "x" * 201, "too_long"),
    ("45-201-emoji", "char", "\U0001f9a5" * 201, "too_long"),
    ("45-51-characters-in-a-slug", "slug", "x" * 51, "too_long"),
    ("48-null-where-none-is-allowed", "label", None, "null"),
    ("49-json-null-where-none-is-allowed", "checklist", None, "null"),
    ("50-a-list-for-text", "text", ["a"], "invalid"),
    ("50-an-object-for-char", "char", {"a": 1}, "invalid"),
    ("50-a-number-for-text", "text", 7, "invalid"),
    ("50-a-list-for-an-integer", "integer", [1], "invalid"),
    ("50-an-object-for-a-decimal", "decimal", {}, "invalid"),
    ("50-a-list-for-a-uuid", "uuid", [], "invalid"),
    ("50-a-list-for-binary", "binary", [1, 2], "invalid"),
    ("50-a-list-for-an-address", "generic_ip_address", ["::1"], "invalid"),
    ("50-a-list-for-a-reference", "to_uuid", [ABSENT], "invalid"),
    ("50-delta-for-what-is-no-counter", "integer", {"delta": 1}, "invalid"),
    ("50-steps-for-what-is-no-counter", "integer", {"steps": [{"id": "a", "delta": 1}]}, "invalid"),
]


FIELDS: list[tuple[str, str, Any, str]] = [
    ("51-unknown-field", "colour", "red", "unknown_field"),
    ("51-unknown-field-that-is-a-column", "label_text", "x", "unknown_field"),
    ("51-unknown-field-that-is-an-attribute", "to_uuid_id", ABSENT, "unknown_field"),
    ("51-unknown-field-that-is-the-key", "id", ABSENT, "unknown_field"),
    ("51-unknown-field-pk", "pk", ABSENT, "unknown_field"),
    ("51-unknown-field-that-is-a-clock", "last_updated", 1, "unknown_field"),
    ("51-unknown-field-that-is-the-clocks", "field_timestamps", {}, "unknown_field"),
    ("51-unknown-field-that-is-empty", "", 1, "unknown_field"),
    ("51-unknown-field-with-nul", "\x00", 1, "unknown_field"),
    ("51-unknown-field-with-a-lone-surrogate", "\ud800", 1, "unknown_field"),
    ("51-unknown-field-of-a-row", "*", 1, "unknown_field"),
    ("52-read-only-generated", "generated", "7", "forbidden_field"),
    ("52-read-only-file", "file", {"name": "../../etc/passwd"}, "forbidden_field"),
    ("52-read-only-image", "image", "x.png", "forbidden_field"),
    ("53-connector", "_connector", "OR", "unknown_field"),
    ("53-lookup", "label__contains", "x", "unknown_field"),
    ("53-lookup-over-a-relation", "to_uuid__note", "x", "unknown_field"),
    ("53-negated", "_negated", True, "unknown_field"),
    ("53-proto", "__proto__", {"admin": True}, "unknown_field"),
    ("53-constructor", "constructor", {}, "unknown_field"),
    ("53-class", "__class__", "x", "unknown_field"),
    ("53-state", "_state", {}, "unknown_field"),
    ("53-objects", "objects", 1, "unknown_field"),
    ("53-save", "save", 1, "unknown_field"),
]


MODELS: list[tuple[str, str]] = [
    ("54-unknown-model", "zoo.unicorn"),
    ("54-model-that-is-not-tracked", "auth.user"),
    ("54-model-of-the-server", "syncreset.client"),
    ("54-model-in-another-case", "zoo.Specimen"),
    ("54-model-without-an-app", "specimen"),
    ("54-model-that-is-empty", ""),
    ("54-model-that-is-a-path", "../../zoo.specimen"),
    ("54-model-with-nul", "zoo.specimen\x00"),
    ("54-model-with-a-lone-surrogate", "\ud800"),
    ("54-model-of-a-megabyte", "x" * 2**20),
]


KEYS: list[tuple[str, str, Any]] = [
    ("55-key-that-is-no-uuid", SPECIMEN, "seven"),
    ("55-key-without-hyphens", SPECIMEN, "0190a5b4000070008000000000000001"),
    ("55-key-in-braces", SPECIMEN, "{0190a5b4-0000-7000-8000-000000000001}"),
    ("55-key-that-is-a-number", SPECIMEN, 7),
    ("55-key-that-is-null", SPECIMEN, None),
    ("55-key-that-is-a-list", SPECIMEN, ["a"]),
    ("55-key-that-is-empty", SPECIMEN, ""),
    ("55-key-with-nul", "zoo.charkeyed", "a\x00"),
    ("55-key-with-a-lone-surrogate", "zoo.charkeyed", "\ud800"),
    ("55-key-that-is-too-long", "zoo.charkeyed", "x" * 51),
    ("55-key-of-text-that-is-empty", "zoo.charkeyed", ""),
    ("55-key-of-an-integer-as-a-number", "zoo.integerkeyed", 7),
    ("55-key-of-an-integer-with-a-fraction", "zoo.integerkeyed", "1.5"),
    ("55-key-of-an-integer-with-a-plus", "zoo.integerkeyed", "+1"),
    ("55-key-of-an-integer-with-zeros", "zoo.integerkeyed", "007"),
    ("55-key-of-an-integer-in-full-width", "zoo.integerkeyed", "\uff11"),
    ("55-key-of-an-integer-with-an-underscore", "zoo.integerkeyed", "1_0"),
    ("55-key-of-an-integer-out-of-range", "zoo.integerkeyed", str(2**31)),
    ("55-key-of-a-big-integer-out-of-range", "zoo.bigintegerkeyed", str(2**63)),
    ("55-key-of-5000-digits", "zoo.bigintegerkeyed", "9" * 5000),
    ("55-key-that-is-a-relation", "zoo.onetoonekeyed", "owner"),
]
