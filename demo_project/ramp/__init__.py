"""Flights and ramp inspections; every inspector holds one airport."""
