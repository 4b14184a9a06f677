"""Whole-system schedules: real replicas on files against the real server, with everything that can go wrong."""
