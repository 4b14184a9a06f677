"""Whether there is room for another snapshot of a user: uploads, bytes, and items that wait for a decision."""

from django.db.models import F, Q, Sum

from ..clients.client import SyncUser
from ..clients.quotas import require_quota
from ..ledger.quotas import require_room_for_parked
from .uploads import Upload


def require_room_for_upload(user: SyncUser, length: int) -> None:
    """Refuse an upload of so many bytes that the user has no room for. Raises QuotaExceeded."""
    kept = Upload.objects.filter(reset__client__user=user.pk, purged__isnull=True)
    unfinished = Q(offset__lt=F("length"))
    require_quota(
        "UPLOADS_QUOTA", kept.filter(unfinished).count(), "finish or delete one; unfinished ones expire"
    )
    require_quota(
        "REFUSED_QUOTA",
        kept.exclude(unfinished).exclude(refused="").filter(recoveries__isnull=True).count(),
        "the operator can delete refused snapshots or recover them",
    )
    require_quota(
        "BYTES_QUOTA",
        kept.aggregate(size=Sum("length"))["size"] or 0,
        "there is room once snapshots that are recovered are purged",
        length,
    )
    require_room_for_parked(user)
