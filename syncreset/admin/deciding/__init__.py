"""Deciding a parked item."""
