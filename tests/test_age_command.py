"""`imgrank age` as a user meets it: painted faces, ages by an untrained model."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from command_line import Run, command_line
from face_pictures import BLUE, GREEN, RED, PaintedFaces, painted
from rank_checkpoints import AGES, rank_checkpoint

import imgrank
import imgrank.estimates.age as ages
import imgrank.images.faces as faces
import imgrank.pipeline as pipeline
from imgrank.cli.age import age as command
from imgrank.errors import CheckpointError, MissingExtra, UsageError
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.load import load_ranker
from imgrank.results.estimate import Estimate

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rank_checkpoint(tmp_path_factory.mktemp("models") / "ages", "age")


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> PaintedFaces:
    found = PaintedFaces()
    monkeypatch.setattr(ages, "detector", lambda models: found)
    return found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch, "age")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """a: nobody. b: a green face and a larger red one. c: a crop. d: a face that is unsure."""
    folder = tmp_path / "album"
    painted(folder / "a.png", {})
    painted(folder / "b.png", {GREEN: (10, 20, 30, 30), RED: (100, 40, 80, 80)})
    painted(folder / "c.png", {RED: (2, 2, 88, 84)}, (100, 96))
    painted(folder / "d.png", {BLUE: (40, 40, 50, 50)})
    return folder


def listed(result: Result) -> list[tuple[str, str, str]]:
    rows = csv.DictReader(io.StringIO(result.stdout), delimiter="\t")
    return [(Path(row["path"]).name, row["status"], row["face"]) for row in rows]


# ---- rows ----------------------------------------------------------------------------------------


def test_one_row_a_face_and_one_for_a_picture_without(run: Run, album: Path, model: Path) -> None:
    result = run(album, "--model", model)
    assert result.exit_code == 0, result.stderr
    assert listed(result) == [
        ("a.png", "no_face", ""),
        ("b.png", "ok", "1"),
        ("b.png", "ok", "2"),
        ("c.png", "ok", "1"),
        ("d.png", "no_face", ""),
    ]
    assert "age: l2rclip ages" in result.stderr
    assert "3 faces; 2 pictures without a face" in result.stderr
    assert "4 pictures in" in result.stderr
    assert "skipped" not in result.stderr


def test_the_largest_face_alone_and_unsure_faces_too(run: Run, album: Path, model: Path) -> None:
    given = ("--model", model, "--faces", "largest", "--min-confidence", "0.2")
    result = run(album, *given)
    assert listed(result) == [
        ("a.png", "no_face", ""),
        ("b.png", "ok", "1"),
        ("c.png", "ok", "1"),
        ("d.png", "ok", "1"),
    ]
    found = imgrank.age(album / "b.png", faces="largest", options=imgrank.Options(str(model)))
    assert found.rows[0].box.x == 100
    # Of the faces that are sure enough, not the largest of all.
    path = painted(album / "e.png", {BLUE: (0, 0, 120, 120), RED: (200, 10, 50, 50)})
    found = imgrank.age(path, faces="largest", options=imgrank.Options(str(model)))
    assert found.rows[0].box.x == 200


def test_json_for_scripts(run: Run, album: Path, model: Path) -> None:
    document = json.loads(run(album, "--model", model, "--format", "json").stdout)
    revision = json.loads((model / "config.json").read_text())["weights"]["sha256"][:12]
    described = document["model"]
    assert (described["name"], described["revision"]) == ("ages", revision)
    assert (described["task"], described["unit"]) == ("age", "years")
    nobody, red, green, cropped, _ = document["images"]
    assert (nobody["status"], nobody["face"], nobody["box"]) == ("no_face", None, None)
    assert (nobody["estimate"], nobody["interval"]) == (None, None)
    assert nobody["reason"] == "no face was found"
    assert (red["status"], red["face"], green["face"]) == ("ok", 1, 2)
    assert red["box"] == {
        "x": 100, "y": 40, "width": 80, "height": 80, "confidence": 0.9, "cropped": False
    }  # fmt: skip
    assert cropped["box"]["cropped"]
    assert [cropped["box"][key] for key in ("x", "y", "width", "height")] == [0, 0, 100, 96]
    for row in (red, green, cropped):
        assert row["interval"][0] <= row["estimate"] <= row["interval"][1]
        assert 0 < row["probability"] <= 1
    assert document["skipped"] == []


def test_age_interval_and_group_of_a_crop_by_hand(album: Path, model: Path) -> None:
    """The row of a crop is what the ranker says of the whole picture."""
    options = imgrank.Options(str(model))
    (row,) = imgrank.age(album / "c.png", options=options).rows
    ranker = load_ranker(str(model))
    features = ranker.source.compute([ranker.source.prepare((album / "c.png").read_bytes())])
    (p,) = ranker.distribution(features)
    assert row.value == pytest.approx(float(p @ np.array(AGES.values)))
    (((scored,),),) = [imgrank.score(album / "c.png", "by age", options=options).scores]
    assert scored == pytest.approx((row.value, row.low, row.high), abs=1e-9)
    # Ranks 0, 10, ... cover -5..5, 5..15, ...; the group 20-29 is 19.5..29.5, 40-49 39.5..49.5.
    group = int(row.level.split("-")[0])
    assert group - 0.5 <= row.value < group + 9.5
    rank = group // 10
    assert row.probability == pytest.approx(0.55 * p[rank] + 0.45 * p[rank + 1])


@pytest.mark.parametrize(
    ("rank", "value", "group"), [(0, 0, "0-9"), (4, 40, "40-49"), (9, 90, "80+")]
)
def test_groups_reach_from_zero_to_the_end(
    tmp_path: Path, album: Path, model: Path, rank: int, value: float, group: str
) -> None:
    """A model that puts the picture wholly into one rank, whose part of the scale is 10 wide."""
    ranker = load_ranker(str(model))
    features = ranker.source.compute([ranker.source.prepare((album / "c.png").read_bytes())])
    ranks = -ranker.embedded(features).repeat(len(AGES), axis=0)
    ranks[rank] *= -1
    sure = rank_checkpoint(tmp_path / "sure", "age", tensors={"ranks": torch.tensor(ranks).float()})
    (row,) = imgrank.age(album / "c.png", options=imgrank.Options(str(sure))).rows
    assert row.value == pytest.approx(value, abs=1e-6)
    assert row.level == group
    # The rank of 40 covers 35 to 45, and the group begins at 39.5; the end groups take all beyond.
    assert row.probability == pytest.approx(0.55 if rank == 4 else 1, abs=1e-6)


@pytest.mark.parametrize("format_", ["table", "tsv", "csv", "json", "jsonl", "paths"])
def test_every_format(run: Run, album: Path, model: Path, format_: str) -> None:
    result = run(album, "--model", model, "--format", format_, "--quiet")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    if format_ == "paths":
        assert lines == [str(album / "b.png"), str(album / "c.png")]
    elif format_ == "jsonl":
        assert [json.loads(line)["face"] for line in lines] == [None, 1, 2, 1, None]
    elif format_ in ("tsv", "csv", "table"):
        assert len(lines) == 6
    else:
        assert len(json.loads(result.stdout)["images"]) == 5
    assert result.stderr == ""


def test_rows_are_by_path_then_by_face(run: Run, album: Path, model: Path) -> None:
    assert run(album / "b.png", "--model", model).exit_code == 0  # known now: it comes first
    names = [name for name, *_ in listed(run(album, "--model", model))]
    assert names == ["a.png", "b.png", "b.png", "c.png", "d.png"]


def test_the_command_and_the_function_count_the_same_faces(album: Path, model: Path) -> None:
    default = next(p for p in command.params if p.name == "min_confidence").default
    assert default == ages.MIN_CONFIDENCE
    found = imgrank.age(album, options=imgrank.Options(str(model)))
    assert [row.status for row in found.rows] == ["no_face", "ok", "ok", "ok", "no_face"]


@pytest.mark.parametrize("given", ["nan", "-0.1", "1.1", "inf"])
def test_a_confidence_that_is_none_is_refused(run: Run, album: Path, given: str) -> None:
    with pytest.raises(UsageError, match="does not lie between 0 and 1"):
        imgrank.age(album, min_confidence=float(given))
    result = run(album, "--min-confidence", given)
    assert (result.exit_code, result.stdout) == (2, "")


# ---- the store -----------------------------------------------------------------------------------


def test_a_second_run_opens_no_file_and_looks_for_no_face(
    run: Run, album: Path, model: Path, detector: PaintedFaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(album, "--model", model)
    assert "(4 computed, 0 known)" in first.stderr
    assert detector.calls == 4
    monkeypatch.setattr(pipeline, "read_file", None)
    second = run(album, "--model", model)
    assert second.stdout == first.stdout
    assert "(0 computed, 4 known)" in second.stderr
    assert detector.calls == 4


KNOWN = """
import sys
import imgrank.estimates.age as ages
from imgrank import Options, age
from face_pictures import PaintedFaces
ages.detector = lambda models: PaintedFaces()
rows = age(sys.argv[1], options=Options(sys.argv[2])).rows
print(len(rows), [m for m in ("torch", "open_clip", "cv2", "dlib") if m in sys.modules])
"""


def test_known_faces_import_no_torch(album: Path, model: Path, home: Path) -> None:
    imgrank.age(album, options=imgrank.Options(str(model)))
    place = {"IMGRANK_HOME": str(home), "PYTHONPATH": str(Path(__file__).parent)}
    out = subprocess.run(
        [sys.executable, "-c", KNOWN, str(album), str(model)],
        capture_output=True,
        text=True,
        env={**os.environ, **place},
    )
    assert out.stdout.strip() == "5 []", out.stderr


def test_an_interrupt_keeps_what_was_computed(tmp_path: Path, model: Path) -> None:
    for i in range(12):
        painted(tmp_path / "many" / f"{i:02d}.png", {RED: (i, 40, 50, 50)})

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    options = imgrank.Options(str(model), progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        imgrank.age(tmp_path / "many", options=options)
    found = imgrank.age(tmp_path / "many", options=imgrank.Options(str(model)))
    assert (found.known, found.computed) == (8, 4)


# ---- without the extra, with other models --------------------------------------------------------


def test_without_the_extra_every_picture_is_a_crop_and_that_is_said_once(
    run: Run, album: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(models: Path) -> None:
        raise MissingExtra("finding faces", "faces")

    monkeypatch.setattr(ages, "detector", absent)
    result = run(album, "--model", model, "--format", "json")
    assert result.exit_code == 0
    assert result.stderr.count("pip install 'imgrank[faces]'") == 1
    assert "every picture is taken as the crop of one face" in result.stderr
    rows = json.loads(result.stdout)["images"]
    assert [row["box"]["cropped"] for row in rows] == [True] * 4
    # What was kept then is not taken for what a detector finds.
    monkeypatch.setattr(ages, "detector", lambda models: PaintedFaces())
    assert len(listed(run(album, "--model", model))) == 5


def test_an_adapter_says_the_age_without_an_interval(album: Path) -> None:
    found = imgrank.age(album / "c.png", options=imgrank.Options("tiny-age"))
    (row,) = found.rows
    whole = imgrank.score(album / "c.png", "by age", options=imgrank.Options("tiny-age"))
    assert row.value == pytest.approx(whole.scores[0][0].value, abs=1e-4)
    assert (row.low, row.high, row.probability) == (None, None, None)
    assert row.level
    assert found.model.method == "adapter"


@pytest.mark.parametrize(
    ("name", "message"), [("tiny", "cannot say an age in years"), ("tiny-quality", "not trained")]
)
def test_a_model_that_gives_no_years_is_refused(
    run: Run, album: Path, name: str, message: str
) -> None:
    result = run(album, "--model", name)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_the_geometry_of_a_checkpoint_is_used(tmp_path: Path, album: Path) -> None:
    wide = {"landmarks": [[0.45, 0.45], [0.55, 0.45], [0.5, 0.5], [0.46, 0.55], [0.54, 0.55]]}
    wide["box"] = [0.4, 0.4, 0.2, 0.2]
    folder = rank_checkpoint(tmp_path / "wide", "age", crop=wide)
    # By this checkpoint's crops a face is a fifth of them: what fills a picture is no crop.
    (row,) = imgrank.age(album / "c.png", options=imgrank.Options(str(folder))).rows
    assert not row.box.cropped
    broken = rank_checkpoint(tmp_path / "broken", "age", crop={"size": 0})
    with pytest.raises(CheckpointError, match="no geometry"):
        imgrank.age(album, options=imgrank.Options(str(broken)))
    broken = rank_checkpoint(tmp_path / "text", "age", crop="wide")
    with pytest.raises(CheckpointError, match="crop"):
        imgrank.age(album, options=imgrank.Options(str(broken)))


def test_what_a_checkpoint_notes_is_said(run: Run, album: Path, tmp_path: Path) -> None:
    noted = rank_checkpoint(tmp_path / "noted", "age", note="trained on actors")
    said = run(album / "a.png", "--model", noted).stderr
    assert "age: l2rclip noted\n  trained on actors\n" in said
    assert "nobody has measured how often its intervals hold the truth" in said


def test_a_find_unlike_any_face_has_a_reason_and_no_age(
    run: Run, album: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outside(self: L2RCLIPRanker, features: list[object], chroma: object) -> list[str | None]:
        return ["distance", *[None] * (len(features) - 1)]

    monkeypatch.setattr(L2RCLIPRanker, "outside", outside)
    result = run(album / "b.png", "--model", model, "--format", "json")
    first, second = json.loads(result.stdout)["images"]
    assert (first["status"], first["face"], second["status"]) == ("out_of_range", 1, "ok")
    assert (first["estimate"], first["interval"], first["level"]) == (None, None, None)
    assert first["reason"] == ("unlike the faces that ages was trained on; perhaps it is no face")
    assert first["box"]["x"] == 100
    assert "1 face; 1 place of which perhaps no face" in result.stderr


def test_only_what_was_measured_is_called_a_coverage(tmp_path: Path, album: Path) -> None:
    fitted = {"temperature": 1.0, "tail": 0.05, "level": 0.8, "on": "some faces"}
    folder = rank_checkpoint(tmp_path / "fitted", "age", calibration=fitted)
    said: list[str] = []
    found = imgrank.age(album, options=imgrank.Options(str(folder), notify=said.append))
    assert found.model.coverage == 0.8
    assert not [line for line in said if "nobody" in line]
    plain = rank_checkpoint(tmp_path / "plain", "age")
    found = imgrank.age(album, options=imgrank.Options(str(plain), notify=said.append))
    assert found.model.coverage is None
    assert [line for line in said if "nobody has measured" in line]


def test_crowds_go_through_the_ranker_in_parts(
    album: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = imgrank.Options(str(model))
    whole = imgrank.age(album, options=options).rows
    seen: list[int] = []
    rows_of = ages._rows

    def counted(pictures: list[Any], *given: Any) -> Iterator[Estimate]:
        seen.append(len(pictures))
        return rows_of(pictures, *given)

    monkeypatch.setattr(ages, "_rows", counted)
    monkeypatch.setattr(ages, "AT_ONCE", 2)
    parts = imgrank.age(album, options=options).rows
    assert seen == [2, 2]  # pictures with no face, two faces; one face, one that is unsure
    assert [(row.path, row.face) for row in parts] == [(row.path, row.face) for row in whole]
    assert [row.value for row in parts if row.face] == pytest.approx(
        [row.value for row in whole if row.face]
    )


# ---- the real detector ---------------------------------------------------------------------------


def test_a_real_face(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2", reason="the extra `faces` is not installed")
    monkeypatch.setattr(ages, "detector", faces.detector)
    found = imgrank.age(PHOTOS / "astronaut.jpg", options=imgrank.Options(str(model)))
    (row,) = found.rows
    # Her eyes are at about (204, 108) and (242, 108) of 512 x 512.
    assert row.status == "ok"
    assert not row.box.cropped
    assert row.box.x < 204 < 242 < row.box.x + row.box.width < 320
    assert 40 < row.box.y < 108 < row.box.y + row.box.height < 220
