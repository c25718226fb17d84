"""HPIR, human preference of image retrieval: 150 queries, two groups of five pictures each.

Zhang et al., Aligning Vision Models with Human Aesthetics in Retrieval (2024), section 3.1. About
thirty people said of each query which group is the more accurate, the more aesthetic and the more
diverse one. The answer of most of them is the golden label; of n_pos who gave it and n_neg who did
not, its confidence is

    w = 2 n_pos / (n_pos + n_neg) - 1.

The authors' files were not seen: no place where they are published was found. What is known is the
annotation of one query (Figure 14); so the layout here is ours, around annotations of that form.
`labels.json` is a list of queries (or `labels.jsonl`, one a line):

    {"query": "vintage airplane collection",
     "A": ["images/1.jpg", ...], "B": ["images/6.jpg", ...],
     "Accuracy": {"human labels": ["A", "B", ...],
                  "golden label": {"label": "B", "confidence": 0.25}},
     "Aesthetic": {"human labels": ["B", "B", ...]},
     "Diversity": {"golden label": {"label": "A", "confidence": 0.0625}}}

A, B: pictures, relative to the file.   An aspect has people's labels, or the golden one, or both;
then both must say the same. An aspect that a query lacks does not count for it. Labels that are
tied have confidence 0, and so no weight.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from imgrank.data.labelled import About, ReadOptions, present
from imgrank.data.layout import read_text
from imgrank.errors import DataError

__all__ = ["ABOUT", "ASPECTS", "Golden", "Group", "Groups", "read"]

Group = Literal["A", "B"]
FILES = ("labels.json", "labels.jsonl")
ASPECTS = {"accuracy": "Accuracy", "aesthetics": "Aesthetic", "diversity": "Diversity"}
"""Our names of what people were asked, and the annotations'."""

ABOUT = About(
    title="HPIR: which of two groups of pictures people prefer for a query",
    paper="Zhang et al., Aligning Vision Models with Human Aesthetics in Retrieval, 2024",
    source="its authors (no place where they publish it was found)",
    licence="",
    layout="labels.json: a list of {query, A, B, Accuracy, Aesthetic, Diversity}\n"
    "images/*.jpg, named in A and B from that file",
    split="all test",
    queries="accuracy, aesthetics, diversity: the better group",
    note="150 queries with two groups of five pictures; the form is told in imgrank/data/hpir.py.",
)
CLOSE = 0.006  # a confidence may be rounded to two decimals


@dataclass(frozen=True, slots=True)
class Golden:
    """What most people said.   weight: the confidence w, 0 to 1."""

    label: Group
    weight: float


@dataclass(frozen=True, slots=True)
class Groups:
    """One query. pictures: of group A, of group B.   golden: by aspect, in our names."""

    query: str
    pictures: tuple[tuple[Path, ...], tuple[Path, ...]]
    golden: Mapping[str, Golden]


def read(root: Path, options: ReadOptions) -> list[Groups]:
    """All queries.

    Raises DataError if the file is missing or not of the form above, if a label contradicts the
    votes, or (unless `options.partial`) if a picture is missing; a query of which one group is
    missing altogether is left out and reported.
    """
    file = next((root / name for name in FILES if (root / name).is_file()), None)
    if file is None:
        raise DataError(f"{root} holds neither {' nor '.join(FILES)}: where are the labels?")
    found = [_groups(file, where, record) for where, record in _records(file)]
    if not found:
        raise DataError(f"{file} holds no query.")
    paths = [path for each in found for group in each.pictures for path in group]
    there = {paths[n] for n in present("hpir", paths, options)}
    kept = []
    for each in found:
        a, b = (tuple(path for path in group if path in there) for group in each.pictures)
        if a and b:
            kept.append(Groups(each.query, (a, b), each.golden))
        else:
            options.report(f"hpir: {each.query!r} is left out: a group of it is missing")
    return kept


def confidence(n_pos: int, n_neg: int) -> float:
    """w = 2 n_pos / (n_pos + n_neg) - 1, equation 10."""
    return 2 * n_pos / (n_pos + n_neg) - 1


def _records(file: Path) -> Iterator[tuple[str, Any]]:
    """(where, record) of each query."""
    text = read_text(file)
    try:
        if file.suffix == ".jsonl":
            for number, line in enumerate(text.splitlines(), start=1):
                if line.strip():
                    yield f"{file}, line {number}", json.loads(line)
            return
        records = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{file} is no JSON: {error}.") from error
    if not isinstance(records, list):
        raise DataError(f"{file} is no list of queries.")
    for number, record in enumerate(records, start=1):
        yield f"{file}, query {number}", record


def _groups(file: Path, where: str, record: Any) -> Groups:
    if not isinstance(record, Mapping):
        raise DataError(f"{where}: no object.")
    query = record.get("query")
    if not isinstance(query, str) or not query.strip():
        raise DataError(f"{where}: no query.")
    pictures = []
    for group in get_args(Group):
        names = record.get(group)
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            raise DataError(f"{where}: {group} is no list of pictures.")
        pictures.append(tuple(file.parent / name for name in names))
    golden = {
        ours: _golden(f"{where}: {theirs}", record[theirs])
        for ours, theirs in ASPECTS.items()
        if theirs in record
    }
    if not golden:
        raise DataError(f"{where}: none of {', '.join(ASPECTS.values())}.")
    return Groups(query.strip(), (pictures[0], pictures[1]), golden)


def _golden(where: str, aspect: Any) -> Golden:
    """Of the votes, else as it is given; both must agree."""
    told = aspect if isinstance(aspect, Mapping) else {}
    given = _given(where, told.get("golden label"))
    votes = told.get("human labels")
    if votes is None:
        if given is None:
            raise DataError(f"{where} has neither 'human labels' nor a 'golden label'.")
        return given
    if not isinstance(votes, list) or not votes or any(v not in get_args(Group) for v in votes):
        raise DataError(f"{where}: 'human labels' is no list of A and B.")
    a, b = votes.count("A"), votes.count("B")
    label: Group = "A" if a >= b else "B"
    counted = Golden(label, confidence(max(a, b), min(a, b)))
    if given is None:
        return counted
    other = given.label != label and a != b
    if other or abs(given.weight - counted.weight) > CLOSE:
        raise DataError(
            f"{where}: the golden label is {given.label} with {given.weight:g}, but {a} of "
            f"{len(votes)} people said A and {b} B, which is {label} with {counted.weight:.4g}."
        )
    return counted


def _given(where: str, golden: Any) -> Golden | None:
    if golden is None:
        return None
    label = golden.get("label") if isinstance(golden, Mapping) else None
    weight = golden.get("confidence") if isinstance(golden, Mapping) else None
    if label != "A" and label != "B":
        raise DataError(f"{where}: the golden label is {label!r}, neither A nor B.")
    if not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise DataError(f"{where}: the confidence is {weight!r}, no number from 0 to 1.")
    return Golden(label, float(weight))
