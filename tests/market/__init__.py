"""Test models for what the shelters have not: counters, many-to-many relations, models that cannot inherit."""
