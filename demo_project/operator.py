"""The administrator of the walk-through: works in the admin over HTTP, as a person with a browser would."""

import re

import httpx

from demo_project.ramp.people import PASSWORD

__all__ = ["AdminRefused", "Operator"]


class AdminRefused(Exception):
    """The admin answered with something else than was to be expected."""


class Operator:
    """Logged in to the admin at ``url``. A context manager."""

    def __init__(self, url: str) -> None:
        self._browser = httpx.Client(base_url=url, follow_redirects=True, timeout=30)
        self._post("admin/login/?next=/admin/", {"username": "admin", "password": PASSWORD})

    def __enter__(self) -> "Operator":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._browser.close()

    def force_reset(self, client: str) -> None:
        """Order one client to reset: choose it in the list, and confirm on the page that asks."""
        chosen = {"action": "force_reset", "_selected_action": client}
        asked = self._post("admin/syncreset/client/", chosen)
        if "confirmed" not in asked.text:
            raise AdminRefused("the admin did not ask to confirm the reset")
        self._post("admin/syncreset/client/", {**chosen, "confirmed": "yes"})

    def _post(self, path: str, data: dict[str, str]) -> httpx.Response:
        page = self._browser.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        if token is None:
            raise AdminRefused(f"{path} has no form: {page.status_code}")
        answer = self._browser.post(
            path, data={**data, "csrfmiddlewaretoken": token[1]}, headers={"Referer": str(page.url)}
        )
        answer.raise_for_status()
        return answer
