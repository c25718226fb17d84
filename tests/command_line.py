"""A command line run through the real entry point, exit status included."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner, Result

from imgrank.cli import main

Run = Callable[..., Result]


def command_line(monkeypatch: pytest.MonkeyPatch, *first: str) -> Run:
    """A function that runs `imgrank FIRST... ARGUMENTS...`; `stdin` is what is piped in."""

    def call(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "argv", ["imgrank", *first, *map(str, arguments)])
        return CliRunner().invoke(click.Command("imgrank", callback=main), [], input=stdin)

    return call
