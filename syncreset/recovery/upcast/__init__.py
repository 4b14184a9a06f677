"""Snapshots of older schemas, carried over to the current one."""
