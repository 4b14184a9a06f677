"""The administrator of the walk-through: works in the admin over HTTP, as a person with a browser would."""

import html
import re
import time
from collections.abc import Mapping

import httpx

from demo_project.pages import Form, forms_of
from demo_project.ramp.people import PASSWORD

__all__ = ["ITEMS", "AdminRefused", "Operator"]

CLIENTS, RECOVERIES, ITEMS = "admin/syncreset/client/", "admin/syncreset/recovery/", "admin/syncreset/item/"
#: Seconds to wait for a worker, and between two looks at a page.
PATIENCE, PAUSE = 60.0, 0.3


class AdminRefused(Exception):
    """The admin answered with something else than was to be expected."""


class Operator:
    """Logged in to the admin at ``url``. A context manager."""

    def __init__(self, url: str) -> None:
        self._browser = httpx.Client(base_url=url, follow_redirects=True, timeout=30)
        login = self._browser.get("admin/login/?next=/admin/")
        self._submit(login, {"username": "admin", "password": PASSWORD}, posts_to="login")

    def __enter__(self) -> "Operator":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._browser.close()

    def force_reset(self, client: str) -> None:
        """Order one client to reset: choose it in the list, and confirm on the page that asks."""
        self._act(CLIENTS, "force_reset", client)

    def undo(self, recovery: str) -> None:
        """Have a recovery's rows given back as they were, and wait until that is done."""
        self._wait_for(self._act(RECOVERIES, "undo", recovery), besides=recovery)

    def recover_again(self, recovery: str) -> None:
        """Have a recovery's snapshot merged once more, and wait until that is done."""
        self._wait_for(self._act(RECOVERIES, "recover_again", recovery), besides=recovery)

    def parked(self) -> list[str]:
        """The ids of the items that wait for a person, as the list of the admin shows them, newest first."""
        page = self._get(f"{ITEMS}?state__exact=parked")
        return list(dict.fromkeys(re.findall(r"/syncreset/item/([0-9a-f-]{36})/change/", page.text)))

    def page_of(self, item: str) -> str:
        """The page of an item, as text."""
        return html.unescape(self._get(f"{ITEMS}{item}/change/").text)

    def decide(self, item: str, value: str) -> None:
        """Decide a parked item of one field: another value than both sides', written as JSON."""
        page = self._get(f"{ITEMS}{item}/change/")
        answer = self._submit(page, {"choice__0": "other", "value__0": value}, posts_to="resolve")
        if item in self.parked():
            raise AdminRefused(f"item {item} is still parked: {_messages(answer.text)}")

    def _act(self, changelist: str, action: str, record: str) -> httpx.Response:
        """Choose an action for one record of a list, and say yes on the page that asks."""
        chosen = {"action": action, "_selected_action": record}
        asked = self._submit(self._get(changelist), chosen, has="action")
        return self._submit(asked, chosen, has="confirmed")

    def _wait_for(self, answer: httpx.Response, *, besides: str) -> None:
        """Follow the link to the recovery that was queued, and look at its page until it changes no more."""
        links = re.findall(r"/syncreset/recovery/([0-9a-f-]{36})/change/", _messages(answer.text))
        queued = [link for link in links if link != besides]
        if not queued:
            raise AdminRefused(f"nothing was queued: {_messages(answer.text)}")
        deadline = time.monotonic() + PATIENCE
        while 'http-equiv="refresh"' in self._get(f"{RECOVERIES}{queued[0]}/change/").text:
            if time.monotonic() > deadline:
                raise AdminRefused(f"no worker has finished recovery {queued[0]}")
            time.sleep(PAUSE)

    def _get(self, path: str) -> httpx.Response:
        return self._browser.get(path).raise_for_status()

    def _submit(
        self, page: httpx.Response, values: Mapping[str, str], *, posts_to: str = "", has: str = ""
    ) -> httpx.Response:
        """Fill in a form of the page, the one whose address or one of whose controls is named so, and send it."""
        form = _form(page, posts_to, has or "csrfmiddlewaretoken")
        target = page.url.join(form.action) if form.action else page.url
        answer = self._browser.post(
            target, data={**form.fields, **values}, headers={"Referer": str(page.url)}
        )
        return answer.raise_for_status()


def _form(page: httpx.Response, posts_to: str, control: str) -> Form:
    for form in forms_of(page.text):
        if posts_to in form.action and control in form.fields:
            return form
    raise AdminRefused(f"{page.url.path} has no such form: {_messages(page.text)}")


def _messages(page: str) -> str:
    """What a page tells about what was just done."""
    found = re.search(r'<ul class="messagelist">(.*?)</ul>', page, re.DOTALL)
    return found[1].strip() if found else ""
