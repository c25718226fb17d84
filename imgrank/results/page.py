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

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.resources import files
from math import isfinite
from typing import BinaryIO, Literal

from jinja2 import DictLoader, Environment
from markupsafe import Markup

from imgrank.results.text import visible

__all__ = ["Criterion", "Page", "Picture", "write_page"]

# In the order in which the browser runs them; the first one before anything is drawn.
SCRIPTS = (
    "theme.js",
    "data.js",
    "layout.js",
    "grid.js",
    "marks.js",
    "ranges.js",
    "filter.js",
    "view.js",
    "keys.js",
)


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
    for picture in page.pictures:
        if not len(picture.values) == len(picture.texts) == len(page.criteria):
            raise ValueError(
                f"{picture.path!r}: {len(picture.values)} values, {len(picture.texts)} texts, "
                f"{len(page.criteria)} criteria."
            )
    folder = files("imgrank.results") / "gallery_page"
    parts = {part.name: part.read_text("utf-8") for part in folder.iterdir() if part.is_file()}
    environment = Environment(
        loader=DictLoader(parts), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = visible
    template = environment.get_template("page.html.j2")
    style, scripts = parts["page.css"], [parts[name] for name in SCRIPTS]
    written = template.stream(
        page=page,
        policy=_policy(style, scripts),
        style=Markup(style),
        first=Markup(scripts[0]),
        scripts=[Markup(script) for script in scripts[1:]],
        data=Markup(_data(page)),
        address=_harmless,
        thumbnails=_thumbnails(page.pictures),
    )
    written.enable_buffering(256)
    for piece in written:
        stream.write(piece.encode())


def _policy(style: str, scripts: Sequence[str]) -> str:
    """Content-Security-Policy: these scripts, this style, pictures from files; nothing else."""
    rules = [
        "default-src 'none'",
        f"script-src {' '.join(map(_digest, scripts))}",
        f"style-src {_digest(style)}",
        "img-src 'self' file: data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(rules)


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _thumbnails(pictures: Sequence[Picture]) -> Iterator[tuple[int, Markup]]:
    """Place and base64 of those that have one."""
    for place, picture in enumerate(pictures):
        if picture.thumbnail is not None:
            yield place, Markup(b64encode(picture.thumbnail).decode())


def _data(page: Page) -> str:
    """What the scripts work on, as JSON that no parser of HTML can take for markup."""
    paths = "\0".join(picture.path for picture in page.pictures)
    data = {
        "id": sha256(paths.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        "criteria": [
            asdict(criterion) | {"name": visible(criterion.name), "unit": visible(criterion.unit)}
            for criterion in page.criteria
        ],
        "pictures": [_picture(picture) for picture in page.pictures],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _picture(picture: Picture) -> dict[str, object]:
    path = visible(picture.path)
    members = {
        "name": visible(picture.name),
        "path": path,
        "raw": picture.path if picture.path != path else None,
        "href": _harmless(picture.href),
        "thumbnail": picture.thumbnail is not None,
        "width": picture.width,
        "height": picture.height,
        "rank": picture.rank,
        "percentile": picture.percentile,
        "values": [v if v is not None and isfinite(v) else None for v in picture.values],
        "texts": [visible(text) for text in picture.texts],
        "labels": [visible(label) for label in picture.labels],
        "note": visible(picture.note),
    }
    return {key: value for key, value in members.items() if value not in (None, "", [])}


def _harmless(href: str) -> str:
    """The address, or "" if it leads anywhere but to a file: another scheme, a host."""
    if href.startswith("file:///") and not href.startswith("file:////"):  # four: a host, on Windows
        return href
    foreign = ":" in href.partition("/")[0] or href.startswith(("//", "/\\", "\\"))
    return "" if foreign or not href.isascii() or not href.isprintable() else href
