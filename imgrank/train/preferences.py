"""Building preference data D_po: a pool, queries and a re-ranker -> matrices of pictures.

The construction is `data/ordering.py`, the file `data/preferences.py` (paper 003, section 2.3).
Here embeddings and scores come from the store or are computed and kept, as a search does, so that a
second build, another grid or other queries compute nothing of a picture again; after Ctrl-C all
that was computed is kept. Unlike the paper, which searches approximately in 75 million pictures and
whose re-ranker is several open models, all cosines are exact and there is one re-ranker, the model
that `search --rerank` asks.

What can change nothing: pictures are taken in the order of their keys, of pictures with the same
content only the first; cosines count to 6 decimals, scores to 7 digits; equal ones keep that order.
So from the same kept embeddings and scores comes the same file, byte for byte. Computed anew on
another device or by another engine, these may differ in their last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.data.ordering import Grid, Matrix, Numbers, arrange, best, ensemble
from imgrank.data.pool import Pool
from imgrank.data.preferences import Preferences, described
from imgrank.errors import DataError
from imgrank.images import ImageFile, Skip
from imgrank.opening import open_store
from imgrank.pipeline import Progress, features_of, score_files
from imgrank.rankers.base import Job
from imgrank.rankers.prompts import PromptRanker
from imgrank.rankers.source import BackboneSource
from imgrank.rankers.words import load_words, words_read
from imgrank.reranking import reranker
from imgrank.settings import Settings
from imgrank.store.digest import digest_file
from imgrank.store.store import Store

__all__ = ["Request", "Said", "build", "check"]

POOLED = "pooled"
AT_ONCE = 4_000_000  # cosines in memory
TEXTS = 256  # queries through the text tower together
FAR = 0.05  # share of the pool; the paper's 241 of 75 million are nowhere near it
LOOKED_AT = 40  # rephrased queries, to tell whether they are cut
Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Said:
    """One query, and how it was really asked."""

    query: str
    rephrased: str


@dataclass(frozen=True, slots=True)
class Request:
    """How preferences are made.

    model: whose cosines retrieve; None: as a search chooses.   rerank: "aesthetic", or a model.
    weight: of its score beside the cosine, both standardised; None: rows are sorted by it alone.
    facts: what else the file shall say of how it was made.
    """

    model: str | None = None
    rerank: str = "aesthetic"
    weight: float | None = None
    grid: Grid = field(default_factory=Grid)
    facts: Mapping[str, Any] | None = None


def check(pool: Pool, request: Request, settings: Settings) -> None:
    """What can be known before a language model is asked for thousands of queries.

    Raises as `build`.
    """
    load_words(request.model, settings)
    reranker(request.rerank, settings)
    request.grid.fitted(len(pool))


def build(
    pool: Pool,
    asked: Sequence[Said],
    request: Request,
    settings: Settings,
    notify: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> Preferences:
    """The matrices of all queries.

    notify: hears what was left out and what was shrunk.
    Raises DataError if too few pictures can be used, ModelUnavailable or UsageError as a search
    does for its models.
    """
    words, job = load_words(request.model, settings), reranker(request.rerank, settings)
    sources = {id(source): source for source in (words.source, job.ranker.source)}
    with open_store(settings, list(sources.values()), notify) as store:
        pictures = _pictures(pool, words.source, job, store, settings, notify, progress)
        grid = request.grid.fitted(len(pictures.keys))
        _say_shrunk(request.grid, grid, len(pictures.keys), notify)
        texts = list(dict.fromkeys(said.rephrased for said in asked))
        embedded = _embedded(words.source, texts)
        _say_cut(words.source, [s.rephrased for s in asked if s.rephrased != s.query], notify)
    row = {text: n for n, text in enumerate(texts)}
    rows = np.array([row[said.rephrased] for said in asked], dtype=np.intp)
    matrix, cosines, values = _matrices(embedded[rows], pictures, grid, request.weight)
    used = np.unique(matrix)
    facts = {
        **_facts(words, job, request, grid),
        **(request.facts or {}),
        "pool": _counted(pictures, pool, used),
    }
    made = Preferences(
        queries=tuple(said.query for said in asked),
        rephrased=tuple(said.rephrased for said in asked),
        pictures=tuple(pictures.paths[n] for n in used),
        keys=tuple(pictures.keys[n] for n in used),
        digests=tuple(pictures.digests[n] for n in used),
        matrix=np.searchsorted(used, matrix),
        cosines=cosines,
        scores=pictures.scores[matrix],
        values=values,
        facts=facts,
    )
    return replace(made, facts=described(made))


# ---- pictures ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class _Pictures:
    """What is known of each picture of the pool that can be used, in the order of their keys.

    scores: float64 [N], of 7 digits.   good: the same, more being better.
    embeddings: float32 [N, E], L2-normalised.
    """

    paths: tuple[Path, ...]
    keys: tuple[str, ...]
    digests: tuple[str, ...]
    scores: Numbers
    good: Numbers
    embeddings: Embeddings


def _pictures(
    pool: Pool,
    source: BackboneSource,
    job: Job,
    store: Store,
    settings: Settings,
    notify: Callable[[str], None],
    progress: Progress | None,
) -> _Pictures:
    """The pictures of a pool with embedding and score; those that lack one are told of."""
    order = sorted(range(len(pool)), key=lambda n: pool.keys[n])
    keys = dict[Path, str]()
    for n in order:
        keys.setdefault(pool.paths[n], pool.keys[n])
    files = [_file(path) for path in keys]
    table = score_files(files, [job], store, threads=settings.threads, progress=progress)
    scores = {
        path: row[0].value
        for path, row in zip(table.paths, table.scores, strict=True)
        if row[0] is not None
    }
    readable = [file for file in files if file.path in scores]
    digests = _digests(readable, store)
    first = dict[str, Path]()
    for file in readable:
        first.setdefault(digests[file.path], file.path)
    kept = [file for file in readable if first[digests[file.path]] == file.path]
    skips = list(table.skips)
    embedded = _pooled(kept, source, store, settings, skips, progress)
    kept = [file for file in kept if file.path in embedded]
    _say_left_out(files, readable, len(first), skips, notify)
    if not kept:
        raise DataError("no picture of the pool can be used.")
    values = np.array([float(f"{scores[file.path]:.7g}") for file in kept])
    pooled = np.stack([embedded[file.path] for file in kept]).astype(np.float32)
    return _Pictures(
        paths=tuple(file.path for file in kept),
        keys=tuple(keys[file.path] for file in kept),
        digests=tuple(digests[file.path] for file in kept),
        scores=values,
        good=values if job.query.descending else -values,
        embeddings=pooled / np.linalg.norm(pooled, axis=1, keepdims=True),
    )


def _file(path: Path) -> ImageFile:
    try:
        return ImageFile.of(path)
    except OSError as error:
        raise DataError(f"{path} of the pool cannot be read: {error.strerror}.") from error


def _digests(files: Sequence[ImageFile], store: Store) -> dict[Path, str]:
    """Hex sha256 of each file: what the store knows by now, else computed."""
    known = store.known_digests(files)
    return {file.path: (known.get(file.path) or digest_file(file.path)).hex() for file in files}


def _pooled(
    files: Sequence[ImageFile],
    source: BackboneSource,
    store: Store,
    settings: Settings,
    skips: list[Skip],
    progress: Progress | None,
) -> dict[Path, npt.NDArray[np.float16]]:
    """Embeddings by path, not normalised; adds to `skips`."""
    known = store.known_digests(files)
    there, matrix = store.feature_matrix(list(set(known.values())), source.identity, POOLED)
    row = {digest: n for n, digest in enumerate(there)}
    found = {path: matrix[row[digest]] for path, digest in known.items() if digest in row}
    missing = [file for file in files if file.path not in found]
    wanted = [(source, frozenset({POOLED}))]
    for outcome in features_of(missing, wanted, store, threads=settings.threads, progress=progress):
        if isinstance(outcome, Skip):
            skips.append(outcome)
        else:
            found[outcome.path] = outcome.features[source.identity][POOLED]
    return found


def _say_left_out(
    files: Sequence[ImageFile],
    readable: Sequence[ImageFile],
    different: int,
    skips: Sequence[Skip],
    notify: Callable[[str], None],
) -> None:
    for skip in skips:
        notify(f"skipped {skip.path}: {skip.reason}")
    skipped = {skip.path for skip in skips}
    if lacking := len({file.path for file in files} - {f.path for f in readable} - skipped):
        notify(f"{lacking} pictures have no score of the re-ranker and are left out")
    if same := len(readable) - different:
        notify(f"{same} pictures have the content of another one and are left out")


# ---- matrices ------------------------------------------------------------------------------------


def _say_shrunk(wanted: Grid, got: Grid, pictures: int, notify: Callable[[str], None]) -> None:
    """Where the grid had to be fitted to the pool, or to `top`."""
    of = f"the best {got.top} pictures" if got.top < pictures else f"a pool of {pictures} pictures"
    if got.stride < wanted.stride:
        notify(
            f"{of}: the stride is {got.stride} instead of {wanted.stride}, so that the rows of a "
            "query differ less in relevance"
        )
    if (wanted.rows, wanted.columns) != (got.rows, got.columns):
        notify(
            f"{of}: a matrix is {got.rows} x {got.columns} instead of {wanted.rows} x "
            f"{wanted.columns}, {got.pairs} pairs a query instead of {wanted.pairs}"
        )
    last = (got.cells - 1) * got.stride + 1
    if got.stride > 1 and last > FAR * pictures:
        notify(
            f"the last picture of a query is number {last} of {pictures} in order of relevance and "
            "may have little to do with it: a smaller stride stays nearer"
        )


def _embedded(source: BackboneSource, texts: Sequence[str]) -> Embeddings:
    """What the text tower gives for each text as it stands, [Q, E], L2-normalised."""
    parts = [source.text_embeddings(texts[n : n + TEXTS]) for n in range(0, len(texts), TEXTS)]
    return np.concatenate(parts).astype(np.float32)


def _say_cut(source: BackboneSource, texts: Sequence[str], notify: Callable[[str], None]) -> None:
    """That rephrased queries are longer than the text tower reads; found out from some of them."""
    some = texts[:: max(1, len(texts) // LOOKED_AT)][:LOOKED_AT]
    read = [number for text in some if (number := words_read(source, text)) is not None]
    if read:
        notify(
            f"{len(read)} of {len(some)} rephrased queries that were looked at are cut: "
            f"{source.spec.name} reads about {round(float(np.mean(read)))} words of them"
        )


def _matrices(
    texts: Embeddings, pictures: _Pictures, grid: Grid, weight: float | None
) -> tuple[Matrix, Numbers, Numbers | None]:
    """Pictures, cosines and, with a weight, values [Q, u, v]; a chunk of queries at a time."""
    size = max(1, AT_ONCE // len(pictures.keys))
    found = [
        _chunk(texts[n : n + size], pictures, grid, weight) for n in range(0, len(texts), size)
    ]
    matrix, cosines, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return matrix, cosines, None if weight is None else values


def _chunk(
    texts: Embeddings, pictures: _Pictures, grid: Grid, weight: float | None
) -> tuple[Matrix, Numbers, Numbers]:
    every: Numbers = np.asarray(texts @ pictures.embeddings.T, np.float64)
    np.round(every, 6, out=every)
    every += 0.0  # no -0
    order = best(every, grid.top)
    cosines: Numbers = np.take_along_axis(every, order, axis=1)  # [Q, K]
    values = pictures.good[order]
    if weight is not None:
        values = ensemble(cosines, values, weight)
    matrix, places = arrange(order, values, grid)
    flat = places.reshape(len(texts), -1)

    def taken(numbers: Numbers) -> Numbers:
        found: Numbers = np.take_along_axis(numbers, flat, axis=1).reshape(matrix.shape)
        return found

    return matrix, taken(cosines), taken(values)


# ---- facts ---------------------------------------------------------------------------------------


def _facts(words: PromptRanker, job: Job, request: Request, grid: Grid) -> dict[str, Any]:
    """How the matrices came about: what a training checks, and its card says."""
    source, answer = words.source, job.answer
    own = source.overrides.digest if source.overrides else None
    trained: Mapping[str, Any] = getattr(job.ranker, "config", {}).get("training", {})
    return {
        "made_by": f"imgrank {version('imgrank')}",
        "model": {
            "name": words.name,
            "backbone": source.spec.name,
            "digest": f"sha256:{source.spec.identity}",
            "checkpoint": f"sha256:{own}" if own else None,
            "identity": source.identity,
        },
        "rerank": {
            "name": job.ranker.name,
            "method": answer.method,
            "prompt": answer.prompt,
            "unit": answer.unit,
            "identity": job.ranker.identity,
            "order": "descending" if job.query.descending else "ascending",
            "trained_on": sorted(trained.get("data", {})),
            "weight": request.weight,
        },
        "top": grid.top,
        "stride": grid.stride,
        "pairs": grid.pairs,
        "wanted": {
            "top": request.grid.top,
            "stride": request.grid.stride,
            "rows": request.grid.rows,
            "columns": request.grid.columns,
        },
    }


def _counted(pictures: _Pictures, pool: Pool, used: npt.NDArray[np.intp]) -> list[dict[str, Any]]:
    """Of each set: how many pictures of which part were searched, and how many are in a matrix."""
    own = dict(zip(pool.keys, zip(pool.of, pool.parts, strict=True), strict=True))
    searched = [own[key] for key in pictures.keys]
    chosen = [searched[n] for n in used]
    return [
        {
            "name": name,
            "folder": name in pool.folders,
            "part": part,
            "pictures": searched.count((name, part)),
            "used": chosen.count((name, part)),
        }
        for name, part in dict.fromkeys(zip(pool.of, pool.parts, strict=True))
    ]
