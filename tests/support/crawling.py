"""Somebody who opens every page of the admin, follows every link, and looks at what is shown."""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from django.test import Client as Browser

from tests.support.hostile_values import ELEMENT, RIGHT_TO_LEFT, TEMPLATED

#: Bytes of the longest page.
LONGEST = 400_000
_START = "/admin/syncreset/"
#: What Django and the templates print between words: line ends, tabs, and the space of "5 minutes".
_HARMLESS = "\n\t\xa0"
#: Elements whose text stays apart from all other text, as HTML or the stylesheet says it; in the headings and the way
#: to the page a name stands last, alone with its own record's.
_ISOLATING = frozenset({"bdi", "h1", "h2", "nav", "option", "pre", "textarea", "title"})
_VOID = frozenset({"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})


@dataclass
class Form:
    """Where a form goes, and what it says unless somebody changes it."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """The links and forms of a page, and what is wrong with it."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.url = url
        self.text = text
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.actions: list[str] = []
        self.faults: list[str] = []
        self._open: list[tuple[str, str]] = []
        self._select = ""
        self.feed(text)
        self._judge()

    def _judge(self) -> None:
        strange = sorted({char for char in self.text if not char.isprintable()} - set(_HARMLESS))
        if strange:
            place = self.text.index(strange[0])
            self.faults.append(f"has {strange!a} at {self.text[max(place - 80, 0) : place + 10]!a}")
        if TEMPLATED in self.text:
            self.faults.append("ran a template's tag")
        if len(self.text.encode()) > LONGEST:
            self.faults.append(f"is {len(self.text):,} characters long")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == ELEMENT or any(ELEMENT in name or name.startswith("on") for name in given):
            self.faults.append(f"has the element <{tag} {given}>")
        if tag not in _VOID:
            self._open.append((tag, given.get("class", "")))
        if tag == "a" and "href" in given:
            self.links.append(urljoin(self.url, given["href"]))
        elif tag == "form":
            self.forms.append(Form(urljoin(self.url, given.get("action", "")), given.get("method", "get")))
        elif tag == "input" and self.forms and given.get("type") == "hidden":
            self.forms[-1].fields.append((given["name"], given.get("value", "")))
        elif tag == "option" and self._select == "action" and given.get("value"):
            self.actions.append(given["value"])
        if tag == "select":
            self._select = given.get("name", "")

    def handle_endtag(self, tag: str) -> None:
        while self._open and any(name == tag for name, _ in self._open):
            if self._open.pop()[0] == tag:
                break
        if tag == "select":
            self._select = ""

    def handle_data(self, data: str) -> None:
        if RIGHT_TO_LEFT in data and not any(
            tag in _ISOLATING or "syncreset-wire" in classes for tag, classes in self._open
        ):
            where = "".join(f"<{tag}>" for tag, _ in self._open[-4:])
            self.faults.append(f"has text from the right among other text: {where}{data[:80]!a}")


class Crawl:
    """Every page that is reached from the first one, each opened once."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        browser.raise_request_exception = False
        self.pages: dict[str, Page] = {}
        self.faults: list[str] = []

    def run(self, *more: str) -> "Crawl":
        """Open everything from the index of syncreset on, and ``more``."""
        waiting = deque([_START, *more])
        while waiting:
            url = waiting.popleft()
            if url in self.pages:
                continue
            page = self.open(url)
            if page is not None:
                waiting.extend(link for link in map(_plain, page.links) if self._is_wanted(link, url))
        return self

    def open(self, url: str) -> Page | None:
        """One page, judged; None where it is no page of HTML."""
        return self._seen(url, self.browser.get(url, follow=True))

    def ask(self, url: str, data: dict[str, str | list[str]]) -> Page | None:
        """What a form leads to, judged."""
        return self._seen(f"{url} {data.get('action', '')}", self.browser.post(url, data, follow=True))

    def press_all(self) -> None:
        """Choose every action for all records of each list, and press every button of each record's page."""
        for url, page in list(self.pages.items()):
            if re.fullmatch(r"/admin/syncreset/\w+/", url):
                keys = re.findall(r'name="_selected_action" value="([^"]+)"', page.text)
                for action in page.actions:
                    self.ask(url, {"action": action, "_selected_action": keys})
            for form in page.forms:
                if form.method == "post" and any(name == "action" for name, _ in form.fields):
                    self.ask(form.action, dict(form.fields))

    def urls(self, pattern: str) -> Iterable[str]:
        return [url for url in self.pages if re.fullmatch(pattern, url)]

    def _seen(self, name: str, response: Any) -> Page | None:
        if response.status_code != 200:
            self.faults.append(f"{name}: status {response.status_code}")
            return None
        if not response.headers["Content-Type"].startswith("text/html"):
            return None
        page = Page(urlsplit(name.split(" ")[0]).path, response.content.decode())
        self.pages[name] = page
        self.faults += [f"{name}: {fault}" for fault in page.faults]
        return page

    def _is_wanted(self, link: str, origin: str) -> bool:
        """Filters are not heaped on each other: a list that is filtered leads to records alone."""
        parts = urlsplit(link)
        if not parts.path.startswith(_START) or link in self.pages:
            return False
        return not (parts.query and urlsplit(origin).query) and len(parse_qsl(parts.query)) <= 3


def _plain(link: str) -> str:
    """The address less what says only which filters to go back to."""
    parts = urlsplit(link)
    query = [(name, value) for name, value in parse_qsl(parts.query, True) if name != "_changelist_filters"]
    return parts._replace(scheme="", netloc="", fragment="", query=urlencode(query)).geturl()
