"""What tracking costs: ORM operations on a tracked table, and on a table of the same columns that is not tracked.

python -m benchmarks.capture            (SYNCRESET_TEST_DATABASE=postgresql for PostgreSQL)
"""

from collections.abc import Callable
from typing import Any

from django.db import connection, models

from benchmarks.sidebyside import compare, database
from tests.shelters.models import Vet

ROWS = 2_000
SAVES = 200

Operation = Callable[[], object]


class Plain(models.Model):
    """The columns of Vet, clocks included, in a table without triggers."""

    code = models.CharField(max_length=20, primary_key=True)
    name = models.CharField(max_length=100)
    phone = models.CharField(max_length=40, null=True)
    last_updated = models.BigIntegerField(default=0)
    field_timestamps = models.JSONField(default=dict)

    class Meta:
        app_label = "shelters"


def saves(model: Any) -> Operation:
    """Insert rows one by one into an empty table."""

    def run() -> None:
        model.objects.all().delete()
        for number in range(SAVES):
            model(code=f"v{number}", name="n").save(force_insert=True)

    return run


def bulk_create(model: Any) -> Operation:
    """Insert rows at once into an empty table."""

    def run() -> None:
        model.objects.all().delete()
        model.objects.bulk_create([model(code=f"v{number}", name="n") for number in range(ROWS)])

    return run


def update(model: Any) -> Operation:
    """Change one field of all rows, to another value each time."""
    names = iter(range(1_000_000))
    return lambda: model.objects.update(name=f"m{next(names)}")


def main() -> None:
    with database():
        with connection.schema_editor() as editor:
            editor.create_model(Plain)
        print(f"{connection.vendor}: tracked against untracked; the inserts empty the table first")
        for what, make in (
            (f"save() of {SAVES:,} rows", saves),
            (f"bulk_create() of {ROWS:,} rows", bulk_create),
            (f"update() of {ROWS:,} rows", update),
        ):
            compare(what, make(Vet), make(Plain))


if __name__ == "__main__":
    main()
