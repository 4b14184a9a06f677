"""From changes to rows: prepare, merge, check, write."""
