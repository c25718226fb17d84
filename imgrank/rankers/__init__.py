"""Rankers: what gives a picture its score. One module a method; `load.py` chooses."""
