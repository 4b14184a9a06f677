"""Each mistake in a declaration has a check with an id and a hint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.postgres import fields as postgres
from django.contrib.postgres.search import SearchVectorField
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.db import connection, models
from django.db.models.functions import Lower
from django.test.utils import isolate_apps, override_settings

from syncreset.checks import models as checks
from syncreset.checks import settings, tables
from syncreset.models import SyncTrackedModel
from syncreset.tracking.registry import tracked_models
from tests.shelters.models import Dog, Membership, Shelter, Ticket
from tests.support.untracked import drop_triggers


def ids(messages: list[CheckMessage]) -> list[str | None]:
    assert all(message.hint for message in messages)
    return [message.id for message in messages]


def declared(sync_meta: type | None = None, **fields: Any) -> type[models.Model]:
    """A model of the shelters with the given fields, in the isolated apps of a test."""
    attributes = {
        "__module__": __name__,
        "Meta": type("Meta", (), {"app_label": "shelters"}),
        "code": models.CharField(max_length=9, primary_key=True),
    } | fields
    if sync_meta is not None:
        attributes["SyncMeta"] = sync_meta
    return type("Declared", (SyncTrackedModel,), attributes)


def sync_meta(**attributes: Any) -> type:
    return type("SyncMeta", (), attributes)


def test_the_models_of_the_tests_are_right_but_for_the_numbered_one() -> None:
    messages = [message for model in tracked_models() for message in checks.check_model(model)]

    assert ids(messages) == ["syncreset.W001"]
    assert messages[0].obj is Ticket
    assert "offline" in messages[0].msg
    assert "from syncreset.protocol import uuid7" in str(messages[0].hint)


def test_the_checks_are_registered() -> None:
    assert "syncreset.W001" in {message.id for message in run_checks()}


@isolate_apps("tests.shelters")
def test_multi_table_inheritance_is_refused() -> None:
    class Base(models.Model):
        class Meta:
            app_label = "shelters"

    class Child(Base, SyncTrackedModel):
        class Meta:
            app_label = "shelters"

    assert "syncreset.E001" in ids(checks.check_model(Child))


@pytest.mark.parametrize(
    "key",
    [
        models.DateField,
        models.DateTimeField,
        models.TimeField,
        models.DurationField,
        models.FloatField,
        models.BooleanField,
        models.BinaryField,
        models.GenericIPAddressField,
        models.JSONField,
    ],
    ids=lambda key: key.__name__,
)
@isolate_apps("tests.shelters")
def test_a_key_must_be_a_uuid_text_or_an_integer(key: Callable[..., Any]) -> None:
    assert ids(checks.check_model(declared(code=key(primary_key=True)))) == ["syncreset.E002"]


@pytest.mark.parametrize(
    "key",
    [
        models.UUIDField,
        models.SlugField,
        models.TextField,
        models.BigIntegerField,
        models.PositiveIntegerField,
    ],
    ids=lambda key: key.__name__,
)
@isolate_apps("tests.shelters")
def test_such_keys_are_right(key: Callable[..., Any]) -> None:
    assert ids(checks.check_model(declared(code=key(primary_key=True)))) == []


@isolate_apps("tests.shelters")
def test_a_key_of_several_columns_is_refused() -> None:
    class Both(SyncTrackedModel):
        pk = models.CompositePrimaryKey("one", "two")
        one = models.IntegerField()
        two = models.IntegerField()

        class Meta:
            app_label = "shelters"

    assert ids(checks.check_model(Both)) == ["syncreset.E002"]


@isolate_apps("tests.shelters")
def test_a_key_that_no_entry_could_hold_is_refused() -> None:
    long = models.CharField(max_length=256, primary_key=True)

    assert ids(checks.check_model(declared(code=long))) == ["syncreset.E026"]


class Unheard(models.Field):  # type: ignore[type-arg]
    """A field type that derives from none of Django's."""


@pytest.mark.parametrize(
    "field",
    [
        Unheard,
        lambda: postgres.ArrayField(models.IntegerField()),
        postgres.HStoreField,
        postgres.DateTimeRangeField,
        SearchVectorField,
        lambda: models.GeneratedField(
            expression=Lower(models.F("code")), output_field=Unheard(), db_persist=True
        ),
    ],
    ids=["of the project", "array", "hstore", "range", "search vector", "generated"],
)
@isolate_apps("tests.shelters")
def test_a_field_whose_values_cannot_travel_is_named(field: Callable[[], Any]) -> None:
    (message,) = checks.check_model(declared(strange=field()))

    assert ids([message]) == ["syncreset.E023"]
    assert "Declared.strange" in message.msg


