"""Thumbnails of the first rows in the terminal: `--preview`.

By the kitty or the iTerm2 protocol, as sixels, or else as half blocks in colour. What the terminal
can is told by its environment alone; it is never asked. An answer would come by standard input,
which may be a pipe of paths or hold what the user has typed meanwhile, and one that comes late
lands in the shell. Where the environment does not tell it (xterm with sixels, say), the setting
`preview` does. In a pipe, with --output and on a dumb terminal nothing is shown.

kitty, sixel and half blocks are drawn by textual-image (extra `preview`: pure Python on Pillow and
rich, which are here anyway; 0.2 MB, LGPL 3 or later, released in 2026). The others: chafa.py has
more symbols, but no release since 2024, no wheel for Python 3.14, and it needs the system's GLib;
term-image holds Pillow below 11; rich-pixels and timg know one or two ways. Two things are done
around it: it asks the terminal when it is imported and when it looks for the size of a cell, and
neither may happen (`_renderable`).
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from imgrank.results.text import visible

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console, RenderableType

    from imgrank.cli.options import Output, Reporter

__all__ = ["Protocol", "protocol", "show"]

Protocol = Literal["kitty", "iterm2", "sixel", "blocks"]

MOST = 12  # pictures
APART = 2  # cells between two
NARROWEST = 24  # cells of a tile, if the terminal is as wide
IN_A_LINE = 6  # at most
CELL = (10, 20)  # pixels of a cell where the terminal does not say: a VT340's


def show(document: Mapping[str, Any], out: Output, reporter: Reporter) -> None:
    """Draws the first pictures, as many as fit on the screen, at most `MOST`; those of commands
    without ranks by their first criterion, as in a gallery.

    document: what `--format json` prints. Without the extra it only says how to get it: by now the
    rows are written, and files perhaps moved.
    """
    from imgrank.settings import load_settings

    if out.path is not None or not _seen():
        return
    way = protocol(os.environ, load_settings().preview)
    if way is None:
        return
    try:
        library = _renderable()
    except ImportError:
        reporter.notify("--preview needs an extra: pip install 'imgrank[preview]'")
        return
    out.stream.flush()
    screen = _Screen.of(way, library)
    tiles = list(_tiles(document, screen))
    for start in range(0, len(tiles), screen.in_a_line):
        if start:
            screen.console.print()
        screen.draw(tiles[start : start + screen.in_a_line])


def protocol(environ: Mapping[str, str], wanted: str = "auto") -> Protocol | None:
    """How pictures get onto this terminal; None if they do not.

    wanted: the setting; it outranks what the terminal says of itself, except that it is dumb.
    """
    term = environ.get("TERM", "")
    if term == "dumb" or (not term and os.name != "nt"):
        return None
    way = _told(environ) if wanted == "auto" else cast(Protocol, wanted)
    # Half blocks are nothing but colour.
    return None if way == "blocks" and environ.get("NO_COLOR") else way


def _told(environ: Mapping[str, str]) -> Protocol:
    """What the terminal says of itself."""
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    # What runs inside a multiplexer sees the variables of the terminal outside it.
    if term.startswith(("screen", "tmux")) or environ.keys() & {"TMUX", "STY", "ZELLIJ"}:
        return "blocks"
    if term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty") or environ.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    if term.startswith(("foot", "mlterm", "contour", "yaft")) or "sixel" in term:
        return "sixel"
    return "blocks"


def _seen() -> bool:
    """Standard output is a terminal that can print what a half block is made of."""
    if sys.stdout is None or not sys.stdout.isatty():
        return False
    return "utf" in (sys.stdout.encoding or "").lower()


def _renderable() -> Any:
    """textual_image.renderable, kept from asking the terminal. Raises ImportError.

    Its import asks unless there is no `sys.__stdout__`; its first drawing does for the size of a
    cell where the kernel does not know it, unless that is set.
    """
    stdout = sys.__stdout__
    try:
        sys.__stdout__ = None  # type: ignore[misc]
        import textual_image.renderable as library
        from textual_image import _terminal as terminal
    finally:
        sys.__stdout__ = stdout  # type: ignore[misc]
    try:
        rows, columns, width, height = terminal.get_tiocgwinsz()
        cell = (width // columns, height // rows)
    except (OSError, ZeroDivisionError):
        cell = (0, 0)
    known = terminal.CellSize(*(cell if min(cell) > 0 else CELL))
    setattr(terminal.get_cell_size, "_result", known)  # noqa: B010 (mypy: no such attribute)
    return library


# ---- what is shown -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tile:
    """A picture of `width` x `height` cells, no more than the screen's tile, and its two lines."""

    image: Image.Image
    width: int
    height: int
    caption: str
    name: str


