"""What is looked at after each request: the answer itself, and whether everything that changed was said."""

import contextlib
import gzip
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from syncreset.ledger.item import Item
from syncreset.protocol.changes import same
from syncreset.recovery.job import Recovery
from syncreset.tracking.fields import CLOCK_FIELDS
from syncreset.wire.fields.base import ValueFault
from syncreset.wire.fields.codec import decode, encode
from syncreset.wire.model import WireModel, model_labelled, wire_models
from tests.fuzz.sent import Sent
from tests.fuzz.world import SECRET
from tests.shelters.models import Membership
from tests.support.pages import page, section

Key = tuple[str, str]
Rows = Mapping[Key, Mapping[str, Any]]

#: Seconds of processor that one request may take.
SECONDS = 2.0

#: What only a database, a driver or a program says.
_WORDS = re.compile(
    r"sqlite|psycopg|postgres|IntegrityError|OperationalError|DataError|ProgrammingError|ValueError|TypeError"
    r"|KeyError|constraint failed|violates|Traceback|SELECT |INSERT |UPDATE \"|syncreset_\w+|File \""
    r"|<class '|0x[0-9a-f]{8}"
)


def documented_codes() -> dict[int, set[str]]:
    """The codes of the protocol page's table, by status."""
    table = section(page("docs/reference/protocol.md"), "## Status codes")
    found: dict[int, set[str]] = {}
    for statuses, codes in re.findall(r"^\| ([\d, ]+) \| (.*) \|$", table, re.MULTILINE):
        for status in statuses.split(", "):
            found.setdefault(int(status), set()).update(re.findall(r"`(\w+)`", codes))
    return found


@dataclass(frozen=True)
class Claim:
    """What an answer or the ledger says was written: a row, and the fields of it; None for a delete or all of them."""

    key: Key
    fields: frozenset[str] | None


@dataclass
class Seen:
    """Everything that must not change silently, at one moment."""

    rows: dict[Key, dict[str, Any]] = field(default_factory=dict)
    items: dict[str, str] = field(default_factory=dict)
    people: list[Any] = field(default_factory=list)
    members: set[tuple[int, str]] = field(default_factory=set)


def seen_now() -> Seen:
    seen = Seen()
    for model in wire_models():
        for values in model.rows.values():
            seen.rows[model.label, model.key_text(values[model.key.attname])] = dict(values)
        for name, each in model.sets.items():
            _read_set(seen, model, name, each)
    seen.items = {str(pk): state for pk, state in Item.objects.values_list("pk", "state")}
    people = User.objects.order_by("pk").values_list("pk", "username", "password", "is_superuser", "is_staff")
    # A membership goes with its shelter.
    members = Membership.objects.order_by("pk").values_list("user_id", "shelter_id")
    seen.people, seen.members = list(people), {(user, str(shelter)) for user, shelter in members}
    return seen


def _read_set(seen: Seen, model: WireModel, name: str, each: Any) -> None:
    other = model_labelled(each.related_model._meta.label_lower)
    assert other is not None
    through = each.remote_field.through._base_manager
    for here, there in through.values_list(each.m2m_field_name(), each.m2m_reverse_field_name()):
        row = seen.rows[model.label, model.key_text(here)]
        row.setdefault(name, set()).add((other.label, other.key_text(there)))


def faults_of_answer(sent: Sent, codes: Mapping[int, set[str]]) -> list[str]:
    """What is wrong with an answer by itself."""
    faults = []
    problem: dict[str, Any] = {}
    text = sent.answer.decode("utf-8", "replace")
    if sent.raised:
        faults.append("an exception was raised")
    if sent.seconds > SECONDS:
        faults.append(f"it took {sent.seconds:.1f} s of processor")
    if SECRET in text:
        faults.append("the answer has values of a row that is not for this user")
    if sent.status >= 400 and sent.method != "HEAD":
        if sent.answered.get("Content-Type") != "application/problem+json":
            faults.append(f"{sent.status} is no problem document")
        else:
            problem = json.loads(text)
            if problem.get("status") != sent.status or not {"type", "title", "detail"} <= problem.keys():
                faults.append("the problem document is not whole")
            if problem.get("code") not in codes.get(sent.status, ()):
                faults.append(f"{sent.status} {problem.get('code')} is not documented")
    if sent.status >= 500 and problem.get("code") not in ("busy", "events_unavailable"):
        faults.append(f"a {sent.status}")
    return faults + words_of_database(_details(text), sent)


