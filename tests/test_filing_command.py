"""What becomes of the files of the rows shown: copied, linked, moved, renamed, only planned."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
from pathlib import Path

import pytest
from click.testing import Result
from command_line import Run, command_line
from face_pictures import GREEN, RED, PaintedFaces, painted
from PIL import Image
from rank_checkpoints import rank_checkpoint

import imgrank.estimates.age as ages
from imgrank.files import disk
from imgrank.files.journal import operations
from imgrank.files.undoing import take_back
from imgrank.settings import load_settings

BRIGHT = "by brightness"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch)


@pytest.fixture(autouse=True)
def greys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Greys a to d, brighter by name, and e below, the brightest; in `photos` of where we are."""
    folder = tmp_path / "here" / "photos"
    (folder / "below").mkdir(parents=True)
    for i, name in enumerate(["a", "b", "c", "d", "below/e"]):
        Image.new("RGB", (32, 32), (40 * i, 40 * i, 40 * i)).save(folder / f"{name}.png")
    monkeypatch.chdir(folder.parent)
    return folder


def tree(folder: str) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if not p.is_dir())


def rows(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(result.stdout), dialect="excel-tab"))


ALL = ["a.png", "b.png", "below/e.png", "c.png", "d.png"]


def test_the_rows_shown_are_copied_with_their_companions(run: Run, greys: Path) -> None:
    (greys / "d.png.xmp").write_text("d")
    (greys / "c.xmp").write_text("c")
    result = run("sort", "photos", BRIGHT, "--top", "3", "--copy-to", "best")
    assert result.exit_code == 0
    assert tree("best") == ["c.png", "c.xmp", "d.png", "d.png.xmp", "e.png"]
    assert [(row["rank"], row["to"], row["path"]) for row in rows(result)] == [
        ("1", "best/e.png", "photos/below/e.png"),
        ("2", "best/d.png", "photos/d.png"),
        ("3", "best/c.png", "photos/c.png"),
    ]
    said = "copied 3 pictures (2 companions) to best; `imgrank undo` takes it back"
    assert said in result.stderr.splitlines()
    assert tree("photos") == sorted([*ALL, "c.xmp", "d.png.xmp"])


def test_paths_are_the_new_places(run: Run) -> None:
    given = (
        "sort",
        "photos",
        BRIGHT,
        "--min",
        "25",
        "--move-to",
        "best",
        "--format",
        "paths",
        "-0",
    )
    result = run(*given)
    assert result.stdout == "best/e.png\0best/d.png\0best/c.png\0"
    assert tree("photos") == ["a.png", "b.png"]


def test_json_has_the_new_place_before_the_path(run: Run) -> None:
    result = run("sort", "photos", BRIGHT, "--link-to", "best", "--hard", "--format", "json")
    image = json.loads(result.stdout)["images"][0]
    assert list(image)[-2:] == ["to", "path"]
    assert image["to"] == "best/e.png"
    assert Path("best/e.png").samefile("photos/below/e.png")
    assert not Path("best/e.png").is_symlink()


@pytest.mark.parametrize("format_", ["table", "tsv", "csv", "jsonl"])
def test_every_format_has_the_new_place_before_the_path(run: Run, format_: str) -> None:
    result = run("sort", "photos", BRIGHT, "--top", "1", "--copy-to", "best", "-f", format_)
    last = result.stdout.splitlines()[-1]
    assert last.index("best/e.png") < last.index("photos/below/e.png")
    if format_ == "jsonl":
        assert json.loads(last)["to"] == "best/e.png"
    else:
        head = re.split(r"\s+|,", result.stdout.splitlines()[0])
        assert head[-2:] == ["to", "path"]


def test_links_lead_to_the_pictures(run: Run) -> None:
    run("sort", "photos", BRIGHT, "--top", "1", "--link-to", "best", "--rename")
    assert Path("best/001__e.png").resolve() == Path("photos/below/e.png").resolve()


def test_renamed_in_place_twice(run: Run) -> None:
    assert run("sort", "photos", BRIGHT, "--rename", "-f", "paths").stdout.splitlines() == [
        "photos/below/001__e.png",
        *(f"photos/{name}.png" for name in ("002__d", "003__c", "004__b", "005__a")),
    ]
    again = run("sort", "photos", BRIGHT, "--rename")
    assert "nothing to do: 5 pictures had the right name already" in again.stderr
    assert rows(again)[0]["to"] == "photos/below/001__e.png"
    run("sort", "photos", BRIGHT, "--rename", "--reverse")
    assert tree("photos") == [
        "001__a.png", "002__b.png", "003__c.png", "004__d.png", "below/005__e.png"
    ]  # fmt: skip


