"""Uploads in the admin: snapshots on their way in, those that were refused, and another try at these."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.utils.html import format_html

from ...operations.states import with_upload_state
from ...protocol.clock import now
from ...protocol.errors import ProtocolError
from ...recovery.intake import finish_upload
from ...recovery.uploads import Upload, terminate
from ..actions.confirm import Confirmation, confirm, is_confirmed
from ..shown.html import Table, badge, change_link, code, isolated, moment, progress_bar
from .filters import AgeFilter, ResetClientFilter, UploadStateFilter
from .records import ActionButton, RecordAdmin

_STATES = {"purged": "recovered, then purged", "waiting": "not checked yet"}


def upload_state(upload: Any) -> str:
    """Where an upload `with_upload_state` is, as a badge."""
    return badge(upload.state, _STATES.get(upload.state, ""))


def _has_expired(upload: Upload) -> bool:
    return not upload.complete and upload.expires < now()


def _can_recover(upload: Upload) -> bool:
    return upload.complete and not upload.recoveries.exists()


@admin.register(Upload)
class UploadAdmin(RecordAdmin):
    list_display = ["upload_name", "client", "state", "recovery", "begun", "received"]
    list_filter = [UploadStateFilter, "strategy", AgeFilter, ResetClientFilter]
    search_fields = ["id", "reset__client__name", "reset__client__id", "sha256"]
    ordering = ["-created"]
    actions = ["recover"]
    fieldsets = [
        (None, {"fields": ["id", "client", "reset_link", "state", "why_refused", "recovery"]}),
        ("What comes in", {"fields": ["received", "size", "digest", "asked", "mode", "begun", "until"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        uploads = with_upload_state(super().get_queryset(request)).select_related("reset__client")
        return uploads.defer("reset__client__scopes").prefetch_related("recoveries")

    def has_recover_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("syncreset.recover_again_recovery"))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What never became whole and has expired is of no use to anybody; everything else is evidence."""
        if not request.user.has_perm("syncreset.delete_upload"):
            return False
        return obj is None or _has_expired(obj)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        terminate(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for upload in queryset:
            terminate(upload)

    @admin.display(description="upload", ordering="created")
    def upload_name(self, upload: Upload) -> str:
        return str(upload.pk)[:8]

    @admin.display(description="client")
    def client(self, upload: Upload) -> str:
        return change_link(upload.reset.client)

    @admin.display(description="reset")
    def reset_link(self, upload: Upload) -> str:
        return change_link(upload.reset)

    @admin.display(description="state")
    def state(self, upload: Upload) -> str:
        return upload_state(upload)

    @admin.display(description="why it was refused")
    def why_refused(self, upload: Upload) -> str:
        return isolated(upload.refused) or "—"

    @admin.display(description="recovery")
    def recovery(self, upload: Upload) -> str:
        recoveries = sorted(upload.recoveries.all(), key=lambda recovery: recovery.created)
        return change_link(recoveries[-1]) if recoveries else "—"

    @admin.display(description="bytes received", ordering="offset")
    def received(self, upload: Upload) -> str:
        return progress_bar(upload.offset, upload.length)

    @admin.display(description="size")
    def size(self, upload: Upload) -> str:
        return filesizeformat(upload.length)

    @admin.display(description="sha256")
    def digest(self, upload: Upload) -> str:
        return code(upload.sha256)

    @admin.display(description="strategy")
    def asked(self, upload: Upload) -> str:
        return isolated(upload.strategy) or "the one that the snapshot names"

    @admin.display(description="begun", ordering="created")
    def begun(self, upload: Upload) -> str:
        return moment(upload.created)

    @admin.display(description="must be whole by")
    def until(self, upload: Upload) -> str:
        return "—" if upload.complete else moment(upload.expires)

    def buttons(self, request: HttpRequest, record: Any) -> Sequence[ActionButton]:
        if not (self.has_recover_permission(request) and _can_recover(record)):
            return []
        return [ActionButton(action="recover", label="Check again and recover")]

    def is_changing(self, record: Any) -> bool:
        return not (record.complete or _has_expired(record))

    @admin.action(description="Check the selected uploads again and recover them", permissions=["recover"])
    def recover(self, request: HttpRequest, queryset: QuerySet[Any]) -> TemplateResponse | None:
        chosen = list(queryset)
        possible = [upload for upload in chosen if _can_recover(upload)]
        if is_confirmed(request):
            for upload in possible:
                self._recover(request, upload)
            return None
        return confirm(self, request, "recover", _question(possible, len(chosen) - len(possible)))

    def _recover(self, request: HttpRequest, upload: Upload) -> None:
        try:
            recovery = finish_upload(upload, by_operator=True)
        except ProtocolError as error:
            text = format_html(
                "{} was refused again: {}",
                change_link(upload, f"upload {str(upload.pk)[:8]}"),
                isolated(error.detail),
            )
            self.message_user(request, text, messages.ERROR)
            return
        self.log_change(request, upload, "Checked again and recovered.")
        text = format_html("{} of {} is queued.", change_link(recovery), change_link(upload.reset.client))
        self.message_user(request, text, messages.SUCCESS)


def _question(uploads: Sequence[Upload], left_out: int) -> Confirmation:
    warnings = []
    if left_out:
        warnings.append(
            f"Left out: {left_out:,} of the selected, which are not whole, or have a recovery already."
        )
    return Confirmation(
        title="Check uploads again and recover them",
        sentences=[
            "Each snapshot is read from end to end once more.",
            "What is valid now, because its schema was published or a limit raised since, is recovered.",
        ],
        tables=[
            Table(
                caption="Snapshots",
                columns=["Upload", "Client", "Unsynced changes reported", "Size", "Refused because"],
                rows=[
                    [
                        change_link(upload, str(upload.pk)[:8]),
                        change_link(upload.reset.client),
                        f"{upload.reset.client.pending:,}",
                        filesizeformat(upload.length),
                        isolated(upload.refused) or "it was not checked yet",
                    ]
                    for upload in uploads
                ],
            )
        ],
        form=Form(),
        submit="Check and recover" if uploads else "",
        warnings=warnings,
    )
