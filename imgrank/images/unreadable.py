"""The one exception of this room. It becomes a `Skip` value; it never ends a run."""

from __future__ import annotations

__all__ = ["Unreadable"]


class Unreadable(Exception):  # noqa: N818 (a state of the file, as `Skip` is)
    """A picture that cannot be used; the message is one line that a person can act on."""
