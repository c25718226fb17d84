"""Estimates of a single picture or face, as `age`, `decade` and `aesthetic` give them.

The same floor as `imgrank.api`: what Python users and the commands call. No torch at import.
"""
