"""Tests of what an operator does: the subcommands of `manage.py syncreset`, waves of resets, purging and auditing."""
