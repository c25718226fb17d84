"""`--preview` on pseudo-terminals: the right escape codes, nothing else, and never a question."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("fcntl", reason="pseudo-terminals are Unix's")

from imgrank.cli.options import Output, Reporter
from imgrank.cli.preview import protocol, show

# textual-image 0.12 calls what Pillow 14 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:Image.Image.getdata:DeprecationWarning")

RED, BLUE = (255, 0, 0), (0, 0, 255)
QUESTION = re.compile(rb"\x1b\[(>|\?)?[0-9;]*[cn]|\x1b\[1[4-9]t|a=q")
Shown = Callable[..., bytes]


@contextmanager
def terminal() -> Iterator[tuple[int, Callable[[], bytes]]]:
    """A pseudo-terminal: the end for programs, and all that was written to it (this closes it)."""
    ours, theirs = os.openpty()
    pieces: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(ours, 1 << 16):
                pieces.append(piece)
        except OSError:  # Linux says so when the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    closed = False

    def written() -> bytes:
        nonlocal closed
        if not closed:
            os.close(theirs)
            reader.join(60)
            os.close(ours)
            closed = True
        return b"".join(pieces).replace(b"\r\n", b"\n")

    try:
        yield theirs, written
    finally:
        written()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What `show` writes to a terminal of 80 x 24 with this environment."""

    def call(document: dict[str, Any], output: Path | None = None, **environ: str) -> bytes:
        for name in ("TERM_PROGRAM", "LC_TERMINAL", "TMUX", "STY", "NO_COLOR", "COLORTERM"):
            monkeypatch.delenv(name, raising=False)
        environ = {"TERM": "xterm", "COLUMNS": "80", "LINES": "24", **environ}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with terminal() as (end, written):
            stdout = open(end, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            with stdout, monkeypatch.context() as patched:
                patched.setattr(sys, "stdout", stdout)
                patched.setattr(sys, "__stdout__", stdout)
                with Output(output, None) as out:
                    show(document, out, Reporter())
            return written()

    return call


@pytest.fixture
def squares(tmp_path: Path) -> list[Path]:
    """A red and a blue picture."""
    paths = [tmp_path / "red.png", tmp_path / "blue\x1b[31m.png"]
    for path, colour in zip(paths, (RED, BLUE), strict=True):
        Image.new("RGB", (40, 40), colour).save(path)
    return paths


def ranked(paths: Sequence[Path]) -> dict[str, Any]:
    """What `sort --format json` prints of them."""
    criterion = {"instruction": "brightness", "method": "measured", "model": "", "unit": ""}
    criterion |= {"direction": "descending"}
    rows = [
        {"rank": n, "score": 0.5, "unit": "", "percentile": 50.0, "interval": None}
        | {"direction": "descending", "path": str(path)}
        for n, path in enumerate(paths, 1)
    ]
    return {"criteria": [criterion], "images": rows, "skipped": []}


# ---- each protocol -------------------------------------------------------------------------------


def test_half_blocks(shown: Shown, squares: list[Path]) -> None:
    lines = shown(ranked(squares), COLORTERM="truecolor").decode().splitlines()
    # 80 cells hold three tiles of 25 x 9 cells; a cell is 10 x 20 pixels, so a square is 18 x 9.
    red = "\x1b[38;2;255;0;0;48;2;255;0;0m▀\x1b[0m" * 18
    blue = "\x1b[38;2;0;0;255;48;2;0;0;255m▀\x1b[0m" * 18
    assert [line.rstrip() for line in lines[:9]] == [red + " " * 9 + blue] * 9
    assert lines[9].rstrip() == "1. 0.5" + " " * 21 + "2. 0.5"
    assert re.split(" {2,}", lines[10].strip()) == ["red.png", "blue\\x1b[31m.png"]
    assert len(lines) == 11


def test_kitty(shown: Shown, squares: list[Path]) -> None:
    text = shown(ranked(squares), TERM="xterm-kitty")
    pictures: dict[bytes, bytes] = {}
    for number, data in re.findall(rb"\x1b_Gi=(\d+),m=[01],f=100,q=2;([^\x1b]+)\x1b\\", text):
        pictures[number] = pictures.get(number, b"") + data
    opened = [Image.open(io.BytesIO(b64decode(data))) for data in pictures.values()]
    assert [image.size for image in opened] == [(180, 180), (180, 180)]
    assert [image.getpixel((90, 90)) for image in opened] == [RED, BLUE]
    for number in pictures:
        assert b"\x1b_Ga=p,i=" + number + b",c=18,r=9,U=1,q=2\x1b\\" in text
        colour = ";".join(str(int(number) >> shift & 255) for shift in (16, 8, 0))
        assert text.count(f"\x1b[38;2;{colour}m\U0010eeee".encode()) == 9
    assert text.count("\U0010eeee".encode()) == 2 * 18 * 9


def test_iterm2_has_a_line_of_pictures_as_one(shown: Shown, squares: list[Path]) -> None:
    text = shown(ranked(squares), TERM_PROGRAM="iTerm.app")
    found = re.match(
        rb"\x1b]1337;File=inline=1;size=(\d+);width=52;height=9;preserveAspectRatio=0:"
        rb"([A-Za-z0-9+/=]+)\x07\n1\. 0\.5 ",
        text,
    )
    assert found
    data = b64decode(found[2])
    assert len(data) == int(found[1])
    image = Image.open(io.BytesIO(data))
    assert image.size == (520, 180)
    where = [(0, 0), (179, 179), (180, 90), (270, 0), (449, 179), (450, 90)]
    clear = (0, 0, 0, 0)
    assert [image.getpixel(xy) for xy in where] == [
        (*RED, 255), (*RED, 255), clear, (*BLUE, 255), (*BLUE, 255), clear
    ]  # fmt: skip


def test_sixels(shown: Shown, squares: list[Path]) -> None:
    text = shown(ranked(squares), TERM="foot")
    found = re.search(rb"\x1bP[0-9;]*q\"1;1;(\d+);(\d+)(.*?)\x1b\\\x1b8", text, re.DOTALL)
    assert found
    assert (int(found[1]), int(found[2])) == (520, 180)
    assert set(re.findall(rb"#\d+;2;(\d+;\d+;\d+)", found[3])) == {b"0;0;0", b"100;0;0", b"0;0;100"}
    assert found[3].count(b"-") in (29, 30)  # bands of six lines


@pytest.mark.parametrize(
    "environ",
    [
        {"TERM": "xterm-256color"},
        {"TERM": "xterm-kitty"},
        {"TERM_PROGRAM": "iTerm.app"},
        {"TERM": "foot"},
    ],
)
def test_the_terminal_is_never_asked(
    shown: Shown, squares: list[Path], environ: dict[str, str]
) -> None:
    text = shown(ranked(squares), **environ)
    assert b"red.png" in text
    assert not QUESTION.search(text)


# ---- which protocol ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "wanted", "found"),
    [
        ({"TERM": "xterm-256color"}, "auto", "blocks"),
        ({"TERM": "xterm-kitty"}, "auto", "kitty"),
        ({"TERM": "xterm-ghostty"}, "auto", "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "auto", "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "auto", "iterm2"),
        ({"TERM": "foot-extra"}, "auto", "sixel"),
        ({"TERM": "tmux-256color", "LC_TERMINAL": "iTerm2"}, "auto", "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux-0/default,1,0"}, "auto", "blocks"),
        ({"TERM": "screen.xterm-256color", "STY": "1.pts-0"}, "auto", "blocks"),
        ({"TERM": "xterm"}, "sixel", "sixel"),
        ({"TERM": "xterm-kitty"}, "blocks", "blocks"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "auto", None),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, "auto", "kitty"),
        ({"TERM": "dumb"}, "auto", None),
        ({"TERM": "dumb"}, "kitty", None),
        ({}, "auto", None),
    ],
)
def test_protocol(environ: dict[str, str], wanted: str, found: str | None) -> None:
    assert protocol(environ, wanted) == found


