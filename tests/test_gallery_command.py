"""`imgrank gallery`, and `--gallery` of the commands that print results."""

from __future__ import annotations

import io
import json
import re
import resource
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, command_line
from PIL import Image

from imgrank.results import page as page_module


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch)


@pytest.fixture
def greys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `greys` of five pictures, brighter by name, in what is the current folder."""
    folder = tmp_path / "here" / "greys"
    folder.mkdir(parents=True)
    for i, name in enumerate("abcde"):
        Image.new("RGB", (60, 40), (40 * i, 40 * i, 40 * i)).save(folder / f"{name}.png")
    monkeypatch.chdir(tmp_path / "here")
    return folder


@pytest.fixture
def order(run: Run, greys: Path) -> Path:
    """The results of a sort by brightness, as a file."""
    assert run("sort", "greys", "by brightness", "-f", "json", "-o", "order.json").exit_code == 0
    return Path("order.json").absolute()


def data(html: str) -> dict[str, Any]:
    """What a page shows."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)
    assert found
    result: dict[str, Any] = json.loads(found[1])
    return result


def seen(file: Path | str) -> list[tuple[str, str, bool]]:
    """Name, address, has a thumbnail: of each picture of a page."""
    pictures = data(Path(file).read_text())["pictures"]
    return [(p["name"], p["href"], bool(p.get("thumbnail"))) for p in pictures]


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


BRIGHTEST_FIRST = [(f"{name}.png", f"greys/{name}.png", True) for name in "edcba"]


# ---- --gallery -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["sort", "score"])
def test_rows_are_printed_and_a_page_is_made(command: str, run: Run, greys: Path) -> None:
    plain = run(command, "greys", "by brightness")
    result = run(command, "greys", "by brightness", "--gallery", "page.html")
    assert (result.exit_code, result.stdout) == (0, plain.stdout)
    assert "gallery of 5 pictures: page.html" in result.stderr
    assert seen("page.html") == BRIGHTEST_FIRST
    assert data(Path("page.html").read_text())["criteria"][0]["name"] == "by brightness"


def test_only_the_rows_that_are_shown_are_on_the_page(run: Run, greys: Path) -> None:
    arguments = ("sort", "greys", "by brightness", "--top", "2", "--gallery", "page.html", "-q")
    result = run(*arguments)
    assert result.stderr == ""
    assert seen("page.html") == BRIGHTEST_FIRST[:2]


def test_age_has_a_page_of_its_pictures(run: Run, greys: Path) -> None:
    result = run("age", "greys/a.png", "--gallery", "page.html")
    assert result.exit_code == 0
    assert seen("page.html") == [("a.png", "greys/a.png", True)]
    assert data(Path("page.html").read_text())["criteria"][0]["unit"] == "years"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("taken.html", "taken.html exists already; imgrank overwrites nothing."),
        ("dangling.html", "dangling.html exists already"),
        ("nowhere/page.html", "cannot write nowhere/page.html: No such file or directory."),
        ("taken.html/page.html", "cannot write taken.html/page.html: Not a directory."),
        ("-", "--gallery needs the name of a file"),
        ("rows.json", "--output and --gallery name the same file."),
    ],
)
def test_a_page_that_cannot_be_made_is_refused_before_anything_is_computed(
    path: str, said: str, run: Run, greys: Path, home: Path
) -> None:
    Path("taken.html").write_text("mine")
    Path("dangling.html").symlink_to("nothing")
    before = listing(Path())
    result = run("sort", "greys", "by brightness", "--gallery", path, "-o", "rows.json")
    assert result.exit_code == 2
    assert said in result.stderr
    assert listing(Path()) == before
    assert Path("taken.html").read_text() == "mine"
    assert not home.exists()  # no score was kept: none was computed


def test_a_page_may_go_into_the_folder_that_is_made_for_the_copies(run: Run, greys: Path) -> None:
    arguments = ("--top", "1", "--copy-to", "best", "--gallery", "best/index.html")
    result = run("sort", "greys", "by brightness", *arguments)
    assert result.exit_code == 0, result.stderr
    assert seen("best/index.html") == [("e.png", "e.png", True)]


