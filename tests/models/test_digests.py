"""Digests are computed once and remembered, and never believed of a file that has changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from imgrank.models import digests
from imgrank.models.digests import file_sha256, known_sha256
from imgrank.settings import load_settings


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was really read; files count as settled at once."""
    read: list[Path] = []
    real = file_sha256
    monkeypatch.setattr(digests, "file_sha256", lambda path: read.append(path) or real(path))
    monkeypatch.setattr(digests, "SETTLED", -1.0)
    return read


def test_a_file_is_read_once(tmp_path: Path, hashed: list[Path]) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    wanted = hashlib.sha256(b"abc").hexdigest()
    assert [known_sha256(path) for _ in range(3)] == [wanted] * 3
    assert hashed == [path]
    memory = load_settings().cache_dir / "digests.json"
    assert json.loads(memory.read_text())[str(path)][-1] == wanted


@pytest.mark.parametrize("how", ["longer", "touched", "same size and time", "replaced"])
def test_a_changed_file_is_read_again(tmp_path: Path, hashed: list[Path], how: str) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    known_sha256(path)
    before = path.stat()
    time.sleep(0.02)  # more than a tick of the file system's clock
    if how == "replaced":
        (tmp_path / "new").write_bytes(b"abd")
        (tmp_path / "new").replace(path)
    elif how != "touched":
        path.write_bytes(b"abcd" if how == "longer" else b"abd")
    if how == "touched":
        os.utime(path)
    else:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(hashed) == 2


def test_a_file_of_this_moment_is_not_remembered(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED", 3600.0)
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    assert known_sha256(path) == known_sha256(path)
    assert len(hashed) == 2


@pytest.mark.parametrize(
    "content", ["", "[1]", "{", '{"PATH": [1, 2]}', '{"PATH": "x"}', "[" * 100_000]
)
def test_a_damaged_memory_is_no_memory(tmp_path: Path, hashed: list[Path], content: str) -> None:
    path, memory = tmp_path / "weights", tmp_path / "memory.json"
    path.write_bytes(b"abc")
    memory.write_text(content.replace("PATH", str(path)))
    assert known_sha256(path, memory) == hashlib.sha256(b"abc").hexdigest()
    assert known_sha256(path, memory) == hashlib.sha256(b"abc").hexdigest()
    assert hashed == [path]


def test_without_a_writable_cache_files_are_hashed(tmp_path: Path, hashed: list[Path]) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    for memory in (path / "digests.json", tmp_path):
        assert known_sha256(path, memory) == hashlib.sha256(b"abc").hexdigest()
    assert len(hashed) == 2
    assert not list(tmp_path.glob(".*.part"))


def test_the_memory_does_not_grow_without_end(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "MOST", 2)
    memory = tmp_path / "memory.json"
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
        known_sha256(path, memory)
    assert list(json.loads(memory.read_text())) == [str(path) for path in paths[1:]]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        known_sha256(tmp_path / "none")
