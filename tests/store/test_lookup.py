"""Paths as the table of files has them: what `os.path.abspath` says, byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgrank.images import ImageFile
from imgrank.store.lookup import path_keys

NAMES = (
    "a.jpg",
    "./a.jpg",
    "../a.jpg",
    "in/../a.jpg",
    "in//deep/./a.jpg",
    "in/..",
    "..",
    "/a.jpg",
    "//a.jpg",
    "//server/a.jpg",
    "/in/../../a.jpg",
    "in/ü \udcff.jpg",
    "in/two\nlines.jpg",
    " /a.jpg",
)


def test_keys_are_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [ImageFile(Path(name), 0, 0) for name in NAMES]
    (tmp_path / "in").mkdir()
    for place in (tmp_path, tmp_path / "in", Path("/")):
        monkeypatch.chdir(place)
        assert path_keys(files) == [os.fsencode(os.path.abspath(name)) for name in NAMES]  # noqa: PTH100
