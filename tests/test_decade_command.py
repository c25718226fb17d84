"""`imgrank decade` and `imgrank aesthetic` as a user meets them; levels by untrained models."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from command_line import Run, command_line
from PIL import ExifTags, Image
from rank_checkpoints import DECADES, LEVELS, NAMES, rank_checkpoint

import imgrank
import imgrank.pipeline as pipeline
from imgrank.errors import NothingReadable, UsageError
from imgrank.rankers.levels import Calibration
from imgrank.rankers.load import load_ranker
from imgrank.results.estimate import Estimate

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
CALIBRATION = Calibration(2.0, 0.2, 0.7, 0.8, "a test").to_dict()
OLD = {"monochrome": True, "chroma": 9.5, "on": "prints of a test"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Knows monochrome pictures only."""
    folder = tmp_path_factory.mktemp("models") / "decades"
    return rank_checkpoint(folder, statistics=True, domain=OLD, calibration=CALIBRATION)


@pytest.fixture(scope="module")
def beauty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rank_checkpoint(tmp_path_factory.mktemp("models") / "beauty", "aesthetics")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """cat.jpg in colour; grey.jpg: the same in grey; scan.jpg: in colour, with an EXIF date."""
    folder = tmp_path / "album"
    folder.mkdir()
    cat = Image.open(PHOTOS / "cat.jpg").convert("RGB")
    shutil.copy(PHOTOS / "cat.jpg", folder)
    cat.convert("L").save(folder / "grey.jpg")
    dated(cat, folder / "scan.jpg", original="1984:06:01 12:00:00")
    return folder


def dated(image: Image.Image, path: Path, **dates: str) -> None:
    tags = {
        "original": ExifTags.Base.DateTimeOriginal,
        "digitized": ExifTags.Base.DateTimeDigitized,
    }
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update({tags[name]: text for name, text in dates.items()})
    image.save(path, exif=exif)


def listed(result: Result) -> dict[str, dict[str, str]]:
    assert result.exit_code == 0, result.stderr
    rows = csv.DictReader(io.StringIO(result.stdout), delimiter="\t")
    return {Path(row["path"]).name: row for row in rows}


def decades(path: Path | list[Path], model: Path, **options: Any) -> list[Estimate]:
    return imgrank.decade(path, options=imgrank.Options(str(model)), **options).rows


# ---- rows ----------------------------------------------------------------------------------------


def test_a_colour_photograph_has_a_reason_and_no_decade(run: Run, album: Path, model: Path) -> None:
    result = run("decade", album, "--model", model)
    rows = listed(result)
    assert list(rows) == ["cat.jpg", "grey.jpg", "scan.jpg"]
    assert [row["status"] for row in rows.values()] == ["out_of_range", "ok", "out_of_range"]
    cat, scan = rows["cat.jpg"], rows["scan.jpg"]
    for field in ("estimate", "low", "high", "level", "probability", "likely", "p(1920s)"):
        assert cat[field] == ""
    assert cat["reason"].startswith(
        "a colour photograph; decades was trained on monochrome ones (prints of a test). "
        "What would help: a --model"
    )
    assert "--data hci" in cat["reason"]
    assert "--exif" not in cat["reason"]
    assert "--exif (its EXIF date says 1984), or a --model" in scan["reason"]
    assert "decade: l2rclip decades" in result.stderr
    assert "1 picture out of range: a colour photograph" in result.stderr
    assert "3 pictures in" in result.stderr


def test_modern_photographs_are_out_of_range(model: Path) -> None:
    names = ("astronaut.jpg", "coffee-underexposed.jpg", "photographer.jpg", "rocket.jpg")
    rows = decades([PHOTOS / name for name in names], model)
    # The photographer is in black and white, and this model looks at colour alone.
    statuses = ["out_of_range", "out_of_range", "ok", "out_of_range"]
    assert [row.status for row in rows] == statuses


def test_the_embedded_model_refuses_all_modern_photographs_by_colour_or_distance() -> None:
    rows = imgrank.decade(PHOTOS).rows
    assert {row.status for row in rows} == {"out_of_range"}
    assert {row.value for row in rows} == {None}