def words_of_database(details: Iterable[str], sent: Sent) -> list[str]:
    """The details that speak as a database or a program does, unless the request itself did."""
    asked = sent.body.decode("utf-8", "replace") + sent.path
    found = [match[0] for detail in details for match in _WORDS.finditer(detail)]
    return [f"a detail says {word!r}" for word in found if word not in asked]


def _details(text: str) -> list[str]:
    """Every ``detail`` in an answer."""
    found: list[str] = []
    try:
        level = [json.loads(text)] if text else []
    except ValueError:
        return [text]
    while level:
        value = level.pop()
        if isinstance(value, dict):
            found += [str(value["detail"])] if "detail" in value else []
            level += list(value.values())
        elif isinstance(value, list):
            level += value
    return found


def faults_of_changes(before: Seen, after: Seen, claims: Iterable[Claim]) -> list[str]:
    """The rows that changed though nothing said so, and the fields."""
    claims = list(claims) + _claims_of_ledger(before, after)
    claimed: dict[Key, frozenset[str] | None] = {}
    for claim in claims:
        known = claimed.get(claim.key, frozenset())
        together = None if known is None or claim.fields is None else known | claim.fields
        claimed[claim.key] = together
    # A deleted row may have been made again since; what went with it has not.
    deleted = {
        key for key in before.rows if key in claimed and (key not in after.rows or claimed[key] is None)
    }
    gone = _cascaded(deleted, before)
    faults = [] if before.people == after.people else ["users changed"]
    left = {member for member in before.members if ("shelters.shelter", member[1]) not in gone}
    faults += [] if left <= set(after.members) <= set(before.members) else ["memberships changed"]
    for key in before.rows.keys() | after.rows.keys():
        old, new = before.rows.get(key), after.rows.get(key)
        if old == new:
            continue
        if SECRET in str(old):
            faults.append(f"{key} changed, which is not for this user")
        names = _changed(key, old, new, claimed, gone)
        allowed = claimed.get(key, frozenset())
        if key in gone and new is None:
            continue
        if (old is None or new is None) and key not in claimed:
            faults.append(f"{key} was {'made' if old is None else 'deleted'} silently")
        elif old is not None and new is not None and allowed is not None and names - _columns(key, allowed):
            faults.append(f"{key} changed silently in {sorted(names - _columns(key, allowed))}")
    return faults


def faults_of_validity(before: Seen, after: Seen) -> list[str]:
    """Rows that were written though Django's own validators would not have let them."""
    faults = []
    for key, values in after.rows.items():
        if before.rows.get(key) == values:
            continue
        model = model_labelled(key[0])
        assert model is not None
        row: Any = model.find(key[1])
        try:
            row.clean_fields(exclude=model.server_computed)
        except ValidationError as error:
            kinds = {name: [each.code for each in several] for name, several in error.error_dict.items()}
            # Whether a form may be left empty says nothing of what the field can hold.
            if wrong := {name: codes for name, codes in kinds.items() if codes != ["blank"]}:
                faults.append(f"{key} is not valid: {wrong}")
        if "\\u0000" in json.dumps([each for each in values.values() if isinstance(each, str | list | dict)]):
            faults.append(f"{key} holds U+0000")
    return faults


def _cascaded(deleted: set[Key], before: Seen) -> set[Key]:
    """Rows that were deleted, with those that refer to them."""
    gone = set(deleted)
    while True:
        more = {
            key
            for key in before.rows
            if key not in gone and gone & set(_references(key, before.rows[key]).values())
        }
        if not more:
            return gone
        gone |= more


def _references(key: Key, row: Mapping[str, Any]) -> dict[str, Key]:
    """The rows that a row refers to, by column."""
    model = model_labelled(key[0])
    assert model is not None
    found = {}
    for each in (model.key, *model.columns.values()):
        related: Any = each.related_model
        other = None if related is None else model_labelled(related._meta.label_lower)
        if other is not None and row[each.attname] is not None:
            found[each.attname] = other.label, other.key_text(row[each.attname])
    return found


def _changed(
    key: Key,
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any] | None,
    claimed: Mapping[Key, Any],
    gone: set[Key],
) -> set[str]:
    """The names that differ, apart from what must follow from changes that were claimed."""
    if old is None or new is None:
        return set()
    names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    names -= {name for name, other in _references(key, old).items() if other in gone and new[name] is None}
    mirrored = {
        name
        for name in names
        if isinstance(old.get(name, new.get(name)), set)
        and (old.get(name, set()) ^ new.get(name, set())) <= claimed.keys() | gone
    }
    return names - mirrored - set(CLOCK_FIELDS)


