"""Recall on captioned pictures: is a picture found by what people said of it, and the reverse?

    imgrank eval --data flickr8k|coco-captions|captions --root DATA --model MODEL

Text to image: share of the captions whose picture is among the first k of all pictures of the
part. Image to text: share of the pictures of which a caption is among the first k of all captions.
What is as close as the right one is taken to stand before it. A caption is asked as it stands. In
the bootstrap pictures are drawn, and the captions of one picture stay together; the pool stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imgrank.data.captions import Captioned, read_captioned
from imgrank.data.catalogue import about
from imgrank.data.labelled import ReadOptions
from imgrank.errors import UsageError
from imgrank.evaluate.published import figures_of
from imgrank.evaluate.recall import AT_ONCE, nearest, over_clusters
from imgrank.evaluate.resampling import Drawn, draws
from imgrank.evaluate.searched import Asked, Figure, Found, Line, Sheet, differences, plain_table
from imgrank.evaluate.searchers import searchers, see
from imgrank.settings import Settings

__all__ = ["caption_places", "evaluate"]

RECALLS = (1, 5, 10)
TEXT_TO_IMAGE, IMAGE_TO_TEXT = "text to image", "image to text"
PAPER_NOTE = "its pictures are others, for COCO 5,000 that Karpathy chose"
Matrix = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]


def evaluate(asked: Asked, settings: Settings) -> Found:
    """Raises DataError if the set is not here, UsageError if the part is empty or a model cannot
    search; as `load_words` does for models that are not here."""
    data = read_captioned(
        asked.data, asked.root, ReadOptions(partial=asked.partial, report=asked.notify)
    )
    rows = data.rows(asked.part)
    if not len(rows):
        counts = {part: data.parts.count(part) for part in ("train", "validation", "test")}
        shown = ", ".join(f"{part} {n}" for part, n in counts.items() if n)
        raise UsageError(
            f"{asked.data} has nothing in its {asked.part} part. Pictures by part: {shown}."
        )
    texts, own = _captions(data, rows)
    asked.notify(f"{asked.data}, {asked.part} part: {len(rows)} pictures, {len(texts)} captions")
    models = searchers(asked.models, settings)
    unique = list(dict.fromkeys(texts))
    seen = see([data.paths[n] for n in rows], unique, models, asked, settings)
    place = np.full(len(rows), -1, np.intp)  # of those that could be read
    place[seen.rows] = np.arange(len(seen.rows))
    kept = np.flatnonzero(place[own] >= 0)
    own = place[own[kept]]
    number = {text: n for n, text in enumerate(unique)}
    chosen = [number[texts[n]] for n in kept]
    drawn = draws([f"{n:09d}" for n in range(len(seen.rows))], asked.rounds, asked.seed)
    found = [_places(seen.texts[m][chosen], seen.pictures[m], own) for m in range(len(models))]
    names = [model.name for model in models]
    sheets = [
        _sheet(TEXT_TO_IMAGE, names, [each[0] for each in found], own, drawn, len(seen.rows)),
        _sheet(
            IMAGE_TO_TEXT,
            names,
            [each[1] for each in found],
            np.arange(len(seen.rows)),
            drawn,
            len(seen.rows),
            _any_caption(own, len(seen.rows)),
        ),
    ]
    table = plain_table(
        asked,
        [model.plain() for model in models],
        sheets,
        split=about(asked.data).split,
        paper=figures_of(asked.data, [TEXT_TO_IMAGE]),
        paper_note=PAPER_NOTE,
        skips=seen.skips,
    )
    return Found(table, seen.skips, seen.computed, seen.known)


def caption_places(texts: Matrix, pictures: Matrix, own: Places) -> Places:
    """texts [T, E], pictures [N, E], the picture of each text [T] -> [N]: how many captions of
    others are as close to a picture as the closest of its own, or closer."""
    found = np.zeros(len(pictures), np.intp)
    step = max(1, AT_ONCE // max(1, len(texts)))
    for start in range(0, len(pictures), step):
        cosines = np.round(pictures[start : start + step] @ texts.T, 6)
        mine = own[None, :] == np.arange(start, start + len(cosines))[:, None]
        best = np.where(mine, cosines, -np.inf).max(axis=1, keepdims=True)
        found[start : start + step] = ((cosines >= best) & ~mine).sum(axis=1)
    return found


def _captions(data: Captioned, rows: Places) -> tuple[list[str], Places]:
    """All captions of these rows; the place of each one's picture among the rows."""
    pairs = [(place, text) for place, n in enumerate(rows) for text in data.captions[n]]
    return [text for _, text in pairs], np.array([place for place, _ in pairs], np.intp)


def _places(texts: Matrix, pictures: Matrix, own: Places) -> tuple[Places, Places]:
    """Of every caption's picture; of every picture's first caption."""
    by_text = nearest(texts, pictures, 1, own).own
    assert by_text is not None
    return by_text, caption_places(texts, pictures, own)


def _any_caption(own: Places, n: int) -> dict[int, float]:
    """k -> share of the pictures of which a random order of captions has one among its first k."""
    counts, total = np.bincount(own, minlength=n).astype(np.float64), len(own)
    missed, shares = np.ones(n), {}
    for k in range(1, max(RECALLS) + 1):  # the k-th is none of the picture's, nor were those before
        missed *= np.clip((total - counts - (k - 1)) / max(1, total - (k - 1)), 0, 1)
        shares[k] = float(1 - missed.mean())
    return shares


def _sheet(
    name: str,
    models: Sequence[str],
    places: Sequence[Places],
    clusters: Places,
    drawn: Drawn,
    n: int,
    chance: dict[int, float] | None = None,
) -> Sheet:
    """places: of each model, of every query.   clusters: the picture of every query."""
    lines = [
        Line(
            "model",
            model,
            {f"recall@{k}": _figure(place < k, clusters, drawn) for k in RECALLS},
        )
        for model, place in zip(models, places, strict=True)
    ]
    by_chance = {f"recall@{k}": Figure(chance[k] if chance else min(1.0, k / n)) for k in RECALLS}
    lines += [*differences(lines), Line("chance", "any order", by_chance)]
    return Sheet(name, "", len(clusters), n, lines)


def _figure(hits: npt.NDArray[np.bool_], clusters: Places, drawn: Drawn) -> Figure:
    values = hits.astype(np.float64)
    return Figure(float(values.mean()), over_clusters(values, clusters, drawn))
