"""What a member of the staff cannot do without the permission for it: the page on security has the same table."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item
from syncreset.recovery.job import Recovery
from syncreset.recovery.uploads import Upload
from tests.shelters.models import Dog, Shelter
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.operators import Operator, OperatorFactory, page_url
from tests.support.pages import page, section, table
from tests.support.snapshots import bootstrap, edited, forced, recover

pytestmark = pytest.mark.django_db(transaction=True)


def _seen(boss: Operator, record: Any) -> bool:
    return bool(boss.browser.get(page_url(record)).status_code == 200)


def _sees(name: str) -> Callable[[Operator, Recovery], bool]:
    def look(boss: Operator, recovery: Recovery) -> bool:
        item = Item.objects.filter(recovery=recovery)[0]
        records = {
            "client": recovery.client,
            "reset": recovery.reset,
            "upload": recovery.upload,
            "recovery": recovery,
            "item": item,
        }
        return _seen(boss, records[name])

    return look


def _acts(model: str, action: str, of: Callable[[Recovery], Any]) -> Callable[[Operator, Recovery], bool]:
    """An action of a list, with its question answered; whether anything came of it."""

    def act(boss: Operator, recovery: Recovery) -> bool:
        record = of(recovery)
        before = _everything()
        boss.act(model, action, record, confirmed="yes", strategy="")
        return _everything() != before

    return act


def _everything() -> list[Any]:
    resets = Reset.objects.order_by("pk").values_list("pk", "reason")
    recoveries = Recovery.objects.order_by("pk").values_list("pk", "state")
    items = Item.objects.order_by("pk").values_list("pk", "state")
    return [*resets, *recoveries, *items, *Dog.objects.order_by("pk").values_list()]


def _decides(boss: Operator, recovery: Recovery) -> bool:
    before = _everything()
    boss.browser.post(
        reverse("admin:syncreset_item_resolve", args=[_parked(recovery).pk]), {"keep": "client"}
    )
    return _everything() != before


def _parked(recovery: Recovery) -> Item:
    return Item.objects.get(recovery=recovery, state="parked")


def _refused(recovery: Recovery) -> Upload:
    """An upload that was refused, and that would be taken now."""
    Recovery.objects.filter(reset=recovery.reset_id).delete()
    Upload.objects.update(refused="unsupported_schema: it was unknown", refused_status=422)
    return Upload.objects.get()


ACTS: dict[str, Callable[[Operator, Recovery], bool]] = {
    "see clients": _sees("client"),
    "see resets": _sees("reset"),
    "see uploads": _sees("upload"),
    "see recoveries": _sees("recovery"),
    "see items": _sees("item"),
    "decide an item": _decides,
    "decide several for the client": _acts("syncreset_item", "keep_client", _parked),
    "decide several for the server": _acts("syncreset_item", "keep_server", _parked),
    "recover again": _acts("syncreset_recovery", "recover_again", lambda recovery: recovery),
    "preview": _acts("syncreset_recovery", "preview", lambda recovery: recovery),
    "check a refused upload again": _acts("syncreset_upload", "recover", _refused),
    "undo": _acts("syncreset_recovery", "undo", lambda recovery: recovery),
    "reset clients": _acts("syncreset_client", "force_reset", lambda recovery: recovery.client),
    "reset the holders of rows": _acts(
        "shelters_shelter", "force_reset_of_holders", lambda _: Shelter.objects.get()
    ),
}


def acts_of_page() -> dict[str, str]:
    """The permission that the page names for each act."""
    head, *rows = table(section(page("docs/explanation/security.md"), "### Operators"))
    assert head == ["act", "permission"]
    return dict(rows)


@pytest.fixture
def recovery(device: DeviceFactory, shelter: Shelter) -> Recovery:
    """One with a change that was applied and another that waits for a person."""
    dog = Dog.objects.create(shelter=shelter, name="Rex", notes="old")
    phone = device(shelter)
    phone.pull()
    Dog.objects.filter(pk=dog.pk).update(notes="the server's")
    reset = forced(phone)
    made = recover(phone, reset, [edited(phone.rows[DOG, str(dog.pk)], notes="the client's", age=2)])
    bootstrap(phone, reset)
    return made


@pytest.fixture
def everything_but(db: None, operator: OperatorFactory) -> Callable[[str], Operator]:
    """Makes members of the staff who have every permission, apart from one."""

    def make(left_out: str) -> Operator:
        made = operator()
        label, _, codename = left_out.partition(".")
        # Django lets see whoever may change.
        names = [codename, codename.replace("view_", "change_")]
        others = Permission.objects.exclude(content_type__app_label=label, codename__in=names)
        made.user.user_permissions.set(others)
        return made

    return make


def test_the_page_has_every_act_and_every_permission_of_its_own() -> None:
    own = {
        f"syncreset.{codename}"
        for model in (Item, Recovery, Reset, Upload)
        for codename, _ in model._meta.permissions
    }

    assert list(acts_of_page()) == list(ACTS)
    assert own <= set(acts_of_page().values())


@pytest.mark.parametrize("act", ACTS)
def test_nothing_but_the_permission_is_missing_for_an_act(
    recovery: Recovery, everything_but: Callable[[str], Operator], act: str
) -> None:
    guest, boss = everything_but(acts_of_page()[act]), everything_but("nobody.asks_for_this")

    assert not ACTS[act](guest, recovery)
    assert ACTS[act](boss, recovery)
