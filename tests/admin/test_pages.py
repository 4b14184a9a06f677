"""The pages of syncreset's records: that they say what they should, change nothing, and cost few queries."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from syncreset.apply.context import Context
from syncreset.clients.client import Client
from syncreset.clients.resets import Reset, ResetReason, order_reset
from syncreset.feed.checkpoints import Checkpoint
from syncreset.feed.entries import Entry
from syncreset.ledger.item import Item
from syncreset.protocol import uuid7
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import TombstoneLine
from syncreset.recovery.job import Recovery, RecoveryState
from syncreset.recovery.orders import preview
from syncreset.recovery.reset_state import reset_state, with_reset_state
from syncreset.recovery.review import resolve
from syncreset.recovery.run import run
from syncreset.recovery.uploads import Upload, create_upload
from tests.shelters.models import Dog, Shelter
from tests.support.device import Device
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.operators import Operator, OperatorFactory, page_url
from tests.support.snapshots import edited, forced, made_here, recover

pytestmark = pytest.mark.django_db(transaction=True)

Bounded = Callable[..., Any]
LISTS = ("client", "reset", "recovery", "item", "upload", "entry")


@pytest.fixture
def phone(device: DeviceFactory, shelter: Shelter) -> Device:
    made = device(shelter)
    made.pull()
    return made


@pytest.fixture
def recovery(phone: Device, shelter: Shelter) -> Recovery:
    """One with an item applied, parked, superseded and rejected each."""
    dogs = {name: Dog.objects.create(shelter=shelter, name=name) for name in ("Rex", "Rita", "Gone")}
    phone.pull()
    rows = {name: phone.rows[DOG, str(dog.pk)] for name, dog in dogs.items()}
    Dog.objects.filter(name="Rita").update(notes="the server's note")
    Dog.objects.filter(name="Gone").update(age=8)
    reset = forced(phone)
    return recover(
        phone,
        reset,
        [
            edited(rows["Rex"], age=2),
            edited(rows["Rita"], notes="the client's note"),
            made_here(DOG, str(uuid7()), dog_fields(shelter, age="x")),
            TombstoneLine(
                model=DOG, pk=rows["Gone"]["pk"], at=now(), base=rows["Gone"]["updated"], pulled=False
            ),
        ],
    )


def test_records_cannot_be_added_edited_or_deleted(recovery: Recovery, operator: OperatorFactory) -> None:
    boss = operator(superuser=True)
    records = [
        recovery,
        recovery.client,
        recovery.reset,
        recovery.upload,
        Item.objects.all()[0],
        Entry.objects.all()[0],
    ]

    for record in records:
        name = f"admin:syncreset_{record._meta.model_name}"
        boss.get(reverse(f"{name}_add"), status=403)
        boss.get(reverse(f"{name}_delete", args=[record.pk]), status=403)
        assert boss.browser.post(page_url(record), {"name": "other"}).status_code == 403
        page = boss.page_of(record)
        assert 'name="_save"' not in page
        assert "Close" in page


def test_pages_need_the_permission_to_view(recovery: Recovery, operator: OperatorFactory) -> None:
    guest = operator("syncreset.view_client")
    item = Item.objects.all()[0]

    guest.list_of("syncreset_client")
    for record in (recovery, recovery.reset, recovery.upload, item):
        guest.get(page_url(record), status=403)
    guest.get(reverse("admin:syncreset_item_json", args=[item.pk]), status=403)


@pytest.mark.parametrize("listed", LISTS)
def test_a_list_costs_the_same_queries_however_long_it_is(
    recovery: Recovery,
    device: DeviceFactory,
    shelter: Shelter,
    operator: OperatorFactory,
    django_assert_max_num_queries: Bounded,
    listed: str,
) -> None:
    boss = operator(superuser=True)
    few = _queries(boss, listed)
    for number in range(4):
        other = device(shelter)
        other.pull()
        reset = forced(other)
        recover(other, reset, [made_here(DOG, str(uuid7()), dog_fields(shelter, name=f"Dog {number}"))])

    with django_assert_max_num_queries(few):
        page = boss.list_of(f"syncreset_{listed}")

    assert few < 10
    assert page.count('name="_selected_action"') > 4 or page.count("<tr><th") > 4


def _queries(boss: Operator, listed: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        boss.list_of(f"syncreset_{listed}")
    return len(queries)


def test_a_client_says_how_far_behind_it_is(
    phone: Device, device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    for number in range(2):
        Dog.objects.create(shelter=shelter, name=f"Dog {number}")
        device(shelter).pull()
    client = Client.objects.get(pk=phone.client)
    newest = Checkpoint.objects.order_by("-number")[0]
    boss = operator(superuser=True)

    assert f"{client.checkpoint} <small>2 behind</small>" in boss.page_of(client)
    Client.objects.filter(pk=client.pk).update(checkpoint=newest.number + 5)
    assert "beyond the server&#x27;s newest" in boss.page_of(client)
    Client.objects.filter(pk=client.pk).update(checkpoint=None)
    assert "never pulled to the end" in boss.page_of(client)


def test_a_clients_page_has_its_scopes_resets_recoveries_and_what_it_last_synced(
    recovery: Recovery, shelter: Shelter, operator: OperatorFactory
) -> None:
    boss = operator(superuser=True)

    page = boss.page_of(recovery.client)

    assert "North" in page
    assert f"shelters.shelter:{shelter.pk}" in page
    assert page_url(recovery) in page
    assert page_url(recovery.reset) in page
    assert "<td>shelters.dog</td>" in page
    assert f"/item/?client={recovery.client_id}&amp;state__exact=parked" in page


@pytest.mark.parametrize(
    ("chosen", "change"),
    [
        ({"unsynced": "yes"}, {"pending": 3}),
        ({"schema": "old"}, {"schema": "f" * 32}),
        ({"schema": "unknown"}, {"schema": ""}),
        ({"reset": "yes"}, {}),
        ({"state": "reset"}, {}),
        ({"state": "silent"}, {"last_seen": 1, "checkpoint": None}),
        ({"state": "never"}, {"checkpoint": None, "schema": "f" * 32}),
        ({"state": "old_schema"}, {"schema": "f" * 32, "checkpoint": 0}),
        ({"state": "behind"}, {"checkpoint": 0}),
    ],
)
def test_clients_are_filtered_by_what_they_want_attention_for(
    device: DeviceFactory,
    shelter: Shelter,
    operator: OperatorFactory,
    chosen: dict[str, str],
    change: dict[str, Any],
) -> None:
    wanted, other = device(shelter), device(shelter)
    wanted.pull()
    other.pull()
    if change:
        Client.objects.filter(pk=wanted.client).update(**change)
    else:
        Reset.objects.force(Client.objects.filter(pk=wanted.client))

    page = operator(superuser=True).list_of("syncreset_client", **chosen)

    assert wanted.client in page
    assert other.client not in page


def test_clients_are_found_by_name_user_and_id(
    device: DeviceFactory, shelter: Shelter, user_factory: Any, operator: OperatorFactory
) -> None:
    ada, ben = device(user=user_factory(shelter, name="ada")), device(user=user_factory(shelter, name="ben"))
    Client.objects.filter(pk=ada.client).update(name="Blue tablet")
    boss = operator(superuser=True)

    for query in ("blue", "ada", ada.client, ada.client[:8]):
        page = boss.list_of("syncreset_client", q=query)
        assert ada.client in page
        assert ben.client not in page


def test_a_client_without_history_may_be_deleted_and_one_with_a_ledger_may_not(
    recovery: Recovery, device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    forgotten = Client.objects.get(pk=device(shelter).client)
    boss = operator(superuser=True)

    boss.act("syncreset_client", "delete_selected", recovery.client, post="yes")
    boss.act("syncreset_client", "delete_selected", forgotten, post="yes")

    assert set(Client.objects.all()) == {recovery.client}


def test_a_reset_stands_where_the_protocol_says(
    recovery: Recovery, device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone = Client.objects.get(pk=device(shelter).client)
    (replaced,) = Reset.objects.force([phone])
    ordered = order_reset(phone, ResetReason.HISTORY_DIVERGED)
    boss = operator(superuser=True)

    states = {reset.pk: reset.state for reset in with_reset_state(Reset.objects.all())}
    page = boss.list_of("syncreset_reset", state="replaced")

    assert states == {
        recovery.reset_id: reset_state(recovery.reset),
        replaced.pk: "replaced",
        ordered.pk: "ordered",
    }
    assert str(replaced.pk) in page
    assert str(ordered.pk) not in page
    assert "history diverged" in boss.page_of(ordered)


def test_a_recovery_in_progress_loads_itself_again_and_a_finished_one_does_not(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    boss = operator(superuser=True)
    refresh = '<meta http-equiv="refresh"'

    assert refresh not in boss.page_of(recovery)
    Recovery.objects.update(state=RecoveryState.MERGING, position=1, lease_until=now() + 10**9)
    page = boss.page_of(recovery)

    assert refresh in page
    assert '<progress max="4" value="1">' in page
    assert "a worker is at it" in page


def test_a_recovery_shows_its_receipt_its_totals_and_what_is_open(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    page = operator(superuser=True).page_of(recovery)

    assert recovery.upload.sha256 in page
    assert "3 rows, 1 tombstones" in page
    for state in ("applied", "superseded", "parked", "rejected"):
        assert f"/item/?recovery={recovery.pk}&amp;state__exact={state}" in page
    assert page_url(Item.objects.get(state="parked")) in page
    assert page_url(Item.objects.get(state="rejected")) in page


def test_items_are_filtered_by_recovery_state_and_origin(
    recovery: Recovery, phone: Device, shelter: Shelter, operator: OperatorFactory
) -> None:
    phone.checkpoint = None
    phone.pull(reset=str(recovery.reset_id))
    phone.push(phone.create(DOG, dog_fields(shelter, age="three")))
    pushed = Item.objects.get(recovery=None)
    boss = operator(superuser=True)

    parked = boss.list_of("syncreset_item", recovery=str(recovery.pk), state__exact="parked")
    by_push = boss.list_of("syncreset_item", recovery="push")
    by_model = boss.list_of("syncreset_item", model="shelters.vet")

    assert parked.count('<th class="field-row_name">') == 1
    assert page_url(pushed) in by_push
    assert by_push.count('<th class="field-row_name">') == 1
    assert 'class="field-row_name"' not in by_model


def test_a_filter_that_names_no_record_is_no_error(recovery: Recovery, operator: OperatorFactory) -> None:
    boss = operator(superuser=True)

    for query in ({"recovery": "x'; --"}, {"client": "1"}):
        response = boss.browser.get(reverse("admin:syncreset_item_changelist"), query, follow=True)
        assert response.status_code == 200
    assert "unknown" in boss.list_of("syncreset_item", client=str(uuid7()))


def test_an_item_shows_both_sides_their_times_and_what_to_do(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    item = Item.objects.get(state="parked")
    rita = Dog.objects.get(name="Rita")
    boss = operator(superuser=True)

    page = boss.page_of(item)

    assert "&quot;the client&#x27;s note&quot;" in page
    assert "&quot;the server&#x27;s note&quot;" in page
    assert "<h2>Decide</h2>" in page
    assert "Decide below whose value to keep" in page
    assert f'<a href="{page_url(rita)}">Rita</a>' in page
    shown, _, raw = re.sub(r'<input type="hidden".*?>', "", page).partition("The change as it came")
    assert "healing" in raw
    for clock in (rita.field_timestamps["notes"], rita.field_timestamps["*"], item.created):
        assert str(clock) not in shown, "clocks are shown as dates"


def test_a_refused_item_shows_what_the_client_wanted(recovery: Recovery, operator: OperatorFactory) -> None:
    page = operator(superuser=True).page_of(Item.objects.get(state="rejected"))

    assert "What the client wanted" in page
    assert "this field takes an integer" in page
    assert "there is none" in page


def test_a_lost_delete_is_explained(recovery: Recovery, operator: OperatorFactory) -> None:
    page = operator(superuser=True).page_of(Item.objects.get(op="delete"))

    assert "the whole row" in page
    assert "If the row should go all the same, delete it." in page


def test_a_decision_and_a_preview_are_told(
    recovery: Recovery, shelter: Shelter, operator: OperatorFactory
) -> None:
    boss = operator(superuser=True)
    rehearsal = preview(recovery)
    run(rehearsal.pk)
    item = Item.objects.get(recovery=recovery, state="parked")
    context = Context(
        client=recovery.client,
        user=boss.user,
        scopes=frozenset({f"shelters.shelter:{shelter.pk}"}),
        seen=None,
        received=now(),
        operator=True,
    )

    resolve(item, "client", context)

    assert "keep the client&#x27;s side" in boss.page_of(item)
    rehearsed = Item.objects.filter(recovery=rehearsal)[0]
    assert "This is a preview, so nothing was written." in boss.page_of(rehearsed)


def test_the_whole_of_an_item_can_be_taken_away(recovery: Recovery, operator: OperatorFactory) -> None:
    item = Item.objects.get(state="parked")

    response = operator(superuser=True).browser.get(reverse("admin:syncreset_item_json", args=[item.pk]))

    assert response.headers["Content-Disposition"].startswith("attachment")
    kept = json.loads(response.content)
    assert kept["change"] == item.change
    assert kept["fields"] == item.fields


def test_an_upload_that_never_became_whole_may_go_when_it_has_expired(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    boss = operator(superuser=True)
    unfinished = create_upload(recovery.reset, length=10, metadata={"sha256": "a" * 64})

    boss.act("syncreset_upload", "delete_selected", unfinished, post="yes", status=403)
    assert Upload.objects.filter(pk=unfinished.pk).exists(), "somebody may still be sending it"
    Upload.objects.update(expires=1)
    boss.act("syncreset_upload", "delete_selected", unfinished, post="yes")
    boss.act("syncreset_upload", "delete_selected", recovery.upload)

    assert list(Upload.objects.all()) == [recovery.upload]


def test_the_list_of_entries_says_where_the_feed_is(recovery: Recovery, operator: OperatorFactory) -> None:
    newest = Checkpoint.objects.order_by("-number")[0]

    page = operator(superuser=True).list_of("syncreset_entry")

    assert f"newest checkpoint {newest.number}" in page


def test_deleting_a_user_does_not_take_a_ledger_along(recovery: Recovery, operator: OperatorFactory) -> None:
    owner = recovery.client.user
    boss = operator(superuser=True)

    boss.act("auth_user", "delete_selected", owner, post="yes")

    assert User.objects.filter(pk=owner.pk).exists()
    assert Item.objects.exists()
