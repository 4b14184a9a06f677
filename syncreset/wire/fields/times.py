"""Codecs of dates, times and durations."""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone as django_timezone
from django.utils.duration import duration_iso_string

from .base import FieldCodec, ValueFault

_DAY = 24 * 60 * 60
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?")
_DURATION = re.compile(
    r"(-?)P(?=[0-9T])(?:([0-9]{1,10})D)?(?:T(?=[0-9])(?:([0-9]{1,15})H)?(?:([0-9]{1,15})M)?"
    r"(?:([0-9]{1,15})(?:\.([0-9]{1,9}))?S)?)?"
)
_DATETIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)(Z|[+-][0-9]{2}:[0-9]{2})?"
)


def _clock_time(text: str) -> time:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueFault("invalid", "a time is HH:MM:SS, with up to six decimals")
    hour, minute, second, fraction = match.groups()
    try:
        return time(int(hour), int(minute), int(second), int((fraction or "")[:6].ljust(6, "0")))
    except ValueError as error:
        raise ValueFault("invalid", f"there is no such time: {error}") from error


def _decode_date(value: Any) -> date:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueFault("invalid", "this field takes a date, YYYY-MM-DD")
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise ValueFault("invalid", f"there is no such date: {error}") from error


def date_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    return FieldCodec(type="Date", encode=lambda value: value.isoformat(), decode=_decode_date)


def time_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_time(value: Any) -> time:
        if not isinstance(value, str):
            raise ValueFault("invalid", "this field takes a time, HH:MM:SS")
        return _clock_time(value)

    return FieldCodec(type="Time", encode=lambda value: value.isoformat(), decode=decode_time)


def _encode_datetime(value: datetime) -> str:
    aware = django_timezone.make_aware(value) if value.tzinfo is None else value
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def _decode_datetime(value: Any) -> datetime:
    match = _DATETIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueFault("invalid", "this field takes a date and time, YYYY-MM-DDTHH:MM:SS.ffffffZ")
    day, clock, zone = match.groups()
    if zone is None:
        raise ValueFault("invalid", "a date and time needs its zone: Z or ±HH:MM")
    offset = timedelta(0)
    if zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            raise ValueFault("invalid", "there is no such zone")
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
    try:
        local = datetime.combine(_decode_date(day), _clock_time(clock), timezone(offset))
        utc = local.astimezone(UTC)
        return utc if settings.USE_TZ else django_timezone.make_naive(utc)
    except (OverflowError, ValueError) as error:
        raise ValueFault("out_of_range", "the time is not within the years 1 to 9999 in UTC") from error


def datetime_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    return FieldCodec(type="DateTime", encode=_encode_datetime, decode=_decode_datetime)


def duration_codec(field: "models.Field[Any, Any]") -> FieldCodec:
    def decode_duration(value: Any) -> timedelta:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueFault(
                "invalid", "this field takes an ISO 8601 duration of days to seconds, like P1DT2H3M4.5S"
            )
        sign, days, hours, minutes, seconds, fraction = match.groups("0")
        if fraction[6:].strip("0"):
            raise ValueFault("invalid", "the duration has more than six decimals")
        whole = int(days) * _DAY + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
        microseconds = whole * 1_000_000 + int(fraction[:6].ljust(6, "0"))
        if microseconds >= 2**63 - 1:
            raise ValueFault("out_of_range", "the duration is too long")
        return timedelta(microseconds=-microseconds if sign == "-" else microseconds)

    return FieldCodec(type="Duration", encode=duration_iso_string, decode=decode_duration)
