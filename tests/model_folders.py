"""Models folders as tests want them, and `imgrank` as a user types it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from imgrank.cli import main
from imgrank.models.registry import EMBEDDED
from imgrank.models.spec import file_sha256
from imgrank.settings import load_settings

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
# Of the models in the package, in the order in which they are listed.
EMBEDDED_NAMES = tuple(sorted(path.parent.name for path in EMBEDDED.glob("*/README.md")))
REVISION = "0123456789abcdef" * 2 + "01234567"
Run = Callable[..., Result]
Place = Callable[..., Path]


def change(path: Path, **values: object) -> None:
    """Entries of a JSON file; None takes one out."""
    table = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in table.items() if v is not None}))


def runner(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line through the real entry point; answer: what is typed at a question."""

    def call(*arguments: str, answer: str | None = None) -> Result:
        monkeypatch.setattr(sys, "argv", ["imgrank", *arguments])
        monkeypatch.setattr("imgrank.cli.asking.may_ask", lambda: answer is not None)
        command = click.Command("imgrank", callback=main)
        return CliRunner().invoke(command, [], input=answer)

    return call


def put(name: str, source: str = "tiny-quality", **facts: Any) -> Path:
    """A copy of an embedded model in the models folder; with facts, as if it had been pulled."""
    folder = load_settings().models_dir / name
    shutil.copytree(EMBEDDED / source, folder)
    if facts:
        files = {
            path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
            for path in folder.iterdir()
        }
        origin = {
            **{"format": 1, "origin": f"hf:{facts['repository']}", "revision": REVISION},
            **{"asked": "main", "files": files, "licence": "mit", "pulled": "2026-11-22"},
        }
        (folder / "origin.json").write_text(json.dumps(origin | facts))
    return folder


def rows(result: Result) -> dict[str, dict[str, Any]]:
    """Of `models list --json`, by name."""
    return {row["name"]: row for row in json.loads(result.stdout)}
