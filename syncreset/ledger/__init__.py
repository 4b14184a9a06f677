"""The ledger: one item for every change that did not simply apply, and for every change of a snapshot."""