def test_after_a_move_the_page_leads_to_where_the_pictures_are(run: Run, greys: Path) -> None:
    result = run("sort", "greys", "by brightness", "--move-to", "sorted", "--gallery", "page.html")
    assert result.exit_code == 0, result.stderr
    assert seen("page.html")[0] == ("e.png", "sorted/e.png", True)


@pytest.mark.parametrize("verb", ["copy", "move", "link"])
def test_later_the_page_is_of_the_same_places_until_they_are_taken_back(
    verb: str, run: Run, greys: Path
) -> None:
    arguments = (f"--{verb}-to", "best", "--rename", "--gallery", "at-once.html")
    sort = ("sort", "greys", "by brightness", "--top", "2", "-f", "json", "-o", "order.json")
    assert run(*sort, *arguments).exit_code == 0
    assert run("gallery", "order.json", "-o", "later.html").exit_code == 0
    assert seen("later.html") == [
        ("001__e.png", "best/001__e.png", True),
        ("002__d.png", "best/002__d.png", True),
    ]
    assert Path("later.html").read_bytes() == Path("at-once.html").read_bytes()
    assert run("undo").exit_code == 0
    assert run("gallery", "order.json", "-o", "undone.html").exit_code == 0
    assert seen("undone.html") == BRIGHTEST_FIRST[:2]


# ---- imgrank gallery -----------------------------------------------------------------------------


def test_results_become_the_same_page_as_at_once(run: Run, order: Path) -> None:
    assert run("gallery", "order.json", "-o", "later.html").exit_code == 0
    assert run("sort", "greys", "by brightness", "--gallery", "at-once.html").exit_code == 0
    assert Path("later.html").read_bytes() == Path("at-once.html").read_bytes()


def test_results_from_standard_input_and_a_page_on_standard_output(run: Run, order: Path) -> None:
    result = run("gallery", "-", "-o", "-", stdin=order.read_bytes())
    assert result.exit_code == 0
    names = [(p["name"], p["href"]) for p in data(result.stdout)["pictures"]]
    folder = order.parent / "greys"
    assert names == [(f"{name}.png", (folder / f"{name}.png").as_uri()) for name in "edcba"]
    assert "gallery of 5 pictures: standard output" in result.stderr


def test_several_results_are_one_page(run: Run, order: Path) -> None:
    assert run("score", "greys", "contrast", "file size", "-f", "jsonl", "-o", "s").exit_code == 0
    assert run("sort", "greys/a.png", "sharpness", "-f", "json", "-o", "t").exit_code == 0
    result = run("gallery", "order.json", "s", "t", "-o", "page.html", "--title", "All <of> it")
    assert result.exit_code == 0
    assert "4 pictures lack some of the criteria; '-' stands there" in result.stderr
    html = Path("page.html").read_text()
    assert "<h1>All &lt;of&gt; it</h1>" in html
    found = data(html)
    assert [c["name"] for c in found["criteria"]] == [
        "by brightness", "contrast", "file size", "sharpness",
    ]  # fmt: skip
    assert seen("page.html") == BRIGHTEST_FIRST
    assert [p["texts"][3] == "-" for p in found["pictures"]] == [True, True, True, True, False]


def test_the_page_finds_the_pictures_from_its_own_folder(
    run: Run, order: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "else where").mkdir()
    monkeypatch.chdir(tmp_path / "else where")
    result = run("gallery", str(order), "-o", "page.html", "--root", "../here")
    assert result.exit_code == 0
    assert seen("page.html")[0] == ("e.png", "../here/greys/e.png", True)


