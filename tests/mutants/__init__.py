"""Deliberate mistakes, one a patch: each must make the tests fail that are named for it. Run by ``make mutants``."""
