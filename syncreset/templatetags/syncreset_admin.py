"""What needs a person, for a page that Django makes: its app index knows which models the user may see, and no more."""

from typing import Any

from django import template
from django.template import Context

from ..admin.shown.attention import attention_context
from ..operations.status import Dashboard

register = template.Library()


@register.inclusion_tag("admin/syncreset/app_index_top.html", takes_context=True)
def syncreset_attention(context: Context) -> dict[str, Any]:
    """The box of the dashboard, with a link to the whole of it where the user may see it."""
    seen = {
        listed["model"]: listed["admin_url"]
        for app in context["app_list"]
        for listed in app["models"]
        if listed["perms"]["view"]
    }
    return {**attention_context(seen), "dashboard_url": seen.get(Dashboard, "")}
