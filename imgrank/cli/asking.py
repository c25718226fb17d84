"""Questions: asked on a terminal only, on standard error, never in a script."""

from __future__ import annotations

import sys

import click

from imgrank.errors import UsageError

__all__ = ["agreed", "may_ask"]


def agreed(question: str, *, default: bool, otherwise: str) -> bool:
    """The answer to a yes-or-no question.

    default: the answer of a bare Enter.   otherwise: the message of the UsageError that is raised
    where nobody can be asked; names the option that stands for "yes".
    """
    if not may_ask():
        raise UsageError(otherwise)
    return click.confirm(question, default=default, err=True)


def may_ask() -> bool:
    """Whether there is a terminal to ask on."""
    streams = (sys.stdin, sys.stderr)
    return all(stream is not None and stream.isatty() for stream in streams)