@pytest.mark.parametrize(
    "kind", [models.FloatField, models.BooleanField, models.BinaryField, models.FileField]
)
@isolate_apps("tests.shelters")
def test_a_relation_to_a_field_whose_values_are_no_keys_is_refused(kind: Callable[..., Any]) -> None:
    class Target(SyncTrackedModel):
        code = models.CharField(max_length=9, primary_key=True)
        other = kind(unique=True)

        class Meta:
            app_label = "shelters"

    pointing = declared(target=models.ForeignKey(Target, models.CASCADE, to_field="other"))

    assert ids(checks.check_model(pointing)) == ["syncreset.E024"]


@isolate_apps("tests.shelters")
def test_fields_that_differ_in_nothing_but_capitals_are_refused() -> None:
    model = declared(name=models.IntegerField(), Name=models.IntegerField(), CODE=models.IntegerField())

    assert ids(checks.check_model(model)) == ["syncreset.E025", "syncreset.E025"]


@isolate_apps("tests.shelters")
def test_a_key_may_be_a_relation() -> None:
    assert (
        ids(checks.check_model(declared(code=models.OneToOneField(Dog, models.CASCADE, primary_key=True))))
        == []
    )


SHELTER = {"shelter": models.ForeignKey(Shelter, models.CASCADE)}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"scopes": "shelter"}, "syncreset.E003"),
        ({"scope": "nowhere"}, "syncreset.E004"),
        ({"scope": "name"}, "syncreset.E004"),
        ({"read_only": ["nowhere"]}, "syncreset.E006"),
        ({"read_only": ["code"]}, "syncreset.E006"),
        ({"read_only": ["last_updated"]}, "syncreset.E006"),
        ({"conflicts": {"nowhere": "newest"}}, "syncreset.E006"),
        ({"conflicts": {"name": "loudest"}}, "syncreset.E007"),
        ({"on_delete": "cry"}, "syncreset.E008"),
        ({"counters": ["nowhere"]}, "syncreset.E014"),
        ({"counters": ["name"]}, "syncreset.E014"),
        ({"counters": "name"}, "syncreset.E010"),
        ({"recovery": "by_magic"}, "syncreset.E009"),
        ({"recovery": "nowhere.to_be_found"}, "syncreset.E009"),
        ({"recovery": 5}, "syncreset.E009"),
        ({"conflicts": ["name"]}, "syncreset.E010"),
        ({"read_only": 5}, "syncreset.E010"),
        ({"can_write": "nowhere.to_be_found"}, "syncreset.E010"),
        ({"can_write": 5}, "syncreset.E013"),
    ],
)
@isolate_apps("tests.shelters")
def test_a_wrong_sync_meta_is_refused(said: dict[str, Any], expected: str) -> None:
    model = declared(sync_meta(**said), name=models.CharField(max_length=9))

    assert ids(checks.check_model(model)) == [expected]


@isolate_apps("tests.shelters")
def test_a_right_sync_meta_is_accepted() -> None:
    said = sync_meta(
        scope="code",
        read_only=("name",),
        conflicts={"name": max, "*": "client"},
        on_delete="review",
        can_write=lambda user, row: True,
        recovery="by_field",
        counters=["stock"],
    )

    model = declared(said, name=models.CharField(max_length=9), stock=models.PositiveIntegerField())
    assert ids(checks.check_model(model)) == []


@isolate_apps("tests.shelters")
def test_a_text_for_a_list_is_refused() -> None:
    model = declared(sync_meta(read_only="name"), name=models.CharField(max_length=9))

    assert ids(checks.check_model(model)) == ["syncreset.E010"]


@isolate_apps("tests.shelters")
def test_a_scope_that_may_be_null_is_warned_of() -> None:
    model = declared(sync_meta(scope="owner"), owner=models.ForeignKey(Shelter, models.CASCADE, null=True))

    assert ids(checks.check_model(model)) == ["syncreset.W002"]


@isolate_apps("tests.shelters")
def test_a_scope_must_point_to_a_primary_key() -> None:
    model = declared(sync_meta(scope="dog"), dog=models.ForeignKey(Dog, models.CASCADE, to_field="chip"))

    assert ids(checks.check_model(model)) == ["syncreset.E005"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (lambda: models.ManyToManyField(Dog), []),
        (lambda: models.ManyToManyField("self"), []),
        (lambda: models.ManyToManyField(User), ["syncreset.W007"]),
        (lambda: models.ManyToManyField(User, through=Membership, related_name="+"), ["syncreset.W006"]),
    ],
    ids=["tracked", "itself", "untracked elements", "untracked table"],
)
@isolate_apps("tests.shelters")
def test_a_set_needs_tracked_elements_and_a_table_that_is_tracked(
    field: Callable[[], Any], expected: list[str]
) -> None:
    model = declared(friends=field())

    assert [name for name in ids(checks.check_model(model)) if name != "syncreset.W002"] == expected