def test_the_setting_outranks_the_environment(shown: Shown, squares: list[Path]) -> None:
    assert b"\x1bP" in shown(ranked(squares), TERM="xterm-kitty", IMGRANK_PREVIEW="sixel")


# ---- how many, and which -------------------------------------------------------------------------


def captions(text: bytes) -> list[str]:
    return re.findall(r"(\d+)\. 0\.5", text.decode())


def test_as_many_as_fit_on_the_screen(shown: Shown, tmp_path: Path) -> None:
    for n in range(40):
        Image.new("RGB", (4, 3)).save(tmp_path / f"{n}.png")
    document = ranked(sorted(tmp_path.glob("*.png")))
    # A tile has 9 lines and two beneath; one is between it and the next, one is the prompt's.
    assert captions(shown(document, LINES="23")) == ["1", "2", "3"]
    assert captions(shown(document, LINES="24")) == ["1", "2", "3", "4", "5", "6"]
    assert len(shown(document).splitlines()) == 23
    assert captions(shown(document, LINES="99")) == [str(n) for n in range(1, 13)]
    assert captions(shown(document, COLUMNS="15", LINES="9")) == ["1"]


def test_what_cannot_be_read_is_left_out(shown: Shown, squares: list[Path]) -> None:
    (squares[0].parent / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    paths = [squares[0], squares[0].parent / "broken.png", Path("gone.png"), squares[1]]
    assert captions(shown(ranked(paths))) == ["1", "4"]


def test_a_long_name_is_cut_at_the_tile(shown: Shown, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 100 + ".png")
    Image.new("RGB", (4, 4)).save(path)
    assert "x" * 24 + "…" in shown(ranked([path, path])).decode().splitlines()[-1]


# ---- nothing where nothing is seen ---------------------------------------------------------------


def test_nothing_on_a_dumb_terminal_or_with_a_file(
    shown: Shown, squares: list[Path], tmp_path: Path
) -> None:
    assert shown(ranked(squares), TERM="dumb") == b""
    assert shown(ranked(squares), tmp_path / "rows.tsv") == b""


def test_nothing_in_a_pipe(capfdbinary: pytest.CaptureFixture[bytes], squares: list[Path]) -> None:
    with Output(None, None) as out:
        show(ranked(squares), out, Reporter())
    assert capfdbinary.readouterr() == (b"", b"")


def test_without_the_extra_it_says_how_to_get_it(
    shown: Shown,
    squares: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "textual_image"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual_image", None)
    assert shown(ranked(squares)) == b""
    assert capfd.readouterr().err == "--preview needs an extra: pip install 'imgrank[preview]'\n"


# ---- the whole command ---------------------------------------------------------------------------


def test_paths_by_pipe_and_pictures_on_the_terminal(squares: list[Path]) -> None:
    """Standard input is a pipe: nothing of it is lost, and nobody waits for a terminal's answer."""
    names = b"\0".join(os.fsencode(path) for path in squares) + b"\0"
    command = [sys.executable, "-m", "imgrank", "sort", "-", "by file size", "-0", "--preview"]
    environ = {k: v for k, v in os.environ.items() if k not in ("TMUX", "STY", "NO_COLOR")}
    with terminal() as (end, written):
        done = subprocess.run(
            [*command, "-f", "paths"],
            input=names,
            stdout=end,
            stderr=subprocess.PIPE,
            env={**environ, "TERM": "xterm", "COLORTERM": "truecolor", "PYTHONUTF8": "1"},
            timeout=60,
        )
        text = written()
    assert done.returncode == 0, done.stderr
    assert sorted(text.split(b"\0")[:2]) == sorted(os.fsencode(path) for path in squares)
    assert text.count("▀".encode()) == 2 * 18 * 9
    assert not QUESTION.search(text)