def _columns(key: Key, names: frozenset[str]) -> set[str]:
    """The columns of fields, and those that follow from any write."""
    model = model_labelled(key[0])
    assert model is not None
    columns = {model.fields[name].attname for name in names if name in model.fields}
    return columns | set(names) | set(model.generated) | set(model.server_computed)


def claims_of_push(sent: Sent) -> list[Claim]:
    """What the answer to a push says was written."""
    if sent.status != 200:
        return []
    changes = {change["seq"]: change for change in pushed(sent)}
    written = [
        result
        for result in json.loads(sent.answer)["results"]
        if result["state"] in ("applied", "merged", "superseded")
    ]
    return [_claim(changes[result["seq"]]) for result in written]


def pushed(sent: Sent) -> list[dict[str, Any]]:
    """The changes of a push that was taken."""
    body = gzip.decompress(sent.body) if sent.headers.get("Content-Encoding") == "gzip" else sent.body
    changes: list[dict[str, Any]] = json.loads(body)["changes"]
    return changes


def _claims_of_ledger(before: Seen, after: Seen) -> list[Claim]:
    """What items say that were made or decided meanwhile."""
    changed = [pk for pk, state in after.items.items() if before.items.get(pk) != state]
    claims = []
    for item in Item.objects.filter(pk__in=changed):
        if item.state in ("applied", "merged", "superseded"):
            claims.append(_claim({"pk": "", "model": "", "op": "put", **item.change}))
            if isinstance(item.resolution, dict):
                claims.append(Claim(claims[-1].key, frozenset(item.resolution)))
        claims += [Claim((each["model"], each["pk"]), None) for each in item.cascaded]
    return claims


def _claim(change: Mapping[str, Any]) -> Claim:
    label, pk = change["model"], change.get("pk")
    model = model_labelled(label)
    key = str(pk)
    if model is not None:
        with contextlib.suppress(ValueFault):
            key = model.canonical(pk)
    fields = None if change["op"] == "delete" else frozenset(change.get("fields", {}))
    return Claim((label, key), fields)


def faults_of_values(sent: Sent) -> list[str]:
    """Fields of an applied push that do not hold now what was sent."""
    if sent.status != 200:
        return []
    results = {result["seq"]: result for result in json.loads(sent.answer)["results"]}
    last: dict[Key, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for change in pushed(sent):
        last.setdefault(_claim(change).key, []).append((change, results[change["seq"]]))
    faults = []
    for key, several in last.items():
        if len(several) == 1:
            faults += _wrong_values(key, *several[0])
    return faults


def faults_of_blame(sent: Sent) -> list[str]:
    """Changes of rows that are there, refused for a field that another change has set."""
    if sent.status != 200:
        return []
    results = {result["seq"]: result for result in json.loads(sent.answer)["results"]}
    faults = []
    for change in pushed(sent):
        result = results[change["seq"]]
        problem = result.get("problem", {})
        # The answer has the row where there is one that the user may see.
        at_fault = problem.get("code") == "invalid_reference" and "row" in result
        if at_fault and problem["field"] not in change["fields"]:
            faults.append(f"{change['seq']} is refused for {problem['field']}, which it does not set")
    return faults


def _wrong_values(key: Key, change: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    model = model_labelled(key[0])
    if model is None or result["state"] != "applied" or change["op"] != "put":
        return []
    row = model.find(key[1])
    if row is None:
        return [f"{key} is applied, and not there"]
    noted = {note.get("field") for note in result.get("notes", ())}
    faults = []
    for name, sent in change.get("fields", {}).items():
        if name in model.sets or name in noted or (isinstance(sent, dict) and "steps" in sent):
            continue
        each = model.columns[name]
        if not same(encode(each, decode(each, sent)), encode(each, getattr(row, each.attname))):
            faults.append(f"{key} is applied, and {name} is {getattr(row, each.attname)!r}")
    return faults


def faults_of_recovery(recovery: Recovery) -> list[str]:
    """What a finished recovery must not say."""
    problem = recovery.problem or {}
    faults = (
        [] if problem.get("code") not in ("crashed", "ledger_mismatch") else [f"the job failed: {problem}"]
    )
    details = [
        json.dumps(item.problem) for item in Item.objects.filter(recovery=recovery).exclude(problem=None)
    ]
    return faults + [f"the ledger says {match[0]!r}" for text in details if (match := _WORDS.search(text))]
