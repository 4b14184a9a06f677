"""Somebody at the admin's pages."""

from typing import Any, Protocol

from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import reverse


class OperatorFactory(Protocol):
    def __call__(self, *permissions: str, superuser: bool = ...) -> "Operator": ...


class Operator:
    """Somebody at the admin's pages."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.browser = Browser()
        self.browser.force_login(user)

    def get(self, path: str, status: int = 200, **query: str) -> str:
        """The text of a page."""
        response = self.browser.get(path, query)
        assert response.status_code == status, (path, response.status_code)
        return response.content.decode()

    def list_of(self, model: str, /, **query: str) -> str:
        """The list of a model (``app_model``)."""
        return self.get(reverse(f"admin:{model}_changelist"), 200, **query)

    def page_of(self, record: Any) -> str:
        """The page of one record."""
        return self.get(page_url(record))

    def act(self, model: str, action: str, *records: Any, status: int = 200, **answers: str) -> str:
        """Choose an action for some records of a list; with ``confirmed="yes"`` say yes to its question."""
        data = {"action": action, "_selected_action": [str(record.pk) for record in records], **answers}
        response = self.browser.post(reverse(f"admin:{model}_changelist"), data, follow=True)
        assert response.status_code == status
        return response.content.decode()


def page_url(record: Any) -> str:
    """The address of a record's page."""
    meta = record._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[record.pk])
