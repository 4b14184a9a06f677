"""What is kept of models for as long as the process runs, forgotten by tests that make, track and untrack them."""

from syncreset.tracking.registry import many_to_many_fields, options_for, synced_fields
from syncreset.wire import model as wire_model
from syncreset.wire import schema
from syncreset.wire.fields.codec import codec_for


def forget_models() -> None:
    """Have every model looked at anew."""
    kept = (options_for, synced_fields, many_to_many_fields, codec_for, schema._describe, wire_model._made)
    for answer in kept:
        answer.cache_clear()
