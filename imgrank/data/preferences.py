"""Preference data D_po: for each query a matrix of pictures, and the file that holds it.

Zhang et al., Aligning Vision Models with Human Aesthetics in Retrieval (2024), section 2.3 and
figure 4. Of the pool's best K pictures for the REPHRASED query every stride-th is taken until
there are u x v, laid row by row into a matrix, and each row is sorted by a re-ranker. So every row
is in order of beauty, every column in order of meaning, and each of these u + v sequences gives all
its pairs (preferred, other): u C(v, 2) + v C(u, 2), which is 100 for 5 x 5.

The file is JSON lines, to be looked at and moved: no path of a machine is in it.

    {"format": 1, "kind": "preferences", "queries": Q, "pictures": P, "rows": u, "columns": v, ...}
    {"picture": "oasis/Cat_1.jpg", "sha256": "..."}                              P such lines
    {"query": "...", "rephrased": "...", "pictures": [[key, ...], ...],          Q such lines
     "cosine": [[...], ...], "score": [[...], ...], "value": [[...], ...]}

cosine: of the rephrased query and each picture.   score: the re-ranker's.   value: what rows are
sorted by, where that is not the score. The first line also says how all of it was made: which
model, re-ranker, pool, part, rephrasing. A picture is found by its set's reader below any root.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imgrank.data.layout import read_text
from imgrank.data.locating import locate
from imgrank.data.ordering import Grid, Matrix, Numbers, arrange, order_pairs
from imgrank.errors import DataError

__all__ = [
    "FORMAT",
    "Grid",
    "Preferences",
    "arrange",
    "described",
    "lines",
    "order_pairs",
    "read_preferences",
]

FORMAT = 1
LARGEST = 1e30  # a number beyond it is none that was written here


@dataclass(frozen=True, eq=False)
class Preferences:
    """What a preference file holds. Q queries, P pictures, u rows, v columns.

    pictures: [P] where each picture is; () if no root was given.   keys: [P] its name.
    digests: [P] hex sha256 of its file.   matrix: int [Q, u, v], into pictures.
    cosines, scores: float64 [Q, u, v].   values: what rows are sorted by; None: the scores.
    facts: the first line: how it was made.
    """

    queries: tuple[str, ...]
    rephrased: tuple[str, ...]
    pictures: tuple[Path, ...]
    keys: tuple[str, ...]
    digests: tuple[str, ...]
    matrix: Matrix
    cosines: Numbers
    scores: Numbers
    values: Numbers | None
    facts: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.queries)


def described(preferences: Preferences) -> dict[str, Any]:
    """The first line of the file: what it is, its sizes, then the other facts."""
    count, u, v = preferences.matrix.shape
    head = {
        "format": FORMAT,
        "kind": "preferences",
        "queries": count,
        "pictures": len(preferences.keys),
        "rows": u,
        "columns": v,
    }
    return {**head, **{k: x for k, x in preferences.facts.items() if k not in head}}


def lines(preferences: Preferences) -> Iterator[str]:
    """The lines of the file, without their ends."""
    keys = np.array(preferences.keys, dtype=object)
    yield _json(described(preferences))
    for key, digest in zip(preferences.keys, preferences.digests, strict=True):
        yield _json({"picture": key, "sha256": digest})
    for n in range(len(preferences)):
        line: dict[str, Any] = {
            "query": preferences.queries[n],
            "rephrased": preferences.rephrased[n],
            "pictures": keys[preferences.matrix[n]].tolist(),
            "cosine": preferences.cosines[n].tolist(),
            "score": preferences.scores[n].tolist(),
        }
        if preferences.values is not None:
            line["value"] = preferences.values[n].tolist()
        yield _json(line)


def read_preferences(path: Path, root: Path | None = None) -> Preferences:
    """A preference file; with `root`, also where its pictures are, proved by their digests.

    root: the folder that holds the sets of the pool, and folders of yours, under their names.
    Raises DataError for a file that is none, torn, inconsistent or of a later version, and for
    pictures that are missing or not the same any more.
    """
    *texts, rest = read_text(path).split("\n")  # a query may hold other ends of lines
    facts = _head(path, texts)
    count, number = facts["queries"], facts["pictures"]
    if rest:
        raise DataError(f"{path}, line {len(texts) + 1} is cut off. Make or copy it again.")
    if len(texts) != 1 + number + count:
        raise DataError(
            f"{path} has {len(texts)} lines, and {1 + number + count} by its first: {number} "
            f"pictures and {count} queries. Make or copy it again."
        )
    listed = [_Line(path, n, text) for n, text in enumerate(texts[1 : 1 + number], start=2)]
    keys = tuple(line.text("picture") for line in listed)
    digests = tuple(line.text("sha256") for line in listed)
    for line in listed:
        line.only("picture", "sha256")
    row = {key: n for n, key in enumerate(keys)}
    if len(row) != number:
        raise DataError(f"{path} lists a picture twice.")
    asked = [_Line(path, n, text) for n, text in enumerate(texts[1 + number :], start=2 + number)]
    matrix, cosines, scores, values = _matrices(asked, row, facts["rows"], facts["columns"])
    return Preferences(
        queries=tuple(line.text("query") for line in asked),
        rephrased=tuple(line.text("rephrased") for line in asked),
        pictures=() if root is None else locate(keys, digests, facts.get("pool", ()), root, path),
        keys=keys,
        digests=digests,
        matrix=matrix,
        cosines=cosines,
        scores=scores,
        values=values,
        facts=facts,
    )


def _head(path: Path, texts: Sequence[str]) -> dict[str, Any]:
    """The first line, whose counts are whole numbers. Raises DataError."""
    try:
        facts = json.loads(texts[0]) if texts else None
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or facts.get("kind") != "preferences":
        raise DataError(f"{path} is no preference file: `imgrank data preferences` makes one.")
    if facts.get("format") != FORMAT:
        raise DataError(
            f"{path} is of format {facts.get('format')}, and this version knows {FORMAT}. Upgrade "
            "imgrank, or make it again."
        )
    for name, least in (("queries", 1), ("pictures", 2), ("rows", 1), ("columns", 1)):
        value = facts.get(name)
        if type(value) is not int or value < least:
            raise DataError(f"{path}, line 1: {name} is {value!r}, no number from {least} up.")
    if facts["rows"] * facts["columns"] < 2:
        raise DataError(f"{path}, line 1: a matrix of one picture holds no preference.")
    pool = facts.get("pool", [])
    if not isinstance(pool, list) or not all(
        isinstance(each, dict) and isinstance(each.get("name"), str) for each in pool
    ):
        raise DataError(f"{path}, line 1: pool is no list of sets.")
    return facts


@dataclass(frozen=True, slots=True)
class _Line:
    """One line after the first; what it lacks is a DataError that names it."""

    path: Path
    number: int
    raw: str
    fields: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        try:
            found = json.loads(self.raw)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self.wrong("no line of a preference file")
        object.__setattr__(self, "fields", found)

    def wrong(self, what: str) -> DataError:
        return DataError(f"{self.path}, line {self.number}: {what}.")

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(f"{name} is {value!r}, no text")
        return value

    def only(self, *known: str) -> None:
        if unknown := [name for name in self.fields if name not in known]:
            raise self.wrong(f"an unknown field {', '.join(unknown)}; a later version may know it")

    def cells(self, name: str, u: int, v: int) -> list[Any]:
        """The u x v values of a matrix, row by row."""
        rows = self.fields.get(name)
        if (
            not isinstance(rows, list)
            or len(rows) != u
            or not all(isinstance(row, list) and len(row) == v for row in rows)
        ):
            raise self.wrong(f"{name} is no matrix of {u} rows and {v} columns")
        return [cell for row in rows for cell in row]

    def numbers(self, name: str, u: int, v: int) -> list[float]:
        cells = self.cells(name, u, v)
        if not all(type(cell) in (float, int) and -LARGEST < cell < LARGEST for cell in cells):
            raise self.wrong(f"{name} holds what is no number")
        return cells


def _matrices(
    asked: Sequence[_Line], row: Mapping[str, int], u: int, v: int
) -> tuple[Matrix, Numbers, Numbers, Numbers | None]:
    """Pictures, cosines, scores and values [Q, u, v] of all queries. Raises DataError."""
    valued = "value" in asked[0].fields
    names = ("cosine", "score", *(("value",) if valued else ()))
    matrix = np.empty((len(asked), u * v), dtype=np.intp)
    numbers = np.empty((len(names), len(asked), u * v))
    for n, line in enumerate(asked):
        line.only("query", "rephrased", "pictures", *names)
        keys = line.cells("pictures", u, v)
        if unknown := [key for key in keys if not isinstance(key, str) or key not in row]:
            raise line.wrong(f"a picture that is not listed: {unknown[0]!r}")
        if len(set(keys)) != u * v:
            raise line.wrong("a picture stands twice in one matrix")
        matrix[n] = [row[key] for key in keys]
        for m, name in enumerate(names):
            numbers[m, n] = line.numbers(name, u, v)
    cosines, scores, *others = numbers.reshape(len(names), len(asked), u, v)
    values = others[0] if valued else scores
    for bad, what in (
        ((np.diff(values, axis=2) > 0).any((1, 2)), f"a row is not sorted by its {names[-1]}s"),
        ((cosines[:, 1:].max(2) > cosines[:, :-1].min(2)).any(1), "rows out of order of cosine"),
    ):
        if bad.any():
            raise asked[int(bad.argmax())].wrong(what)
    return matrix.reshape(-1, u, v), cosines, scores, values if valued else None


def _json(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, allow_nan=False)