def test_a_missing_scopes_setting_is_warned_of() -> None:
    with override_settings(SYNCRESET={}):
        assert ids(settings.check_scopes_setting(None)) == ["syncreset.W004"]


@pytest.mark.parametrize("scopes", ["nowhere.to_be_found", "tests.shelters.models"])
def test_a_scopes_setting_that_is_no_function_is_refused(scopes: str) -> None:
    with override_settings(SYNCRESET={"SCOPES": scopes}):
        assert ids(settings.check_scopes_setting(None)) == ["syncreset.E011"]


def test_a_right_scopes_setting_is_accepted() -> None:
    assert ids(settings.check_scopes_setting(None)) == []


@pytest.mark.parametrize("strategy", ["by_magic", "nowhere.to_be_found", "tests.shelters.models", 5])
def test_a_strategy_setting_that_is_no_strategy_is_refused(strategy: object) -> None:
    with override_settings(SYNCRESET={"STRATEGY": strategy}):
        assert ids(settings.check_strategy_setting(None)) == ["syncreset.E017"]


@pytest.mark.parametrize("strategy", [None, "by_field", "syncreset.protocol.by_base"])
@isolate_apps("tests.shelters")
def test_a_strategy_setting_may_name_one_of_the_five_or_a_function(strategy: str | None) -> None:
    with override_settings(SYNCRESET={"STRATEGY": strategy}):
        assert ids(settings.check_strategy_setting(None)) == []

    if strategy is not None:
        model = declared(sync_meta(recovery=strategy))
        assert ids(checks.check_model(model)) == []


def test_a_database_without_triggers_of_ours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ids(tables.check_databases(None)) == []

    monkeypatch.setattr(connection, "vendor", "mysql")

    assert ids(tables.check_databases(None)) == ["syncreset.E012"]


@pytest.mark.django_db
def test_missing_triggers_are_found_when_databases_are_checked() -> None:
    assert ids(tables.check_triggers(None, databases=["default"])) == []

    drop_triggers(Dog)

    [message] = tables.check_triggers(None, databases=["default"])
    assert ids([message]) == ["syncreset.W005"]
    assert "shelters_dog" in message.msg
    assert tables.check_triggers(None) == []


@pytest.mark.django_db
def test_missing_triggers_do_not_keep_migrate_from_installing_them() -> None:
    drop_triggers(Dog)

    call_command("check", databases=["default"], fail_level="ERROR")


@pytest.mark.parametrize("name", settings.LIMITS)
@pytest.mark.parametrize("value", [0, -1, True, "1000", None, 1.5])
def test_a_limit_that_is_no_count_is_refused(name: str, value: Any) -> None:
    with override_settings(SYNCRESET={name: value}):
        messages = settings.check_limits(None)

    assert ids(messages) == ["syncreset.E029"]
    assert name in messages[0].msg


def test_the_limits_are_counts_by_default() -> None:
    with override_settings(SYNCRESET={"PAGE_BYTES_LIMIT": 1}):
        assert settings.check_limits(None) == []


def test_the_address_of_redis_must_be_one() -> None:
    with override_settings(SYNCRESET={"EVENTS_URL": "redis.internal"}):
        assert ids(settings.check_events_setting(None)) == ["syncreset.E030"]
    for url in (None, "redis://redis.internal:6379/0", "rediss://redis.internal", "unix:///run/redis.sock"):
        with override_settings(SYNCRESET={"EVENTS_URL": url}):
            assert settings.check_events_setting(None) == []


@pytest.mark.parametrize("place", ["", "media"])
def test_a_storage_whose_place_depends_on_the_process_is_warned_of(place: str) -> None:
    with override_settings(MEDIA_ROOT=place):
        assert ids(settings.check_storage_setting(None)) == ["syncreset.W008"]
        assert "syncreset.W008" in {message.id for message in run_checks()}


def test_a_storage_with_a_place_of_its_own_is_right(tmp_path: Path) -> None:
    with override_settings(MEDIA_ROOT=str(tmp_path)):
        assert settings.check_storage_setting(None) == []


def test_a_storage_that_is_none_is_refused() -> None:
    with override_settings(SYNCRESET={"STORAGE": "nowhere"}):
        assert ids(settings.check_storage_setting(None)) == ["syncreset.E027"]
