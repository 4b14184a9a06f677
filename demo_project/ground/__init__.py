"""Vehicles on the apron: one app as it is in two releases. The setting RAMP_RELEASE says which of them is installed.

What the second release changed is what `diff -r demo_project/ground/release_1 demo_project/ground/release_2` shows.
"""