def test_per_folder_keeps_folders_and_ranks_in_each(run: Run) -> None:
    run("sort", "photos", BRIGHT, "--per-folder", "--top", "1", "--copy-to", "best", "--rename")
    assert tree("best") == ["001__d.png", "below/001__e.png"]


def test_quantiles(run: Run) -> None:
    run("sort", "photos", BRIGHT, "--copy-to", "best", "--into-groups", "quantiles:2")
    assert tree("best") == [
        "1-of-2/d.png", "1-of-2/e.png", "2-of-2/a.png", "2-of-2/b.png", "2-of-2/c.png"
    ]  # fmt: skip


def test_a_target_inside_is_left_out_of_the_order_and_said(run: Run) -> None:
    for _ in range(2):
        result = run("sort", "photos", BRIGHT, "--top", "2", "--copy-to", "photos/best")
        assert [row["path"] for row in rows(result)] == ["photos/below/e.png", "photos/d.png"]
    assert "photos/best is left out of the order" in result.stderr
    assert "nothing to do: 2 pictures were there already" in result.stderr
    assert tree("photos/best") == ["d.png", "e.png"]


@pytest.mark.parametrize("target", ["photos", ".", "photos/below/.."])
def test_a_target_that_is_named_or_above_is_sorted(run: Run, target: str) -> None:
    result = run("sort", "photos", BRIGHT, "--move-to", target)
    assert len(rows(result)) == 5
    assert "left out" not in result.stderr
    expected = ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert tree(target) == expected


# ---- only planned --------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing_and_prints_the_plan(run: Run, greys: Path) -> None:
    (greys / "d.png.xmp").write_text("d")
    given = ("sort", "photos", BRIGHT, "--top", "2", "--move-to", "best", "--dry-run")
    result = run(*given)
    assert result.exit_code == 0
    assert [tuple(row.values()) for row in rows(result)] == [
        ("move", "photos/below/e.png", "best/e.png", ""),
        ("move", "photos/d.png", "best/d.png", ""),
        ("move", "photos/d.png.xmp", "best/d.png.xmp", "companion"),
    ]
    assert "would have moved 2 pictures (1 companion) to best; nothing was changed" in result.stderr
    assert not Path("best").exists()
    assert operations(load_settings().operations_dir) == []
    paths = run(*given, "-f", "paths").stdout.splitlines()
    assert paths == ["best/e.png", "best/d.png", "best/d.png.xmp"]


# ---- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--copy-to", "x", "--move-to", "y"], "--copy-to and --move-to do not go together"),
        (["--copy-to", "x", "--hard"], "--hard is for --link-to"),
        (["--dry-run"], "--dry-run needs something to try"),
        (["--into-groups", "quantiles"], "--into-groups needs --copy-to"),
        (["--rename", "--into-groups", "quantiles"], "--into-groups needs --copy-to"),
        (["--copy-to", "x", "--into-groups", "size"], "none of decades, age-groups"),
        (["--copy-to", "x", "--into-groups", "decades"], "needs a score in 'year'"),
        (["--copy-to", "photos/a.png"], "is a file"),
        (["--move-to", ""], "no folder is named"),
        (["--copy-to", "new", "--into-groups", "levels"], "imgrank aesthetic PATH"),
    ],
)
def test_what_does_not_go_together(run: Run, given: list[str], said: str) -> None:
    result = run("sort", "photos", BRIGHT, *given)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert tree(".") == [f"photos/{name}" for name in ALL]


def test_a_picture_that_cannot_be_filed_is_said_and_the_others_go_on(run: Run, greys: Path) -> None:
    long = "x" * 251 + ".png"
    (greys / "a.png").rename(greys / long)
    result = run("sort", "photos", BRIGHT, "--copy-to", "best", "--rename", "-q")
    assert result.exit_code == 1
    assert result.stderr == (f"photos/{long} stays: its name would have 260 bytes, 255 at most\n")
    assert len(tree("best")) == 4
    assert [row["to"] for row in rows(result)][-2:] == ["best/004__b.png", ""]
    paths = run("sort", "photos", BRIGHT, "--copy-to", "best", "--rename", "-f", "paths")
    assert len(paths.stdout.splitlines()) == 4


