"""`syncreset new_epoch`."""

import io
from typing import Any

import pytest

from syncreset.feed.checkpoints import feed_state
from tests.shelters.models import Shelter
from tests.support.commands import client_of, command, data_of, fails
from tests.support.factories import DeviceFactory

pytestmark = pytest.mark.django_db(transaction=True)


def answering(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))


def test_every_client_must_reset_and_heals_the_server(device: DeviceFactory, shelter: Shelter) -> None:
    phone, registered_only = device(shelter), device(shelter)
    phone.pull()
    client_of(phone, pending=3)
    before = feed_state().epoch

    told = data_of("new_epoch", "--yes")

    assert told == {"before": before, "epoch": feed_state().epoch, "clients": 1, "pending": 3}
    assert told["epoch"] != before
    problem = phone.pull(status=409)
    assert (problem["reason"], problem["recovery"]["full"]) == ("history_diverged", True)
    registered_only.pull()


def test_it_asks_first_and_says_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    before = feed_state().epoch

    answering(monkeypatch, "no\n")
    assert "Nothing was done" in fails("new_epoch")[1]
    answering(monkeypatch, "")
    assert "give --yes" in fails("new_epoch")[1]
    assert feed_state().epoch == before

    answering(monkeypatch, "yes\n")
    text = command("new_epoch")
    assert feed_state().epoch != before
    assert "must reset at the next contact" in text
    assert before in text
    assert feed_state().epoch in text


def test_the_question_is_not_part_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "yes\n")

    told: Any = data_of("new_epoch")

    assert told["epoch"] == feed_state().epoch
