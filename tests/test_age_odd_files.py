"""`imgrank age` over what is no picture, or hardly one: skips, rows, exit statuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_line import Run, command_line
from face_pictures import RED, PaintedFaces, painted
from PIL import Image
from rank_checkpoints import rank_checkpoint

import imgrank
import imgrank.estimates.age as ages
from imgrank.errors import NothingReadable, UsageError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rank_checkpoint(tmp_path_factory.mktemp("models") / "ages", "age")


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ages, "detector", lambda models: PaintedFaces())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch, "age")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """a: nobody. c: a crop."""
    folder = tmp_path / "album"
    painted(folder / "a.png", {})
    painted(folder / "c.png", {RED: (2, 2, 88, 84)}, (100, 96))
    return folder


def test_unreadable_files_are_skips_and_others_go_on(run: Run, album: Path, model: Path) -> None:
    whole = (album / "c.png").read_bytes()
    (album / "cut.png").write_bytes(whole[: len(whole) // 2])
    (album / "text.jpg").write_text("no picture")
    result = run(album, "--model", model, "--format", "json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert [Path(skip["path"]).name for skip in document["skipped"]] == ["cut.png", "text.jpg"]
    assert len(document["images"]) == 2
    assert f"skipped {album / 'text.jpg'}" in result.stderr
    assert run(album, "--model", model, "--strict").exit_code == 1


def test_nobody_in_any_picture_is_no_error(run: Run, album: Path, model: Path) -> None:
    result = run(album / "a.png", "--model", model, "--strict")
    assert result.exit_code == 0
    (row,) = result.stdout.splitlines()[1:]
    assert row.split("\t")[:2] == ["no_face", ""]


def test_nothing_readable_is_one(run: Run, tmp_path: Path, model: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    result = run(tmp_path / "text.jpg", "--model", model)
    assert result.exit_code == 1
    assert "not one picture could be read" in result.stderr
    with pytest.raises(UsageError):
        imgrank.age(tmp_path / "absent.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingReadable):
        imgrank.age(tmp_path / "empty", options=imgrank.Options(str(model)))


def test_sixteen_bits_cmyk_and_grey_are_pictures(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    Image.fromarray(np.full((40, 60), 40_000, np.uint16)).save(folder / "deep.png")
    Image.new("CMYK", (60, 40), (0, 200, 200, 0)).save(folder / "cmyk.jpg")
    Image.new("L", (1, 1), 9).save(folder / "one.png")
    Image.new("L", (3000, 2), 9).save(folder / "strip.png")
    found = imgrank.age(folder, options=imgrank.Options(str(model)))
    assert [row.status for row in found.rows] == ["no_face"] * 4
    assert not found.skips


def test_paths_on_standard_input(run: Run, album: Path, model: Path) -> None:
    names = b"\0".join(os.fsencode(album / name) for name in ("c.png", "a.png"))
    result = run("-", "-0", "--model", model, "--format", "paths", stdin=names)
    assert result.stdout_bytes == os.fsencode(album / "c.png") + b"\0"