def test_without_its_root_not_one_picture_is_there(
    run: Run, order: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("gallery", str(order), "-o", "page.html")
    assert result.exit_code == 2
    assert "none of the 5 pictures is there (greys/e.png is not)" in result.stderr
    assert "--root" in result.stderr
    assert not Path("page.html").exists()


def test_pictures_that_are_gone_or_broken_are_on_the_page_without_picture(
    run: Run, order: Path
) -> None:
    Path("greys/b.png").unlink()
    Path("greys/d.png").write_bytes(b"")
    result = run("gallery", "order.json", "-o", "page.html")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "no picture of greys/d.png on the page: empty file",
        "no picture of greys/b.png on the page: no such file any more",
        "gallery of 5 pictures: page.html (2 without a picture)",
    ]
    assert [there for _, _, there in seen("page.html")] == [True, False, True, False, True]
    assert data(Path("page.html").read_text())["pictures"][3]["note"] == "no such file any more"


def test_only_some_of_many_without_picture_are_named(run: Run, order: Path) -> None:
    found = json.loads(order.read_text())
    found["images"] += [found["images"][0] | {"path": f"gone/{i}.jpg"} for i in range(8)]
    order.write_text(json.dumps(found))
    lines = run("gallery", "order.json", "-o", "page.html").stderr.splitlines()
    assert len(lines) == 7
    assert lines[5:] == [
        "nor of 3 more; the page says why of each",
        "gallery of 13 pictures: page.html (8 without a picture)",
    ]


def test_thumbnails_are_as_large_as_was_asked(run: Run, greys: Path) -> None:
    Image.new("RGB", (400, 200)).save(greys / "large.png")
    assert run("score", "greys/large.png", "contrast", "-f", "json", "-o", "s").exit_code == 0
    assert run("gallery", "s", "-o", "page.html", "--thumbnails", "100").exit_code == 0
    html = Path("page.html").read_text()
    text = re.search(r'<script id="t0" type="text/plain">(.*?)</script>', html)
    assert text
    assert Image.open(io.BytesIO(b64decode(text[1]))).size == (100, 50)


def test_a_name_cannot_become_markup(run: Run, greys: Path) -> None:
    name = "<script>alert(1)<!--<img src=x onerror=alert(2)>.png"
    (greys / "a.png").rename(greys / name)
    result = run("sort", "greys", "darkest first", "--top", "1", "--gallery", "page.html")
    assert result.exit_code == 0
    html = Path("page.html").read_text()
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert seen("page.html")[0][0] == name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing.json",), "cannot read nothing.json: No such file or directory."),
        (("greys",), "cannot read greys: Is a directory."),
        (("greys/a.png",), "greys/a.png is not JSON, or was cut short"),
        (("-", "-"), "'-' is standard input, which can be read once."),
        (("-",), "standard input is empty."),
        (("cut.json",), "cut.json is not JSON, or was cut short"),
        (("order.tsv",), "prints with --format json or jsonl."),
    ],
)
def test_what_cannot_be_read_is_said_and_leaves_nothing(
    arguments: tuple[str, ...], said: str, run: Run, order: Path
) -> None:
    Path("cut.json").write_text(order.read_text()[:-40])
    run("sort", "greys", "by brightness", "-o", "order.tsv")
    before = listing(Path())
    result = run("gallery", *arguments, "-o", "page.html")
    assert result.exit_code == 2
    assert said in result.stderr
    assert listing(Path()) == before


def test_an_older_page_is_left_alone(run: Run, order: Path) -> None:
    Path("page.html").write_text("older")
    assert run("gallery", "order.json", "-o", "page.html").exit_code == 2
    assert Path("page.html").read_text() == "older"


# ---- cut off ------------------------------------------------------------------------------------


def test_an_interrupt_leaves_nothing(
    run: Run, order: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(page: object, stream: io.BufferedIOBase) -> None:
        stream.write(b"<!doctype html>")
        raise KeyboardInterrupt

    monkeypatch.setattr(page_module, "write_page", interrupted)
    before = listing(Path())
    result = run("gallery", "order.json", "-o", "page.html")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert listing(Path()) == before


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file of this process may grow beyond 20,000 bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_page_that_does_not_fit_leaves_nothing(run: Run, order: Path, little_room: None) -> None:
    before = listing(Path())
    result = run("gallery", "order.json", "-o", "page.html")
    assert result.exit_code == 2
    assert result.stderr.endswith("cannot write page.html: File too large.\n")
    assert listing(Path()) == before
