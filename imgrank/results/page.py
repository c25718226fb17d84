"""A gallery as one HTML file: everything is in it, nothing is fetched from a network.

The parts are plain values (`Page`, `Criterion`, `Picture`); `write_page` joins them with the
template, style and scripts in `gallery_page/`. Thumbnails are WebP, as base64; the originals are
named by relative addresses, and shown in full by the browser if they are still there.

* What a name holds cannot become markup: the template escapes, data are JSON in a script element
  with every `<` written as \\u003c, and the page's own policy runs only the scripts written here
  (by their digest) and loads pictures from files alone.
* Names may hold bytes that are not UTF-8 (as lone surrogates, the way `os.fsdecode` gives them) and
  characters that turn the writing direction: they are shown as `text.visible` shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

__all__ = ["Criterion", "Page", "Picture", "write_page"]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One kind of value that every picture may have; the first one is what ranks were given by.

    name: for eyes, not empty: an instruction, "score" (several combined), "age", "year".
    unit: "MOS", "years", "s since 1970" (shown as a date), "" for none.
    direction: "descending" if the highest value comes first.
    model: for eyes; "" where there is none.
    low, high: ends of the scale, in the unit; None where it has none. Values may lie outside.
    """

    name: str
    unit: str = ""
    direction: Literal["ascending", "descending"] = "descending"
    model: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A tile of the page.

    name, path: as Python has them (`os.fsdecode`), not escaped; the path is what is copied.
    href: the original for the browser, percent-encoded from the name's bytes: relative to the page,
      or `file:///...`; anything else (a scheme, a host) is dropped. "" if there is none.
    thumbnail: a WebP file; None if there is none.
    width, height: of the original as it is shown (after EXIF rotation), pixels; 0 if unknown.
    rank: from 1; None for a picture without a score.   percentile: 0 to 100.
    values: one a criterion, None where it has none.
    texts: the same for eyes, with unit and interval: "34 (30 to 38) years", "-".
    labels: what can be filtered by, as "kind: value" ("level: good", "group: 1980s", "burst: 3").
    note: a sentence on this picture, for eyes; "" for none.
    """

    name: str
    path: str
    href: str
    thumbnail: bytes | None
    width: int
    height: int
    rank: int | None
    percentile: float | None
    values: tuple[float | None, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The whole gallery.

    title, subtitle: for eyes; the subtitle says how it was made, in a line.
    pictures: in the order in which they are shown at first.
    skipped: files that are not on the page: path (as Python has it), reason.
    """

    title: str
    subtitle: str
    criteria: Sequence[Criterion]
    pictures: Sequence[Picture]
    skipped: Sequence[tuple[str, str]] = ()


def write_page(page: Page, stream: BinaryIO) -> None:
    """The page as UTF-8, written as it is made: thumbnails are never joined in memory.

    Raises ValueError for a picture whose values or texts are not one a criterion.
    """
    raise NotImplementedError