def test_what_is_far_from_training_is_out_of_range_too(tmp_path: Path, album: Path) -> None:
    ranker = load_ranker(str(rank_checkpoint(tmp_path / "plain")))
    data = (album / "grey.jpg").read_bytes()
    (found,) = ranker.source.compute([ranker.source.prepare(data)])
    here = torch.from_numpy(found["pooled"].astype(np.float32))
    E = len(here)
    tensors = {
        "domain.mean": here / here.norm(),
        "domain.std": torch.ones(E),
        "domain.axes": torch.eye(E)[:1],
        "domain.variances": torch.ones(1),
        "domain.rest": torch.ones(1),
    }
    folder = rank_checkpoint(tmp_path / "near", tensors=tensors, domain={"distance": 0.01})
    rows = {row.path.name: row for row in decades(album, folder)}
    assert rows["grey.jpg"].status == "ok"
    assert rows["cat.jpg"].status == "out_of_range"
    assert rows["cat.jpg"].reason.startswith("unlike the pictures that near was trained on. What")


def test_level_set_and_year_of_a_picture_by_the_ranker(album: Path, model: Path) -> None:
    found = imgrank.decade(album / "grey.jpg", options=imgrank.Options(str(model)))
    (row,) = found.rows
    ranker = load_ranker(str(model))
    data = (album / "grey.jpg").read_bytes()
    (p,) = ranker.distribution(ranker.source.compute([ranker.source.prepare(data)]))
    assert row.levels == tuple(zip(DECADES.names, map(pytest.approx, p), strict=True))
    assert (row.level, row.probability) == (DECADES.names[p.argmax()], pytest.approx(p.max()))
    assert row.value == pytest.approx(float(p @ np.array(DECADES.values)))
    assert row.low < row.value < row.high
    order = np.argsort(-p)
    size = 1 + int(np.searchsorted(np.cumsum(p[order]), 0.7))  # the mass of the calibration
    assert row.likely == tuple(DECADES.names[k] for k in sorted(order[:size]))
    assert (found.model.levels, found.model.coverage) == (DECADES.names, 0.8)
    assert found.model.unit == "year"


def test_aesthetic_levels(run: Run, album: Path, beauty: Path) -> None:
    result = run("aesthetic", album, "--model", beauty, "--format", "json")
    document = json.loads(result.stdout)
    assert document["model"]["levels"] == list(NAMES)
    assert document["model"]["unit"] == "MOS"
    # Nobody fitted this one; that is said.
    assert document["model"]["coverage"] is None
    assert "nobody has measured" in result.stderr
    assert len(document["images"]) == 3
    for row in document["images"]:
        assert row["status"] == "ok"
        assert row["level"] in NAMES
        assert sum(row["levels"].values()) == pytest.approx(1, abs=1e-5)
        expected = np.dot(list(row["levels"].values()), LEVELS.values)
        assert row["estimate"] == pytest.approx(expected, rel=1e-4)


# ---- dates ---------------------------------------------------------------------------------------


def test_exif_is_taken_where_there_is_one(run: Run, album: Path, model: Path) -> None:
    rows = listed(run("decade", album, "--model", model, "--exif"))
    scan = rows["scan.jpg"]
    assert (scan["status"], scan["source"]) == ("ok", "exif")
    assert (scan["estimate"], scan["level"], scan["probability"]) == ("1984", "1980s", "")
    assert rows["cat.jpg"]["status"] == "out_of_range"
    assert rows["grey.jpg"]["source"] == "model"
    assert list(rows) == ["cat.jpg", "grey.jpg", "scan.jpg"]


def test_the_date_of_a_scan_is_not_the_date_of_the_photograph(tmp_path: Path, model: Path) -> None:
    grey = Image.open(PHOTOS / "cat.jpg").convert("L")
    dated(grey, tmp_path / "digitized.jpg", digitized="2009:01:02 03:04:05")
    dated(grey, tmp_path / "impossible.jpg", original="1984:13:40 12:00:00")
    assert {row.source for row in decades(tmp_path, model, exif=True)} == {"model"}


