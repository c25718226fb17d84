"""The JSON that imgrank printed -> checked plain values, a tile a picture: what a gallery shows.

Reads what sort, search, score, age, decade and aesthetic print with `--format json` or `jsonl`.
Several documents one after the other (`cat a.jsonl b.jsonl`) are several results.

* A tile's values are the scores; of a criterion with a reference ("closest to 3 dogs") they are
  the distances to it, since by these its order is made. Its texts have the score itself.
* Several faces of one picture are one tile: its value is the first one's, the largest.
* Results without ranks (score and the estimates) get them, by their first criterion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from json import dumps
from typing import Literal

from imgrank.errors import UsageError
from imgrank.results.checked import JsonObject, NotExpected, json_values
from imgrank.results.page import Criterion
from imgrank.results.ranking import Cell
from imgrank.results.text import shown

__all__ = ["Results", "Tile", "in_order", "read", "read_document"]

READS = (
    "It must be what `imgrank sort`, `search`, `score`, `age`, `decade` or `aesthetic` prints with "
    "--format json or jsonl."
)
FACES = 3  # that a tile's text tells one by one; its note tells all
KINDS = ("folder", "burst")  # fields of a row that become labels
TITLES = {"age": "Apparent age", "decade": "Decade", "aesthetics": "Aesthetic level"}


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture of some results; the fields that are not said here are those of `page.Picture`.

    path: as in the results, with lone surrogates for bytes that are not UTF-8.
    place: where it was copied, linked or moved; None if it was not.
    """

    path: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]
    rank: int | None = None
    percentile: float | None = None
    labels: tuple[str, ...] = ()
    note: str = ""
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """What one run printed, or several that were joined.

    title: for eyes.   skipped: path, reason.
    combined: the first criterion is a score made of the others, within this set of pictures.
    """

    title: str
    criteria: tuple[Criterion, ...]
    tiles: tuple[Tile, ...]
    combined: bool = False
    skipped: tuple[tuple[str, str], ...] = ()


def read(data: bytes, source: str) -> list[Results]:
    """Results in the bytes of a file, which messages call `source`. Raises UsageError."""
    try:
        values = list(json_values(data))
    except NotExpected as error:
        raise UsageError(f"{source} is not JSON, or was cut short ({error}). {READS}") from None
    if not values:
        raise UsageError(f"{source} is empty. {READS}")
    documents: list[object] = []
    lines: list[object] = []
    for value in values:
        (documents if isinstance(value, dict) and "images" in value else lines).append(value)
    return [read_document(each, source) for each in (*documents, *_gathered(lines))]


def read_document(document: object, source: str) -> Results:
    """One document, as `json.loads` gives it. Raises UsageError."""
    try:
        found = JsonObject(document)
        if "criteria" in found:
            return _scored(found)
        if "model" in found:
            return _estimated(found)
        raise NotExpected("there is neither `criteria` nor `model` in it")
    except NotExpected as error:
        raise UsageError(f"{source} has no results of imgrank: {error}. {READS}") from None


def in_order(tiles: Sequence[Tile], first: Criterion) -> tuple[Tile, ...]:
    """Tiles ranked anew by their first value; those without one at the end, as they come."""
    sign = -1.0 if first.direction == "descending" else 1.0
    valued = [(sign * tile.values[0], tile) for tile in tiles if tile.values[0] is not None]
    valued.sort(key=lambda pair: pair[0])
    ranked = (replace(tile, rank=i, percentile=None) for i, (_, tile) in enumerate(valued, 1))
    others = (tile for tile in tiles if tile.values[0] is None)
    return (*ranked, *(replace(tile, rank=None, percentile=None) for tile in others))


def _gathered(lines: Iterable[object]) -> Iterator[dict[str, object]]:
    """Lines of jsonl -> documents: lines with the same head are of one."""
    documents: dict[str, dict[str, object]] = {}
    rows: dict[str, list[object]] = {}
    for line in lines:
        members = line if isinstance(line, dict) else {}
        head = next((key for key in ("criteria", "model") if key in members), "")
        about = {key: members[key] for key in ("search",) if key in members}
        name = dumps([members.get(head), about])
        documents[name] = {head: members.get(head), **about, "images": rows.setdefault(name, [])}
        rows[name].append(members)
    yield from documents.values()


# ---- fields of any row ---------------------------------------------------------------------------


def _labels(row: JsonObject) -> tuple[str, ...]:
    known = ((kind, row.name(kind)) for kind in KINDS)
    return tuple(f"{kind}: {value}" for kind, value in known if value)


def _skipped(document: JsonObject) -> tuple[tuple[str, str], ...]:
    if "skipped" not in document:  # lines of jsonl
        return ()
    return tuple((each.text("path"), each.text("reason")) for each in document.objects("skipped"))


def _once(tiles: Iterable[Tile]) -> tuple[Tile, ...]:
    """The first one of each path."""
    known: dict[str, Tile] = {}
    for tile in tiles:
        known.setdefault(tile.path, tile)
    return tuple(known.values())


# ---- sort, search and score ----------------------------------------------------------------------

_Direction = Literal["ascending", "descending"]
_DIRECTIONS: dict[str, _Direction] = {"ascending": "ascending", "descending": "descending"}


@dataclass(frozen=True, slots=True)
class _Column:
    """A criterion, and the number to which distances are its values instead of the scores."""

    criterion: Criterion
    reference: float | None = None

    def value(self, cell: Cell) -> float | None:
        if cell is None or self.reference is None:
            return cell and cell[0]
        return abs(cell[0] - self.reference)


