"""A page of the admin as a browser sees it: its forms, with what their controls say when nobody has touched them."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["Form", "forms_of"]

#: Controls that send something only when they are pressed.
_BUTTONS = ("submit", "button", "reset", "image", "file")

Attributes = dict[str, str]


@dataclass(kw_only=True)
class Form:
    """Where a form posts to (empty: to its own page) and what it sends: the last value of each control."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


def forms_of(html: str) -> list[Form]:
    """The forms of a page, in order. Controls that stand elsewhere and name a form by its id belong to that form."""
    reader = _FormReader()
    reader.feed(html)
    reader.close()
    return reader.forms()


class _FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self._forms: list[Form] = []
        self._by_id: dict[str, Form] = {}
        self._open: Form | None = None
        self._controls: list[tuple[Form | str, str, str]] = []
        self._textarea: Attributes | None = None
        self._text = ""
        self._select: Attributes | None = None

    def forms(self) -> list[Form]:
        for owner, name, value in self._controls:
            form = self._by_id.get(owner) if isinstance(owner, str) else owner
            if form is not None and name:
                form.fields[name] = value
        return self._forms

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(action=given.get("action", ""))
            self._forms.append(self._open)
            if "id" in given:
                self._by_id[given["id"]] = self._open
        elif tag == "input":
            kind = given.get("type", "text")
            if kind not in _BUTTONS and (kind not in ("radio", "checkbox") or "checked" in given):
                self._keep(given, given.get("value", ""))
        elif tag == "textarea":
            self._textarea, self._text = given, ""
        elif tag == "select":
            self._select = given
        elif tag == "option" and self._select is not None and "selected" in given:
            self._keep(self._select, given.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag == "textarea" and self._textarea is not None:
            # The first line break of a textarea is its notation, not its value.
            self._keep(self._textarea, self._text.removeprefix("\n"))
            self._textarea = None
        elif tag == "select":
            self._select = None

    def handle_data(self, data: str) -> None:
        if self._textarea is not None:
            self._text += data

    def _keep(self, control: Attributes, value: str) -> None:
        owner: Form | str | None = control.get("form") or self._open
        if owner is not None:
            self._controls.append((owner, control.get("name", ""), value))
