"""The command line as a user meets it: streams, formats, exit statuses, examples in the help."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import Result
from command_line import Run, command_line
from PIL import Image

from imgrank.cli import cli

REPOSITORY = Path(__file__).parents[1]
PHOTOS = REPOSITORY / "examples" / "photos"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch)


@pytest.fixture
def greys(tmp_path: Path) -> Path:
    """Five grey pictures, brighter by name, one of them in a folder below."""
    folder = tmp_path / "greys"
    (folder / "below").mkdir(parents=True)
    for i, name in enumerate(["a", "b", "c", "d", "below/e"]):
        Image.new("RGB", (32, 32), (40 * i, 40 * i, 40 * i)).save(folder / f"{name}.png")
    return folder


def names(result: Result) -> list[str]:
    return [Path(line).name for line in result.stdout.splitlines()]


# ---- formats and streams -------------------------------------------------------------------------


def test_standard_output_is_data_only(run: Run, greys: Path) -> None:
    result = run("sort", str(greys), "by brightness", "--format", "paths")
    assert result.exit_code == 0
    assert names(result) == ["e.png", "d.png", "c.png", "b.png", "a.png"]
    assert "brightness: measured" in result.stderr
    assert "5 pictures" in result.stderr


def test_quiet_says_nothing(run: Run, greys: Path) -> None:
    assert run("sort", str(greys), "by brightness", "-q").stderr == ""


def test_piped_output_is_tsv_with_a_header(run: Run, greys: Path) -> None:
    lines = run("sort", str(greys), "by brightness").stdout.splitlines()
    header = lines[0].split("\t")
    assert header[0] == "rank"
    assert header[-1] == "path"
    assert [line.split("\t")[0] for line in lines[1:]] == ["1", "2", "3", "4", "5"]


def test_json_holds_the_criterion_and_the_rows(run: Run, greys: Path) -> None:
    (greys / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    found = json.loads(run("sort", str(greys), "by brightness", "--format", "json").stdout)
    assert found["criteria"][0]["task"] == "brightness"
    assert found["criteria"][0]["method"] == "measured"
    assert [row["rank"] for row in found["images"]] == [1, 2, 3, 4, 5]
    assert [Path(s["path"]).name for s in found["skipped"]] == ["broken.jpg"]


def test_output_goes_to_a_new_file_and_never_over_an_old_one(
    run: Run, greys: Path, tmp_path: Path
) -> None:
    target = tmp_path / "order.csv"
    arguments = ("sort", str(greys), "by brightness", "--format", "csv", "-o", str(target))
    assert run(*arguments).exit_code == 0
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    before = target.read_bytes()
    again = run(*arguments)
    assert (again.exit_code, target.read_bytes()) == (2, before)
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_a_failed_run_leaves_no_output_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    target = tmp_path / "order.tsv"
    assert run("sort", str(tmp_path / "empty"), "by brightness", "-o", str(target)).exit_code == 1
    assert not target.exists()


def test_filters(run: Run, greys: Path) -> None:
    sort = ("sort", str(greys), "by brightness", "--format", "paths")
    assert names(run(*sort, "--top", "2")) == ["e.png", "d.png"]
    assert names(run(*sort, "--top", "40%")) == ["e.png", "d.png"]
    assert names(run(*sort, "--reverse", "--top", "1")) == ["a.png"]
    assert names(run(*sort, "--exclude", "below")) == ["d.png", "c.png", "b.png", "a.png"]
    assert names(run(*sort, "--min", "1", "--max", "32")) == ["c.png", "b.png"]
    assert names(run(*sort, "--per-folder")) == ["d.png", "c.png", "b.png", "a.png", "e.png"]


def test_darkest_first_turns_the_order_round(run: Run, greys: Path) -> None:
    result = run("sort", str(greys), "darkest first", "--format", "paths")
    assert names(result) == ["a.png", "b.png", "c.png", "d.png", "e.png"]


def test_several_weighted_criteria_are_combined(run: Run, greys: Path) -> None:
    result = run(
        "sort", str(greys), "--by", "darkest first=50", "--by", "file size", "--format", "json"
    )
    found = json.loads(result.stdout)
    assert [c["weight"] for c in found["criteria"]] == [50, 1]
    assert Path(found["images"][0]["path"]).name == "a.png"


def test_paths_come_from_standard_input(run: Run, greys: Path) -> None:
    listed = b"\0".join(os.fsencode(greys / n) for n in ("a.png", "c.png", "gone.png")) + b"\0"
    result = run("sort", "-", "by brightness", "-0", "--format", "paths", stdin=listed)
    assert result.exit_code == 0
    assert [Path(p).name for p in result.stdout.split("\0")] == ["c.png", "a.png", ""]
    assert "gone.png" in result.stderr


def test_score_has_a_column_an_instruction_in_path_order(run: Run, greys: Path) -> None:
    result = run("score", str(greys), "brightness", "contrast", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(rows[0]) == ["brightness", "contrast", "path"]
    assert [r["path"] for r in rows] == sorted(r["path"] for r in rows)
    assert [Path(r["path"]).name for r in rows][:2] == ["a.png", "b.png"]
    assert [float(r["contrast"]) for r in rows] == [0.0] * 5


def test_compare_prints_the_winner(run: Run, greys: Path) -> None:
    a, d = str(greys / "a.png"), str(greys / "d.png")
    assert run("compare", a, d, "by brightness", "--format", "paths").stdout.strip() == d
    assert run("compare", a, d, "darkest first", "--format", "paths").stdout.strip() == a
    names, values = run("compare", a, d, "brightness").stdout.splitlines()
    row = dict(zip(names.split("\t"), values.split("\t"), strict=True))
    assert (row["winner"], row["probability"], row["first_score"]) == (d, "", "0")
    found = json.loads(run("compare", a, d, "brightness", "--format", "json").stdout)
    assert (found["winner"], found["probability"]) == (d, None)
    assert run("compare", a, a, "brightness", "--format", "paths").stdout == ""
    assert run("compare", a, str(greys / "none.png"), "brightness").exit_code == 2
    assert run("compare", a, str(greys), "brightness").exit_code == 2


def test_direction_is_that_of_the_rows(run: Run, greys: Path) -> None:
    def directions(*options: str) -> set[str]:
        result = run("sort", str(greys), "by brightness", "--format", "json", *options)
        return {row["direction"] for row in json.loads(result.stdout)["images"]}

    assert directions() == {"descending"}
    assert directions("--reverse") == {"ascending"}


def test_a_weight_is_no_part_of_an_instruction(run: Run, greys: Path) -> None:
    result = run("score", str(greys), "--by", "brightness=2", "--format", "csv")
    assert result.stdout.splitlines()[0] == "brightness,path"


def test_pictures_without_the_property_are_skips(run: Run, greys: Path) -> None:
    result = run("sort", str(greys), "oldest first")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "imgrank: no picture has a date; there is nothing to sort.\n" in result.stderr
    assert "could not be read" not in result.stderr
    (greys / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    result = run("sort", str(greys), "oldest first")
    assert [line.split(":")[0] for line in result.stderr.splitlines()[-2:]] == [
        "imgrank",
        f"  {greys / 'broken.jpg'}",
    ]
    assert "could also be about" in result.stderr  # people's age


def test_a_name_cannot_drive_the_terminal(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2Jb.jpg").write_bytes(b"\xff\xd8\xff")
    result = run("sort", str(tmp_path), "brightness")
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr
    assert "\\x1b[2Jb.jpg" in result.stderr


def test_a_file_listed_and_named_comes_once(run: Run, greys: Path) -> None:
    listed = os.fsencode(greys.absolute() / "a.png") + b"\n"
    result = run("sort", "-", str(greys), "brightness", "--format", "paths", stdin=listed)
    assert sorted(names(result)) == ["a.png", "b.png", "c.png", "d.png", "e.png"]


def test_output_without_hard_links(
    run: Run, greys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "order.txt"
    arguments = ("sort", str(greys), "brightness", "--format", "paths", "-o", str(target))
    assert run(*arguments).exit_code == 0
    assert len(target.read_text().splitlines()) == 5
    assert run(*arguments).exit_code == 2


# ---- exit statuses -------------------------------------------------------------------------------


def test_statuses(run: Run, greys: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run("sort", str(empty), "by brightness").exit_code == 1
    assert run("sort", str(tmp_path / "missing"), "by brightness").exit_code == 2
    assert run("sort", str(greys)).exit_code == 2
    assert run("sort", "by brightness").exit_code == 2
    assert run("sort", str(greys), "").exit_code == 2
    assert run("sort", str(greys), "by brightness", "--top", "many").exit_code == 2
    assert run("sort", str(greys), "by brightness", "--model", "nothing").exit_code == 3
    assert run("score", str(greys), str(greys / "gone.jpg"), "brightness").exit_code == 2
    assert run("sort", str(greys), "greys/gone.jpg").exit_code == 2
    assert run("sort", str(greys), "brightness", "--min", "nan").exit_code == 2
    assert run("sort", str(greys), "brightness", "--min", "5", "--max", "1").exit_code == 2
    assert run("cache", "clear", stdin=b"n\n").exit_code == 1
    assert run("nonsense").exit_code == 2
    (greys / "broken.jpg").write_bytes(b"")
    assert run("sort", str(greys), "by brightness").exit_code == 0
    assert run("sort", str(greys), "by brightness", "--strict").exit_code == 1
    (empty / "broken.jpg").write_bytes(b"")
    result = run("sort", str(empty), "by brightness")
    assert (result.exit_code, "broken.jpg" in result.stderr) == (1, True)


def test_errors_are_one_line_without_a_traceback(run: Run, greys: Path) -> None:
    result = run("sort", str(greys), "by brightness", "--model", "nothing")
    assert result.stdout == ""
    assert result.stderr.startswith("imgrank: ")
    assert len(result.stderr.splitlines()) == 1


def test_interrupt_is_130_and_keeps_the_work(
    run: Run, greys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        noise = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).save(greys / f"n{i}.png")

    def interrupt(self: object, done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("imgrank.cli.options.Reporter.progress", interrupt)
        result = run("sort", str(greys), "by brightness")
        assert (result.exit_code, result.stdout) == (130, "")
    assert "(9 computed, 16 known)" in run("sort", str(greys), "by brightness").stderr


def test_a_closed_pipe_is_no_error(greys: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m imgrank sort {shlex.quote(str(greys))} brightness"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} -q | head -c 1"],
        capture_output=True,
        cwd=REPOSITORY,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_behind_standard_output_is_one_line(greys: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "imgrank", "sort", str(greys), "brightness", "-q"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
        )
    assert done.returncode == 1
    assert done.stderr == b"imgrank: cannot write standard output: No space left on device\n"


# ---- without torch -------------------------------------------------------------------------------


def test_known_scores_load_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from imgrank.api import sort; "
        f"sort({str(PHOTOS)!r}, 'by image quality'); "
        "print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    )
    for expected in ("['torch', 'numpy', 'PIL']", "[]"):
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert out.stdout.strip() == expected


# ---- help ----------------------------------------------------------------------------------------


def commands(
    group: click.Group, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield prefix, group
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


ALL = dict(commands(cli))


def examples(command: click.Command) -> list[str]:
    text = (command.epilog or "").partition("Examples:")[2]
    return [line.strip() for line in text.splitlines() if line.strip().startswith("imgrank ")]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_help_ends_with_two_examples(path: tuple[str, ...], run: Run) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    found = examples(ALL[path])
    assert len(found) == 2
    assert result.stdout.rstrip().endswith(found[-1])


EXAMPLES = sorted({example for command in ALL.values() for example in examples(command)})
NEEDS = re.compile(
    r"# needs (the Hub|a (file|folder|model) of yours)$"
)  # such examples are not run


@pytest.mark.parametrize("line", [line for line in EXAMPLES if not NEEDS.search(line)])
def test_every_example_runs_as_it_stands(
    line: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)  # where a training example may write its runs/
    result = run(*shlex.split(line, comments=True)[1:])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("line", [line for line in EXAMPLES if NEEDS.search(line)])
def test_every_other_example_has_options_that_there_are(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)[1:]
    for word in words:
        if word.endswith((".pt", ".pth")):
            Path(word).touch()
        if word.startswith("./"):
            Path(word).mkdir()
    path = max((p for p in ALL if words[: len(p)] == list(p)), key=len)
    ALL[path].make_context(" ".join(path), words[len(path) :])  # raises if it cannot be parsed
