"""`imgrank data list` and `check` of sets for search: captions, classes, groups of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run, command_line
from PIL import Image

from imgrank.data import catalogue
from imgrank.data.catalogue import RETRIEVAL
from imgrank.errors import UsageError


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch, "data")


@pytest.fixture
def flickr8k(home: Path) -> Path:
    """A part of Flickr8k in the data folder: three pictures, four captions."""
    folder = home / "data" / "flickr8k"
    (folder / "images").mkdir(parents=True)
    for n in (1, 2, 3):
        Image.new("RGB", (8, 6), (80 * n, 0, 0)).save(folder / "images" / f"{n}.jpg")
    rows = ("1.jpg,Red .", "1.jpg,Dark red .", "2.jpg,Red .", "3.jpg,Redder .")
    (folder / "captions.csv").write_text(
        "filepath,caption\n" + "".join(f"images/{row}\n" for row in rows)
    )
    return folder


# ---- list ----------------------------------------------------------------------------------------


def test_what_to_type_next_for_a_set_with_captions(run: Run, flickr8k: Path) -> None:
    told = json.loads(run("list", "flickr8k", "-f", "json").stdout)
    assert (told["folder"], told["here"]) == (str(flickr8k), True)
    assert told["commands"] == [
        "imgrank data check flickr8k",
        "imgrank data preferences --pool flickr8k --out flickr8k.jsonl",
        "imgrank train retrieval --preferences flickr8k.jsonl --captions flickr8k "
        "--out runs/flickr8k",
        "imgrank eval --data flickr8k --model tiny",
    ]
    coco = json.loads(run("list", "coco-captions", "-f", "json").stdout)
    assert coco["commands"][1] == "imgrank data preferences --pool coco --out coco-captions.jsonl"
    assert coco["commands"][3] == "imgrank eval --data coco-captions --model tiny"


def test_a_set_for_measuring_only_is_not_trained_on(run: Run) -> None:
    lines = run("list", "hpir").stdout.splitlines()
    assert "  next     imgrank data check hpir" in lines
    assert "           imgrank eval --data hpir --model tiny" in lines
    assert not any("train" in line for line in lines)


@pytest.mark.parametrize("name", RETRIEVAL)
def test_it_is_no_set_of_values(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{name} has no values that pictures could be ordered by"):
        catalogue.read(name, tmp_path)


# ---- check ---------------------------------------------------------------------------------------


def test_a_part_of_flickr8k(run: Run, flickr8k: Path) -> None:
    done = run("check", "flickr8k")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "flickr8k: incomplete against the 8091 published pictures; usable as a part",
        f"folder: {flickr8k}",
    ]
    assert lines[2].startswith("pictures: 3 (")
    assert lines[3:] == ["captions: 4"]


def test_a_whole_set_as_json(run: Run, flickr8k: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgrank.data.flickr8k.PUBLISHED", 3)
    found = json.loads(run("check", "flickr8k", "-f", "json", "--pictures").stdout)
    assert (found["complete"], found["usable"], found["problem"]) == (True, True, "")
    assert found["counts"] == {"captions": 4}
    assert sum(found["pictures"].values()) == 3
    assert (found["folder"], found["notes"], found["unreadable"]) == (str(flickr8k), [], [])


def test_what_is_wrong_is_said_and_the_rest_counted(run: Run, flickr8k: Path) -> None:
    (flickr8k / "images" / "2.jpg").unlink()
    (flickr8k / "images" / "3.jpg").write_bytes(b"\xff\xd8\xff")
    done = run("check", "flickr8k", "--pictures")
    assert done.exit_code == 3
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "flickr8k: incomplete",
        "flickr8k: 1 of 3 pictures are missing:",
        f"  {flickr8k}/images/2.jpg",
    ]
    assert any(line.startswith(f"unreadable: {flickr8k}/images/3.jpg: ") for line in lines)
    assert any(line.startswith("pictures: 2 (") for line in lines)
    assert lines[-1] == "captions: 3"
    assert done.stderr == "flickr8k: 1 of 3 pictures are missing and left out\n"


@pytest.mark.parametrize("name", [name for name in RETRIEVAL if name != "classes"])
def test_an_absent_set_says_where_to_get_it(name: str, run: Run, tmp_path: Path) -> None:
    done = run("check", name, "--root", tmp_path)
    assert done.exit_code == 3
    assert done.stdout.startswith(f"{name}: incomplete\n")
    known = catalogue.about(name)
    assert f"from: {known.source}" in done.stdout
    assert known.layout.split("\n")[0] in done.stdout
    assert "pictures:" not in done.stdout


def test_classes(run: Run, tmp_path: Path) -> None:
    for n, name in enumerate(("cat", "hot_dog", "hot_dog")):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", (8, 6), (80 * n, 0, 0)).save(tmp_path / name / f"{n}.jpg")
    done = run("check", "classes", "--root", tmp_path, "--pictures")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-2:] == [
        "pictures: 3 (0 train, 0 validation, 3 test)",
        "classes: 2",
    ]


def test_folds(run: Run) -> None:
    done = run("check", "flickr8k", "--fold", "1")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "flickr8k has one split and no folds; --fold 1 is not one of them." in done.stderr
