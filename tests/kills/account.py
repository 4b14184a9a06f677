"""What must hold once all is at rest: the accounts of the devices, held against the server's tables and its ledger."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db.models import Count

from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery
from tests.market.models import Product
from tests.shelters.models import Dog

_KEPT = ("parked", "rejected")


@dataclass(kw_only=True)
class Account:
    """All that the devices did, as it was committed on them."""

    counted: int = 0
    made: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    #: The ages that were written, by dog, and those that were seen by whoever wrote or deleted afterwards.
    ages: dict[str, set[int]] = field(default_factory=dict)
    seen: set[tuple[str, int]] = field(default_factory=set)
    #: What was done to each row, by whom, for the story.
    told: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Iterable[Path]) -> "Account":
        account = cls()
        for file in files:
            name = file.name.partition(".")[0]
            intent: dict[str, Any] = {}
            for line in map(json.loads, file.read_text().splitlines()):
                if "do" in line:
                    intent = line
                elif line["did"]:
                    account._take(intent)
                    account.told.setdefault(intent["pk"], []).append(f"{name} {intent}")
        return account

    def _take(self, intent: Mapping[str, Any]) -> None:
        pk = intent["pk"]
        if intent["do"] == "count":
            self.counted += intent["by"]
            return
        if intent["do"] == "make":
            self.made.add(pk)
            return
        if intent["before"] is not None:
            self.seen.add((pk, intent["before"]))
        if intent["do"] == "delete":
            self.deleted.add(pk)
        else:
            self.ages.setdefault(pk, set()).add(intent["age"])

    def violations(self, *, lost_ledger: Sequence[Item] | None) -> list[str]:
        """What was acknowledged and is nowhere, or counted otherwise than once.

        After a restore ``lost_ledger`` are the items that there were before it. What lost a conflict then may be in
        one of them alone: nobody else had it any more.
        """
        restored = lost_ledger is not None
        told = [item for item in lost_ledger or () if item.state not in _KEPT]
        return [*self._wrong_counts(restored=restored), *self._lost_rows(), *self._lost_ages(told)]

    def _wrong_counts(self, *, restored: bool) -> list[str]:
        figs = Product.objects.get(name="Figs")
        unclear = Item.objects.filter(state="parked", model="market.product")
        if unclear.exists() and not restored:
            return [f"steps are parked: {list(unclear.values_list('code', flat=True))}"]
        if (figs.ordered or 0) != self.counted and not unclear.filter(code="step_unclear").exists():
            return [f"{figs.ordered} is counted, and the steps come to {self.counted}"]
        return []

    def _lost_rows(self) -> list[str]:
        there = set(map(str, Dog.objects.values_list("pk", flat=True)))
        kept = set(Item.objects.filter(state__in=_KEPT).values_list("pk_text", flat=True))
        told = set(Item.objects.values_list("pk_text", flat=True))
        lost = self.made - there - kept - self.deleted
        undead = (self.deleted & there) - told
        return [f"dog {pk} is nowhere" for pk in sorted(lost)] + [
            f"dog {pk} was deleted, is there, and no item says why" for pk in sorted(undead)
        ]

    def _lost_ages(self, told: Sequence[Item]) -> list[str]:
        stands = {str(pk): age for pk, age in Dog.objects.values_list("pk", "age")}
        items: dict[str, list[Item]] = {}
        for item in (*Item.objects.filter(model="shelters.dog"), *told):
            items.setdefault(item.pk_text, []).append(item)
        return [
            f"age {age} of dog {pk} is nowhere: it has {stands.get(pk, 'gone')}; {self.told[pk]}; "
            f"{[(item.op, item.state, item.code, item.fields) for item in items.get(pk, ())]}"
            for pk, ages in self.ages.items()
            for age in ages
            if stands.get(pk) != age
            and (pk, age) not in self.seen
            and not any(_mentions(item, age) for item in items.get(pk, ()))
        ]


def _mentions(item: Item, age: int) -> bool:
    if item.state in _KEPT:
        return True
    told = [item.fields, item.change["fields"], (item.before or {}).get("fields"), item.cascaded]
    return str(age) in json.dumps(told)


def ledger_violations() -> list[str]:
    """Recoveries that failed or are not through, and ledgers whose sums are not those of their items.

    A snapshot that was not in the storage is asked for again: what became of that one counts.
    """
    found = []
    items = {
        row["recovery"]: row["n"]
        for row in Item.objects.values("recovery").annotate(n=Count("pk")).order_by()
    }
    through = set(Recovery.objects.filter(state__in=("done", "review")).values_list("reset", flat=True))
    for recovery in Recovery.objects.all():
        count = items.get(recovery.pk, 0)
        if recovery.could_not_read and recovery.reset_id in through:
            continue
        if recovery.state not in ("done", "review") or recovery.problem is not None:
            found.append(f"{recovery} is {recovery.state}: {recovery.problem}")
        elif sum(recovery.totals.values()) != count or recovery.changes != count:
            found.append(f"{recovery} has {count} items, {recovery.totals} and {recovery.changes} changes")
    return found


def server_rows() -> dict[str, Any]:
    """What every replica must show."""
    return {
        "market.product": {str(pk): ordered for pk, ordered in Product.objects.values_list("pk", "ordered")},
        "shelters.dog": {
            str(pk): [age, chip, None if mother is None else str(mother)]
            for pk, age, chip, mother in Dog.objects.values_list("pk", "age", "chip", "mother")
        },
    }


def replica_rows(rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The same of a replica."""
    return {
        "market.product": {row["id"]: row["ordered"] for row in rows["market.product"]},
        "shelters.dog": {row["id"]: [row["age"], row["chip"], row["mother"]] for row in rows["shelters.dog"]},
    }
