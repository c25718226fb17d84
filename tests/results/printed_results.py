"""What commands print as JSON, read again: results for the tests of documents and galleries."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from imgrank.results.documents import Results, read
from imgrank.results.estimate import Box, Estimate
from imgrank.results.estimates import Estimator, write_estimates
from imgrank.results.output import write, write_scores
from imgrank.results.ranking import Cell, Column, rank

QUALITY = Column("by quality", "quality", "adapter", "good", "abc", "sort", "MOS", range=(0.0, 5.0))
DATE = Column("by date", "date", "measured", "-", "", "date", "s since 1970")
DOGS = Column("closest to 3 dogs", None, "adapter", "dogs", "", "dogs", "dogs", reference=3.0)
PATHS = [Path("p/a.jpg"), Path("p/b.jpg"), Path("q/c.jpg")]
AGE = Estimator("age", "ages", "def", "l2rclip", "years", faces=True)
DECADE = Estimator("decade", "mine", "abc", "l2rclip", "year", ("1920s", "1930s"), 0.8)


def ranked(
    columns: list[Column], scores: list[list[Cell]], format: Any = "json", **options: Any
) -> Results:
    out = io.BytesIO()
    reverse = options.pop("reverse", False)
    skipped = options.pop("skipped", ())
    near = options.pop("near", None)
    rows = rank(PATHS, columns, scores, reverse=reverse, **options)
    write(rows, columns, format, out, skipped=skipped, reverse=reverse, near=near)
    (results,) = read(out.getvalue(), "order.json")
    return results


def scored(columns: list[Column], scores: list[list[Cell]]) -> Results:
    out = io.BytesIO()
    write_scores(PATHS, columns, scores, "jsonl", out)
    (results,) = read(out.getvalue(), "scores.jsonl")
    return results


def estimated(rows: list[Estimate], model: Estimator, format: Any = "json") -> Results:
    out = io.BytesIO()
    write_estimates(rows, model, format, out)
    (results,) = read(out.getvalue(), "ages.json")
    return results


def cells(*values: float) -> list[list[Cell]]:
    return [[(value, None, None)] for value in values]


BOX = Box(0, 0, 9, 9)
FACES = [
    Estimate(Path("a.jpg"), value=34.56, low=28.125, high=41, level="30-39", face=1, box=BOX),
    Estimate(Path("a.jpg"), value=5, level="0-9", face=2, box=BOX),
    Estimate(Path("b.jpg"), "no_face", reason="no face was found"),
    Estimate(Path("c.jpg"), value=61, level="60-69", face=1, box=BOX),
]


def document(**changed: Any) -> dict[str, Any]:
    out = io.BytesIO()
    write(rank(PATHS, [QUALITY], cells(1, 2, 3)), [QUALITY], "json", out)
    found: dict[str, Any] = json.loads(out.getvalue())
    found["images"][1] |= changed
    return found
