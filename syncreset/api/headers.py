"""Headers that Django reads before any view does, and that must not keep a request from being answered."""

import codecs
import contextlib
from typing import Any

from django.utils.http import parse_header_parameters

#: Of a Content-Type whose parameters cannot be read; no codec is called so, and the views refuse it.
UNREADABLE = "x-unreadable"


def make_readable(
    *, environ: dict[str, Any] | None = None, scope: dict[str, Any] | None = None, **_: Any
) -> None:
    """The receiver of ``request_started``: Django fails on some parameters of a Content-Type, before any middleware.

    Of such a header the media type stays, with a charset that no view takes.
    """
    if environ is not None:
        environ["CONTENT_TYPE"] = _readable(environ.get("CONTENT_TYPE", ""))
    if scope is not None:
        scope["headers"] = [
            (name, _readable(value.decode("latin-1")).encode("latin-1"))
            if name.lower() == b"content-type"
            else (name, value)
            for name, value in scope["headers"]
        ]


def _readable(header: str) -> str:
    try:
        _, parameters = parse_header_parameters(header)
        _look_up(parameters.get("charset", "utf-8"))
    except (AttributeError, IndexError, LookupError, TypeError, ValueError):
        # Django would raise it again where nobody answers.
        media_type = header.partition(";")[0].strip()
        return f"{media_type}; charset={UNREADABLE}"
    return header


def _look_up(charset: str) -> None:
    """Raises what Django does not expect of a charset; one that is merely unknown it takes."""
    with contextlib.suppress(LookupError):
        codecs.lookup(charset)