def test_dated_pictures_need_no_model(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dated(Image.new("RGB", (8, 8)), tmp_path / "a.jpg", original="1999:12:31 23:59:59")
    monkeypatch.setattr("imgrank.rankers.source.BackboneSource.prepare", None)
    found = imgrank.decade(tmp_path / "a.jpg", exif=True, options=imgrank.Options(str(model)))
    assert [(row.value, row.level) for row in found.rows] == [(1999, "1990s")]
    assert (found.computed, found.known) == (1, 0)


# ---- formats, store ------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["table", "tsv", "csv", "json", "jsonl", "paths"])
def test_every_format(run: Run, album: Path, model: Path, format_: str) -> None:
    result = run("decade", album, "--model", model, "--format", format_, "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    if format_ == "paths":
        assert lines == [str(album / "grey.jpg")]
    elif format_ == "json":
        statuses = [row["status"] for row in json.loads(result.stdout)["images"]]
        assert statuses == ["out_of_range", "ok", "out_of_range"]
    elif format_ == "jsonl":
        assert [json.loads(line)["model"]["name"] for line in lines] == ["decades"] * 3
    else:
        assert len(lines) == 4


def test_paths_from_a_list_to_a_file(run: Run, album: Path, model: Path, tmp_path: Path) -> None:
    names = b"\0".join(os.fsencode(album / name) for name in ("grey.jpg", "none.jpg"))
    out = tmp_path / "rows.json"
    given = ("--model", model, "-0", "--format", "json", "--output", out)
    result = run("decade", "-", *given, stdin=names)
    assert (result.exit_code, result.stdout) == (0, "")
    document = json.loads(out.read_text())
    assert [Path(row["path"]).name for row in document["images"]] == ["grey.jpg"]
    assert [Path(skip["path"]).name for skip in document["skipped"]] == ["none.jpg"]
    again = run("decade", album, "--model", model, "--output", out)
    assert again.exit_code == 2
    assert "overwrites nothing" in again.stderr


@pytest.mark.parametrize("budget", ["2GB", "0"])  # of large features, of which it needs none
def test_a_second_run_opens_no_file(
    run: Run, album: Path, model: Path, monkeypatch: pytest.MonkeyPatch, budget: str
) -> None:
    monkeypatch.setenv("IMGRANK_FEATURE_BUDGET", budget)
    first = run("decade", album, "--model", model)
    assert "(3 computed, 0 known)" in first.stderr
    monkeypatch.setattr(pipeline, "read_file", None)
    second = run("decade", album, "--model", model)
    assert second.stdout == first.stdout
    assert "(0 computed, 3 known)" in second.stderr


KNOWN = """
import sys
from imgrank import Options, decade
rows = decade(sys.argv[1], exif=True, options=Options(sys.argv[2])).rows
print([row.status for row in rows], [m for m in ("torch", "open_clip", "PIL") if m in sys.modules])
"""


def test_known_pictures_import_no_torch(album: Path, model: Path, home: Path) -> None:
    decades(album, model, exif=True)
    out = subprocess.run(
        [sys.executable, "-c", KNOWN, str(album), str(model)],
        capture_output=True,
        text=True,
        env={**os.environ, "IMGRANK_HOME": str(home)},
    )
    assert out.stdout.strip() == "['out_of_range', 'ok', 'ok'] []", out.stderr


def test_a_store_that_cannot_be_written_is_no_obstacle(
    run: Run, album: Path, model: Path, home: Path
) -> None:
    home.write_text("a file where the store should be")
    rows = listed(run("decade", album, "--model", model))
    assert [row["status"] for row in rows.values()] == ["out_of_range", "ok", "out_of_range"]


# ---- what goes wrong -----------------------------------------------------------------------------


def test_unreadable_files_are_skips(run: Run, album: Path, model: Path) -> None:
    (album / "text.jpg").write_text("no picture")
    result = run("decade", album, "--model", model, "--exif", "--strict")
    assert result.exit_code == 1
    assert f"skipped {album / 'text.jpg'}" in result.stderr
    assert len(result.stdout.splitlines()) == 4
    with pytest.raises(NothingReadable, match="not one picture"):
        decades(album / "text.jpg", model)
    with pytest.raises(UsageError):
        decades(album / "absent.jpg", model)


@pytest.mark.parametrize(
    ("command", "name"), [("decade", "tiny-quality"), ("aesthetic", "tiny"), ("decade", None)]
)
def test_a_model_without_such_levels_is_refused(
    run: Run, album: Path, beauty: Path, command: str, name: str | None
) -> None:
    result = run(command, album, "--model", name or beauty)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "gives no probabilities of" in result.stderr


def test_help_says_what_the_decades_are_of(run: Run) -> None:
    text = " ".join(run("decade", "--help").stdout.split())
    assert "monochrome photographs of one city" in text
    assert "the day it was scanned" in text
    assert "unacceptable, flawed, ordinary" in " ".join(run("aesthetic", "--help").stdout.split())