def test_a_file_that_fails_has_no_new_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = disk.copy

    def copy(source: Path, target: Path, *rest: object) -> None:
        if source.name == "d.png":
            raise PermissionError(13, "Permission denied", str(source))
        real(source, target, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(disk, "copy", copy)
    result = run("sort", "photos", BRIGHT, "--copy-to", "best")
    assert result.exit_code == 1
    assert [row["to"] for row in rows(result)][:3] == ["best/e.png", "", "best/c.png"]
    assert "not copied: photos/d.png: " in result.stderr
    assert "copied 4 pictures to best; `imgrank undo` takes it back" in result.stderr


def test_a_full_disk_stops_and_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = disk.move

    def move(source: Path, target: Path, *rest: object) -> None:
        if source.name == "c.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(disk, "move", move)
    result = run("sort", "photos", BRIGHT, "--move-to", "best")
    assert result.exit_code == 1
    assert [row["to"] for row in rows(result)] == ["best/e.png", "best/d.png", "", "", ""]
    assert "moved 2 pictures to best, of 5 files in all" in result.stderr
    assert "--finish` goes on" in result.stderr


def test_an_interrupt_keeps_what_was_done(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = disk.copy

    def copy(source: Path, target: Path, *rest: object) -> None:
        if source.name == "c.png":
            raise KeyboardInterrupt
        real(source, target, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(disk, "copy", copy)
    result = run("sort", "photos", BRIGHT, "--copy-to", "best", "-f", "paths")
    assert result.exit_code == 130
    assert result.stdout.splitlines() == ["best/e.png", "best/d.png"]
    assert "copied 2 pictures to best, of 5 files in all" in result.stderr
    assert tree("best") == ["d.png", "e.png"]


def test_what_was_done_can_be_taken_back(run: Run) -> None:
    run("sort", "photos", BRIGHT, "--move-to", "best/of all", "--rename")
    assert tree("photos") == []
    (operation,) = operations(load_settings().operations_dir)
    assert take_back(operation).refused == []
    assert tree(".") == [f"photos/{name}" for name in ALL]


# ---- the other commands --------------------------------------------------------------------------


def test_age_groups_by_the_largest_face(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ages, "detector", lambda models: PaintedFaces())
    album = Path("album")
    painted(album / "a.png", {})
    painted(album / "b.png", {GREEN: (10, 20, 30, 30), RED: (100, 40, 80, 80)})
    model = str(rank_checkpoint(tmp_path / "ages", "age"))
    result = run("age", "album", "--model", model, "--move-to", "to", "--into-groups")
    found = rows(result)
    assert [(row["face"], row["path"]) for row in found] == [
        ("", "album/a.png"),
        ("1", "album/b.png"),
        ("2", "album/b.png"),
    ]
    place = f"to/{found[1]['level']}/b.png"
    assert [row["to"] for row in found] == ["", place, place]
    assert "1 picture without an estimate stays where it is" in result.stderr
    assert "moved 1 picture to to" in result.stderr
    assert tree("album") == ["a.png"]


@pytest.mark.parametrize("command", ["decade", "aesthetic"])
def test_levels(run: Run, tmp_path: Path, command: str) -> None:
    task = {"decade": "decade", "aesthetic": "aesthetics"}[command]
    model = str(rank_checkpoint(tmp_path / "levels", task))
    given = (command, "photos", "--model", model, "--copy-to", "to", "--into-groups")
    result = run(*given)
    assert result.exit_code == 0
    assert [row["to"] for row in rows(result)] == [
        f"to/{row['level']}/{Path(row['path']).name}" for row in rows(result)
    ]
    assert len(tree("to")) == 5
    images = json.loads(run(*given, "-f", "json").stdout)["images"]
    assert [image["to"] for image in images] == [row["to"] for row in rows(result)]
    planned = run(*given, "--dry-run", "-f", "jsonl").stdout.splitlines()
    assert {json.loads(line)["note"] for line in planned} == {"there already"}


def test_nothing_shown_is_nothing_to_do_and_said(run: Run) -> None:
    result = run("sort", "photos", BRIGHT, "--min", "1000000", "--copy-to", "best")
    assert (result.exit_code, rows(result)) == (0, [])
    assert "nothing to do: no pictures are shown, so none were copied\n" in result.stderr
    assert not Path("best").exists()
