"""The signals that an application may listen to. All are sent after the transaction they tell of has committed."""

from django.dispatch import Signal

__all__ = ["changes_applied", "recovery_finished", "recovery_queued", "reset_ordered", "synced"]

#: A client has everything up to a checkpoint. Sender: Client. Arguments: ``client``, ``checkpoint`` (its number),
#: ``at`` (µs, the checkpoint's time) and ``models`` (labels that the client was served).
synced = Signal()

#: Changes of a client were written. Sender: the model. Arguments: ``client``, ``written`` and ``deleted`` (lists of
#: primary keys in wire form).
changes_applied = Signal()

#: A client must reset. Sender: Reset. Arguments: ``reset``.
reset_ordered = Signal()

#: A recovery reached ``done``, ``review`` or ``failed``. Sender: Recovery. Arguments: ``recovery``.
recovery_finished = Signal()

#: A recovery waits to be run. Sender: Recovery. Arguments: ``recovery``. The Celery task listens to it.
recovery_queued = Signal()
