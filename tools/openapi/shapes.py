"""The shapes of bodies, as the protocol page describes them."""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def array_of(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def word(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def nullable(kind: str, **more: Any) -> Schema:
    return {"type": [kind, "null"], **more}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
UUID: Schema = {"type": "string", "format": "uuid"}
FLAG: Schema = {"type": "boolean"}
TIME = ref("Time")
CLOCKS = ref("Clocks")
FIELDS: Schema = {
    "type": "object",
    "description": "Field names to values, by the protocol's section Values.",
    "additionalProperties": True,
}
STATES = ("applied", "merged", "identical", "superseded", "parked", "rejected")

SCHEMAS: Mapping[str, Schema] = {
    "Time": {"type": "integer", "description": "Microseconds since the Unix epoch."},
    "Clocks": {
        "type": "object",
        "description": "Field names to times; `*` stands for the row and for all others.",
        "additionalProperties": TIME,
    },
    "Decide": object_of(
        {
            "keep": {
                "oneOf": [
                    word("client", "server"),
                    FIELDS | {"description": "A value for each field that shall not be the server's."},
                ]
            }
        }
    ),
    "Root": object_of(
        {
            "protocol": {"type": "integer"},
            "minimum_protocol": {"type": "integer"},
            "epoch": TEXT,
            "schema": TEXT,
            "server_time": TIME,
            "limits": object_of(
                dict.fromkeys(("changes", "page", "page_bytes", "body", "snapshot", "snapshot_lines"), COUNT)
            ),
            "retention": {**COUNT, "description": "Seconds."},
        }
    ),
    "Schema": object_of({"hash": TEXT, "models": array_of(ref("Model"))}),
    "Model": object_of(
        {
            "name": TEXT,
            "label": TEXT,
            "primary_key": TEXT,
            "primary_key_type": word("UUID", "Integer", "Char"),
            "scope": nullable("string"),
            "fields": array_of(ref("Field")),
        }
    ),
    "Field": object_of(
        {"name": TEXT, "type": TEXT, "null": FLAG, "label": TEXT},
        {
            "max_length": COUNT,
            "max_digits": COUNT,
            "decimal_places": COUNT,
            "choices": array_of(array_of({}, minItems=2, maxItems=2)),
            "to": TEXT,
            "read_only": FLAG,
            "counter": FLAG,
            "default": {"description": "A value, by the protocol's section Values."},
            "server_default": FLAG,
            "unique": {"const": True},
            "on_delete": word("cascade", "set_null", "restrict", "protect", "set_default", "do_nothing"),
        },
    ),
    "Registration": object_of({}, {"client": UUID, "name": TEXT, "platform": TEXT, "schema": TEXT}),
    "Client": object_of({"client": UUID, "scopes": array_of(TEXT), "acked": COUNT, "server_time": TIME}),
    "PullRequest": object_of(
        {"client": UUID, "schema": TEXT, "checkpoint": nullable("string"), "receipt": TEXT},
        {
            "held": nullable("string"),
            "limit": {"type": "integer", "minimum": 1},
            "max_bytes": {"type": "integer", "minimum": 1},
            "pending": COUNT,
            "reset": nullable("string", format="uuid"),
            "mode": word("manual", "recover", "discard", "recover_or_discard"),
        },
    ),
    "Page": object_of(
        {
            "changes": array_of(ref("PulledChange")),
            "checkpoint": TEXT,
            "more": FLAG,
            "scopes": array_of(TEXT),
            "acked": COUNT,
            "server_time": TIME,
        },
        {"receipt": TEXT, "remaining": COUNT},
    ),
    "PulledChange": {
        "oneOf": [
            object_of({"model": TEXT, "pk": TEXT, "fields": FIELDS, "updated": TIME, "clocks": CLOCKS}),
            object_of({"model": TEXT, "pk": TEXT, "deleted": TIME}),
            object_of({"model": TEXT, "pk": TEXT, "removed": {"const": True}}),
        ]
    },
    "PushRequest": object_of(
        {
            "client": UUID,
            "schema": TEXT,
            "checkpoint": nullable("string"),
            "receipt": TEXT,
            "client_time": TIME,
            "changes": array_of(ref("PushedChange")),
        },
        {"again": FLAG},
    ),
    "PushedChange": object_of(
        {
            "seq": {"type": "integer", "minimum": 1},
            "model": TEXT,
            "pk": TEXT,
            "op": word("put", "delete"),
        },
        {
            "fields": FIELDS,
            "clocks": CLOCKS | {"description": "Required unless the base is the checkpoint."},
            "base": {"oneOf": [CLOCKS, {"const": "checkpoint"}, {"type": "null"}]},
            "group": nullable("string"),
            "checkpoint": nullable("string"),
        },
    ),
    "PushAnswer": object_of(
        {"acked": COUNT, "receipt": TEXT, "results": array_of(ref("Result")), "server_time": TIME}
    ),
    "Result": object_of(
        {"seq": {"type": "integer", "minimum": 1}, "state": word(*STATES)},
        {
            "clocks": CLOCKS,
            "updated": TIME,
            "notes": array_of(ref("ChangeProblem")),
            "problem": ref("ChangeProblem"),
            "item": UUID,
            "row": ref("Row"),
        },
    ),
    "Row": object_of({"fields": FIELDS, "updated": TIME, "clocks": CLOCKS}),
    "ChangeProblem": object_of({"code": TEXT, "detail": TEXT}, {"field": TEXT}),
    "Reset": object_of(
        {
            "id": UUID,
            "reason": ref("Reason"),
            "client": UUID,
            "created": TIME,
            "bootstrapped": nullable("integer"),
            "recovery": nullable("string", format="uuid"),
            "state": TEXT
            | {
                "description": "scheduled, ordered, recovering, recovered, bootstrapped, done, discarded, failed, "
                "expired or replaced; later servers may say more."
            },
        }
    ),
    "Reason": word(
        "history_diverged",
        "checkpoint_expired",
        "schema_incompatible",
        "client_unknown",
        "not_genuine",
        "admin_forced",
    ),
    "Recovery": object_of(
        {
            "id": UUID,
            "reset": UUID,
            "state": TEXT
            | {"description": "queued, merging, review, done, failed or undone; later servers may say more."},
            "strategy": TEXT,
            "progress": object_of({"done": COUNT, "total": COUNT}),
            "totals": {
                "type": "object",
                "propertyNames": {"enum": list(STATES)},
                "additionalProperties": COUNT,
            },
            "receipt": object_of(
                {"sha256": TEXT, "rows": COUNT, "tombstones": COUNT, "updates": COUNT},
            ),
        },
        {"problem": ref("ChangeProblem")},
    ),
    "Items": object_of({"items": array_of(ref("Item")), "next": nullable("integer")}),
    "Item": object_of(
        {
            "id": UUID,
            "model": TEXT,
            "pk": TEXT,
            "op": word("put", "delete"),
            "state": word(*STATES),
            "fields": {"type": "object", "additionalProperties": ref("Decision")},
        },
        {"problem": ref("ChangeProblem")},
    ),
    "Decision": object_of(
        {
            "client": {},
            "server": {},
            "base_clock": nullable("integer"),
            "kept": word("client", "server", "review", "function", "both"),
        },
        {"server_clock": nullable("integer")},
    ),
    "Problem": object_of(
        {
            "type": {"type": "string", "format": "uri"},
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": TEXT,
            "code": TEXT,
        }
    ),
    "ClientReset": {
        "allOf": [
            ref("Problem"),
            object_of(
                {
                    "code": {"const": "client_reset"},
                    "reason": ref("Reason"),
                    "reset": UUID,
                    "mode_allowed": array_of(TEXT),
                    "recovery": object_of(
                        {"upload": TEXT, "full": FLAG, "max_bytes": COUNT, "deadline": TIME}
                    ),
                    "schema": TEXT,
                }
            ),
        ]
    },
}