def _tiles(document: Mapping[str, Any], screen: _Screen) -> Iterator[_Tile]:
    """As many as fit. What cannot be read is left out."""
    from imgrank.images.decode import decode
    from imgrank.images.reading import Unreadable, read_file
    from imgrank.results.documents import read_document

    left = screen.room
    for found in read_document(document, "--preview").tiles:
        if left == 0:
            return
        path = Path(found.path)
        try:
            image = decode(read_file(path), max(screen.pixels))
        except Unreadable:
            continue
        rank = "" if found.rank is None else f"{found.rank}. "
        yield screen.fitted(image, rank + visible(found.texts[0]), visible(path.name))
        left -= 1


# ---- drawing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Screen:
    """in_a_line: tiles.   room: tiles that fit on the screen at once, at most `MOST`.
    width, height: of a tile in cells.   cell: its pixels, width and height.
    """

    way: Protocol
    library: Any
    console: Console
    cell: tuple[int, int]
    in_a_line: int
    room: int
    width: int
    height: int

    @classmethod
    def of(cls, way: Protocol, library: Any) -> _Screen:
        from rich.console import Console
        from textual_image._terminal import get_cell_size

        columns, lines = shutil.get_terminal_size()
        cell = get_cell_size()
        in_a_line = max(1, min(IN_A_LINE, (columns + APART) // (NARROWEST + APART)))
        width = max(1, (columns + APART) // in_a_line - APART)
        height = max(1, round(width * cell.width * 0.75 / cell.height))
        deep = max(1, lines // (height + 3))  # two of text, one empty; the last is the prompt's
        # kitty's placeholders carry a picture's number in their colour: all 24 bits of it.
        colours: Any = "truecolor" if way == "kitty" else "auto"
        console = Console(
            file=sys.stdout, width=columns, color_system=colours, markup=False, highlight=False
        )
        room = min(MOST, deep * in_a_line)
        return cls(way, library, console, tuple(cell), in_a_line, room, width, height)

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of a tile."""
        return self.width * self.cell[0], self.height * self.cell[1]

    def fitted(self, image: Image.Image, caption: str, name: str) -> _Tile:
        """A tile with the whole picture, as large as it can be."""
        scale = min(self.pixels[0] / image.width, self.pixels[1] / image.height)
        width, height = (
            max(1, round(side * scale / of)) for side, of in zip(image.size, self.cell, strict=True)
        )
        small = image.resize((width * self.cell[0], height * self.cell[1]))
        return _Tile(small, width, height, caption, name)

    def draw(self, tiles: Sequence[_Tile]) -> None:
        """A line of pictures and what is written beneath them."""
        if self.way in ("kitty", "blocks"):
            kind = self.library.TGPImage if self.way == "kitty" else self.library.HalfcellImage
            images = [kind(tile.image, tile.width, tile.height) for tile in tiles]
            self.console.print(self._grid([images], self.width), end="")
        else:
            self._draw_strip(tiles)
        texts = [[tile.caption for tile in tiles], [tile.name for tile in tiles]]
        self.console.print(self._grid(texts, self.width))

    def _grid(self, lines: Sequence[Sequence[RenderableType]], width: int) -> RenderableType:
        from rich.table import Table

        grid = Table.grid(padding=(0, APART, 0, 0), pad_edge=False)
        for _ in lines[0]:
            grid.add_column(width=width, no_wrap=True, overflow="ellipsis", vertical="bottom")
        for line in lines:
            grid.add_row(*line)
        return grid

    def _draw_strip(self, tiles: Sequence[_Tile]) -> None:
        """All of a line as one picture: who knows where these leave the cursor?"""
        from PIL import Image

        height = max(tile.height for tile in tiles)
        width = len(tiles) * (self.width + APART) - APART
        strip = Image.new("RGBA", (width * self.cell[0], height * self.cell[1]))
        for n, tile in enumerate(tiles):
            left = n * (self.width + APART) * self.cell[0]
            strip.paste(tile.image, (left, strip.height - tile.image.height))
        if self.way == "sixel":
            self.console.print(self.library.SixelImage(strip, width, height), end="")
            return
        data = io.BytesIO()
        strip.save(data, "PNG")
        sys.stdout.write(
            f"\x1b]1337;File=inline=1;size={data.tell()};width={width};height={height};"
            f"preserveAspectRatio=0:{b64encode(data.getvalue()).decode()}\x07\n"
        )
        sys.stdout.flush()
