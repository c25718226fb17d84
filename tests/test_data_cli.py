"""`imgrank data`: the list, one set in full, and whether a folder is complete."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import Run, command_line
from PIL import Image

from imgrank.data.catalogue import CATALOGUE, RETRIEVAL, about
from imgrank.data.check import check, unreadable_pictures
from imgrank.images.reading import Unreadable

EVERY = [*CATALOGUE, *RETRIEVAL]
TABLE = (
    "filepath,category,count\nimages/1.jpg,cat,2\nimages/1.jpg,wine glass,1\nimages/2.jpg,cat,3\n"
    "images/3.jpg,skis,12\n"
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch, "data")


@pytest.fixture
def coco(home: Path) -> Path:
    """A part of COCO in the data folder."""
    folder = home / "data" / "coco"
    (folder / "images").mkdir(parents=True)
    for n in (1, 2, 3):
        Image.new("RGB", (8, 6), (80 * n, 0, 0)).save(folder / "images" / f"{n}.jpg")
    (folder / "labels.csv").write_text(TABLE)
    return folder


# ---- list ----------------------------------------------------------------------------------------


def test_list_in_a_pipe_is_a_table_of_all_sets(run: Run, coco: Path) -> None:
    result = run("list")
    assert (result.exit_code, result.stderr) == (0, "")
    head, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert head[:6] == ["name", "what", "queries", "source", "licence", "layout"]
    assert head[6:] == ["split", "folder", "here"]
    by_name = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert list(by_name) == EVERY
    row = by_name["coco"]
    assert row["source"].startswith("cocodataset.org")
    assert "CC BY 4.0" in row["licence"]
    assert "train2017/*.jpg (118,287); val2017/*.jpg (5,000)" in row["layout"]
    assert (row["folder"], row["here"]) == (str(coco), "yes")
    assert by_name["clevr"]["here"] == "no"
    assert by_name["coco-distorted"]["here"] == "yes"
    assert by_name["distortions"]["here"] == "no"


def test_list_as_json(run: Run, coco: Path) -> None:
    rows = json.loads(run("list", "--format", "json").stdout)
    assert [row["name"] for row in rows] == EVERY
    by_name = {row["name"]: row for row in rows}
    assert by_name["coco"]["layout"][0] == "annotations/instances_train2017.json"
    assert by_name["coco"]["here"] is True
    assert by_name["hci"]["folds"] == 10
    assert by_name["distortions"]["made_of"] == ["oasis", "flickr8k"]


def test_list_as_text_tells_everything_of_every_set(run: Run) -> None:
    blocks = run("list", "-f", "text").stdout.strip().split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == EVERY
    for block in blocks:
        heads = [line[2:11].strip() for line in block.split("\n")[1:]]
        assert [head for head in heads if head] == [
            "what",
            "queries",
            "source",
            "licence",
            "layout",
            "split",
        ]


def test_no_address_is_broken(run: Run) -> None:
    words = run("list", "-f", "text").stdout.split()
    for name in EVERY:
        assert set(about(name).source.split()) <= set(words)


def test_one_set_in_full(run: Run, coco: Path) -> None:
    result = run("list", "coco")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "coco"
    assert f"  folder   {coco}" in lines
    assert "  layout   annotations/instances_train2017.json" in lines
    assert "           annotations/instances_val2017.json" in lines
    assert "  next     imgrank data check coco" in lines
    assert "           imgrank train adapter --data coco --name coco --out runs/coco" in lines
    assert "           imgrank eval --data coco --model runs/coco/coco" in lines
    assert any(line.startswith("  note     A crowd region") for line in lines)
    # a folder is kept whole, to be copied
    assert max(len(line) for line in lines if not line.startswith("  folder")) <= 100


def test_one_set_that_is_not_here_and_one_for_measuring_only(run: Run, home: Path) -> None:
    assert f"  folder   {home}/data/clevr (not there)" in run("list", "clevr").stdout
    assert "train adapter" not in run("list", "coco-distorted").stdout
    told = json.loads(run("list", "agiqa3k-views", "--format", "json").stdout)
    assert not any("eval" in command for command in told["commands"])


def test_an_unknown_name_is_a_usage_error(run: Run) -> None:
    for command in (("list", "imagenet"), ("check", "imagenet")):
        result = run(*command)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert "there is no data set imagenet; there are koniq" in result.stderr


# ---- check ---------------------------------------------------------------------------------------


def test_a_part_of_a_published_set_is_told_as_one(run: Run, coco: Path) -> None:
    result = run("check", "coco")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == (
        "coco: incomplete against the 123287 published pictures; usable as a part"
    )
    found = json.loads(run("check", "coco", "-f", "json").stdout)
    assert (found["complete"], found["usable"]) == (False, True)
    (coco / "images" / "2.jpg").unlink()
    assert run("check", "coco").stdout.splitlines()[0] == "coco: incomplete"


def test_a_complete_set(run: Run, coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgrank.data.coco.PUBLISHED", 3)
    result = run("check", "coco")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:2] == ["coco: complete", f"folder: {coco}"]
    assert lines[2].startswith("pictures: 3 (")
    assert lines[3:] == [
        "query       labelled  lowest  highest  values  unit",
        "cat                3       0        3       3",
        "skis               3       0       12       2",
        "wine glass         3       0        1       2",
    ]


def test_a_complete_set_as_json(run: Run, coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgrank.data.coco.PUBLISHED", 3)
    found = json.loads(run("check", "coco", "--root", str(coco), "--format", "json").stdout)
    assert found["complete"] is True
    assert (found["problem"], found["unreadable"]) == ("", [])
    assert sum(found["pictures"].values()) == 3
    assert found["queries"][2] == {
        "key": "wine glass",
        "task": "count",
        "prompt": "sort images by the number of wine glasses.",
        "unit": "",
        "labelled": 3,
        "lowest": 0.0,
        "highest": 1.0,
        "values": 2,
        "classes": [],
    }


def test_missing_pictures_are_named_and_the_rest_is_counted(run: Run, coco: Path) -> None:
    (coco / "images" / "2.jpg").unlink()
    result = run("check", "coco")
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        "coco: incomplete",
        "coco: 1 of 3 pictures are missing:",
        f"  {coco}/images/2.jpg",
    ]
    assert any(line.startswith("pictures: 2 (") for line in lines)
    assert lines[-3].split() == ["cat", "2", "0", "2", "2"]
    assert "coco: 1 of 3 pictures are missing and left out" in result.stderr
    assert run("check", "coco", "--quiet").stderr == ""


def test_what_the_reader_reports_is_told_once(coco: Path) -> None:
    (coco / "annotations").mkdir()
    picture = {"id": 1, "file_name": "1.jpg"}
    whole = {
        "images": [picture, {"id": 2, "file_name": "gone.jpg"}],
        "categories": [{"id": 17, "name": "cat"}],
        "annotations": [{"image_id": 1, "category_id": 17, "iscrowd": 1}],
    }
    (coco / "images").rename(coco / "val2017")
    (coco / "annotations" / "instances_val2017.json").write_text(json.dumps(whole))
    whole |= {"images": [picture]}
    (coco / "annotations" / "instances_train2017.json").write_text(json.dumps(whole))
    (coco / "train2017").symlink_to(coco / "val2017")
    found = check("coco", coco)
    assert found.problem.startswith("coco: 1 of 3 pictures are missing")
    assert found.notes == (
        "coco: regions marked as crowds, each counted as one object: 2",
        "coco: 1 of 3 pictures are missing and left out",
    )


def test_an_absent_set_says_where_to_get_it(run: Run, home: Path) -> None:
    result = run("check", "clevr")
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[:2] == ["clevr: incomplete", f"clevr: there is no folder {home}/data/clevr."]
    assert "  from: cs.stanford.edu/people/jcjohns/clevr (main dataset)" in lines
    assert "    scenes/CLEVR_train_scenes.json" in lines
    found = json.loads(run("check", "clevr", "-f", "json").stdout)
    assert (found["complete"], found["queries"]) == (False, [])
    assert found["pictures"] == {"train": 0, "validation": 0, "test": 0}


def test_a_wrong_folder(run: Run, coco: Path) -> None:
    (coco / "labels.csv").write_text("filepath,category,count\nimages/1.jpg,cat,many\n")
    result = run("check", "coco")
    assert result.exit_code == 3
    assert "labels.csv, row 2: no count: 'many'" in result.stdout


def test_every_picture_is_decoded_when_asked(run: Run, coco: Path) -> None:
    good = (coco / "images" / "1.jpg").read_bytes()
    (coco / "images" / "2.jpg").write_bytes(good[: len(good) // 2])
    (coco / "images" / "3.jpg").write_bytes(b"")
    assert run("check", "coco").exit_code == 0  # they are there; no more was asked
    result = run("check", "coco", "--pictures", "--threads", "2")
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[0] == "coco: incomplete"
    assert lines[1].startswith(f"unreadable: {coco}/images/2.jpg: ")
    assert lines[2].startswith(f"unreadable: {coco}/images/3.jpg: ")
    found = json.loads(run("check", "coco", "--pictures", "-f", "json").stdout)
    assert [Path(each["path"]).name for each in found["unreadable"]] == ["2.jpg", "3.jpg"]


def test_each_file_of_a_made_set_is_decoded_once(coco: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = check("coco-distorted", coco, pictures=True, progress=lambda *now: seen.append(now))
    assert found.complete
    assert found.data is not None
    assert len(found.data) == 3 * 7
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_drawn_set_needs_no_folder(run: Run) -> None:
    result = run("check", "renders", "--pictures")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "renders: complete"
    assert lines[1].startswith("pictures: ")
    assert json.loads(run("check", "renders", "-f", "json").stdout)["folder"] is None
    assert "  folder" not in run("list", "renders").stdout


def test_folds(run: Run, coco: Path) -> None:
    result = run("check", "coco", "--fold", "0")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "coco has one split and no folds; --fold 0 is not one of them." in result.stderr
    assert "hci has folds 0 to 9; --fold 10" in run("check", "hci", "--fold", "10").stderr


def test_a_name_that_would_drive_the_terminal(run: Run, coco: Path) -> None:
    (coco / "labels.csv").write_text("filepath,category,count\nimages/\x07.jpg,cat,1\n")
    result = run("check", "coco")
    assert result.exit_code == 3
    assert ".jpg" in result.stdout
    assert "\x07" not in result.stdout


def test_the_first_interrupt_stops_the_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [Path(f"{n}.jpg") for n in range(100)]
    seen: list[int] = []
    read: list[Path] = []

    def slow(path: Path) -> bytes:
        read.append(path)
        time.sleep(0.02)
        raise Unreadable("as if")

    monkeypatch.setattr("imgrank.data.check.read_file", slow)

    def progress(done: int, total: int) -> None:
        seen.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unreadable_pictures(paths, 1, progress)
    assert seen == [1, 2, 3]
    assert len(read) < 50  # what was queued is not read any more


def test_no_torch_is_loaded(coco: Path) -> None:
    code = (
        "import sys; from imgrank.cli import cli\n"
        "for line in ('list', 'list coco', 'check coco --pictures', 'check renders'):\n"
        "    status = cli.main(['data', *line.split()], standalone_mode=False)\n"
        "    assert not status, line\n"
        "assert not {'torch', 'open_clip', 'timm'} & set(sys.modules)\n"
        "print('no torch')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("no torch\n"), done.stderr
