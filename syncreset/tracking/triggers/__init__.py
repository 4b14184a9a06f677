"""The triggers of tracked tables. All vendor SQL is in this package."""
