"""From an uploaded snapshot to a finished ledger; and back."""