def _scored(document: JsonObject) -> Results:
    asked, rows = document.objects("criteria"), document.objects("images")
    if not asked:
        raise NotExpected("`criteria` is empty")
    title = ", ".join(each.text("instruction") for each in asked)
    ranked = any("rank" in row for row in rows)
    combined = ranked and len(asked) > 1
    order = _direction(rows[0]) if ranked else None
    columns = [_column(each, None if combined else order) for each in asked]
    if combined:
        low, high = (None, None) if "search" in document else (0.0, 1.0)
        columns.insert(
            0, _Column(Criterion("combined score", "", order or "descending", "", low, high))
        )
    tiles = _once(_tile(row, columns, ranked) for row in rows)
    if not ranked:
        tiles = in_order(tiles, columns[0].criterion)
    criteria = tuple(column.criterion for column in columns)
    return Results(title, criteria, tiles, combined, _skipped(document))


def _column(asked: JsonObject, order: _Direction | None) -> _Column:
    """order: of the rows, which may have been turned round; None: as the criterion has it."""
    direction = order or _direction(asked)
    reference = asked.if_any("reference")
    if reference is not None:  # "descending" is nearest first: by distance, ascending
        direction = "ascending" if direction == "descending" else "descending"
    low, high = (None, None) if reference is not None else asked.pair("range")
    method, model = asked.text("method"), asked.text("model")
    by = method if model in ("", "-") else f"{method} {model}"
    name = asked.text("instruction") or "score"
    if method == "search" and (prompt := asked.text("prompt")) not in (name, f"'{name.strip()}'"):
        by += f", asked as {prompt}"  # rephrased: another vector, under the same name
    return _Column(Criterion(name, asked.text("unit"), direction, by, low, high), reference)


def _direction(described: JsonObject) -> _Direction:
    known = _DIRECTIONS.get(described.text("direction"))
    return known or described.wrong("direction", "ascending or descending")


def _tile(row: JsonObject, columns: Sequence[_Column], ranked: bool) -> Tile:
    cells = [_cell(row)] if ranked else []
    if len(cells) < len(columns):
        cells += map(_cell, row.objects("scores"))
    if len(cells) != len(columns):
        row.wrong("scores", "of as many criteria as there are")
    values = (column.value(cell) for column, cell in zip(columns, cells, strict=True))
    return Tile(
        path=row.text("path"),
        values=tuple(values),
        texts=tuple(map(shown, cells, (column.criterion.unit for column in columns))),
        rank=row.whole("rank") if ranked else None,
        percentile=row.number("percentile") if ranked else None,
        labels=_labels(row),
        note="; ".join(_notes(row)),
        place=row.name("to") or None,
    )


def _cell(scored: JsonObject) -> Cell:
    score = scored.if_any("score")
    return None if score is None else (score, *scored.pair("interval"))


def _notes(row: JsonObject) -> Iterator[str]:
    """Of `--refine` and `--near-duplicates`."""
    strength = row.if_any("strength")
    if strength is not None:
        yield f"{strength:.0%} of its comparisons won"
    others = row.texts("others")
    if others:
        names = ", ".join(others)
        yield f"the best of {len(others) + 1} that are nearly the same; left out: {names}"


# ---- age, decade, aesthetic ----------------------------------------------------------------------


def _estimated(document: JsonObject) -> Results:
    model = JsonObject(document.members["model"], "model")
    task, unit = model.text("task"), model.text("unit").removesuffix("year")
    by = f"{model.text('method')} {model.text('name')}"
    criterion = Criterion("year" if task == "decade" else task, unit, "descending", by)
    pictures: dict[str, list[JsonObject]] = {}
    for row in document.objects("images"):
        pictures.setdefault(row.text("path"), []).append(row)
    kind = "level" if task == "aesthetics" else task
    tiles = [_estimates(path, rows, kind, unit) for path, rows in pictures.items()]
    title = TITLES.get(task, task)
    return Results(title, (criterion,), in_order(tiles, criterion), False, _skipped(document))


def _estimates(path: str, rows: Sequence[JsonObject], kind: str, unit: str) -> Tile:
    """rows: of one picture, several if it has several faces, the largest first."""
    found = [row for row in rows if row.if_any("estimate") is not None]
    each = [_estimate(row, kind, unit) for row in found]
    text = ", ".join(each[:FACES]) + (f" and {len(each) - FACES} more" if each[FACES:] else "")
    groups = [row.name("level") or row.text("status").replace("_", " ") for row in rows]
    labels = [f"{kind}: {group}" for group in dict.fromkeys(groups)]
    if "face" in rows[0]:
        labels.append(f"faces: {len(found)}")
    notes = [row.name("reason") for row in rows] if not found else []
    notes += [", ".join(each)] if each[FACES:] else []
    return Tile(
        path,
        (found[0].number("estimate") if found else None,),
        (text or groups[0],),
        labels=(*labels, *_labels(rows[0])),
        note="; ".join(filter(None, dict.fromkeys(notes))),
        place=rows[0].name("to") or None,
    )


def _estimate(row: JsonObject, kind: str, unit: str) -> str:
    """ "34.2 (28 to 41) years", "flawed, 3.73 (2.7 to 4.65) MOS", "1984, by EXIF"."""
    (low, high), level = row.pair("interval"), row.name("level")
    text = _brief(row.number("estimate"))
    if low is not None and high is not None:
        text += f" ({_brief(low)} to {_brief(high)})"
    if level and kind != "age":  # an age's group says less than the age
        text = f"{level}, {text}"
    return f"{text} {unit}".rstrip() + (", by EXIF" if row.name("source") == "exif" else "")


def _brief(value: float) -> str:
    """As the table of these commands has it: three digits, all of a year."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
