"""A store, and a folder for its mirrors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import imgrank.vectors.cosines as vectors
from imgrank.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "cache" / "imgrank.sqlite3") as store:
        yield store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the mirrors, which are used however few pictures there are."""
    monkeypatch.setattr(vectors, "FEW", 0)
    monkeypatch.setattr(vectors, "_said", set())
    return tmp_path / "cache" / "vectors"
