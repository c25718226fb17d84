"""`search`: pictures by words, or by pictures that they are to be like; over kept embeddings.

    from imgrank import search
    for row in search("photos", "a dog on a beach"): print(row.rank, row.path, row.score)

Every picture's embedding is kept, so that a folder is embedded once and searched often: a search
whose embeddings and words are known opens no picture and imports no torch. What is asked for is one
vector (`terms.py`); the score is its cosine to a picture's embedding. In two stages the first K are
ordered anew, together with a second score (`results/retrieved.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.calls import Options, PathLike, column_of, pictures_of, say_device
from imgrank.errors import NothingReadable, UsageError
from imgrank.images import ImageFile, Skip
from imgrank.images.scan import require, scan
from imgrank.opening import open_store
from imgrank.pipeline import features_of, score_files
from imgrank.rankers.base import Job
from imgrank.rankers.prompts import PromptRanker
from imgrank.rankers.words import load_words, words_read
from imgrank.reranking import reranker
from imgrank.results.ranking import Column, Row, Top, parse_top
from imgrank.results.retrieved import Asked, by_both, by_cosine
from imgrank.saying import announced, lacking, nothing
from imgrank.settings import load_settings
from imgrank.terms import Term, spelled, terms_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgrank.rankers.source import BackboneSource
    from imgrank.settings import Settings
    from imgrank.store.store import Store

__all__ = ["FIRST", "TOP", "WEIGHT", "Found", "search"]

TOP = 20
"""Pictures that are shown if nothing else is said."""

FIRST, WEIGHT = 100, 1.25
"""Of the second stage: how many pictures it orders anew; what its score counts (the paper's)."""

POOLED = frozenset({"pooled"})


@dataclass(frozen=True, slots=True)
class Found(Sequence[Row]):
    """The rows of a search, best first, with the columns they have and the pictures left out.

    asked: how the query was really asked.   computed: pictures that something was computed for.
    lacking: how many of the skips, the last ones, were read but have no second score.
    """

    rows: list[Row]
    columns: list[Column]
    skips: list[Skip]
    computed: int
    known: int
    asked: Asked
    lacking: int = 0

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)


def search(
    paths: PathLike | Iterable[PathLike],
    query: str | None = None,
    *,
    like: PathLike | Sequence[PathLike] = (),
    plus: str | Sequence[str] = (),
    minus: str | Sequence[str] = (),
    top: int | str | None = TOP,
    minimum: float | None = None,
    rerank: str | None = None,
    rerank_first: int = FIRST,
    rerank_weight: float = WEIGHT,
    rephrased: str | None = None,
    rephrased_by: str = "",
    options: Options | None = None,
) -> Found:
    """Pictures that fit a query, best first.

    paths: files or folders (walked recursively).   query: "a dog on a beach"; it goes to the text
    tower as it stands.   like: pictures, wherever they lie; plus, minus: more words; each may end
    in its weight: "at night=0.5".   top: 20, "10%" or None for all.   minimum: of the cosine.
    rerank: "aesthetic", or a model: orders the `rerank_first` best anew, and only these are found.
    rephrased: asked in place of the query, which is still what the results are called by;
    rephrased_by: how that came about.
    Raises UsageError for a missing path or a query that asks for nothing, NothingReadable if no
    picture (or one of `like`) could be read, ModelUnavailable if a model is not here.
    """
    options = options or Options()
    settings = options.settings or load_settings()
    limit = parse_top(str(top)) if top is not None else None
    _check(minimum, rerank_first, rerank_weight, query, rephrased)
    typed = terms_of(query, like, plus, minus)
    terms = typed if rephrased is None else terms_of(rephrased, like, plus, minus)
    for term in terms:
        if term.picture:
            require(Path(term.text))
    words = load_words(options.model, settings)
    job = None if rerank is None else reranker(rerank, settings)
    asked = Asked(
        query,
        [(term.text, term.weight, term.picture) for term in terms],
        rephrased,
        rephrased_by,
        *((rerank_first, float(rerank_weight)) if job else ()),
    )
    run = _Search(words, terms, settings, options)
    column = run.column(query if query is not None else spelled(typed))
    files, skips = pictures_of(paths, options)
    run.say(typed, asked)
    used = [words.source, *([job.ranker.source] if job else ())]
    sources = list({id(source): source for source in used}.values())
    with open_store(settings, sources, options.notify) as store:
        vector = run.vector(store)
        found = run.cosines(files, vector, store)
        skips += found.skips
        if not found.paths:
            raise NothingReadable(nothing(skips))
        first = limit if job is None else parse_top(str(rerank_first))
        rows = by_cosine(found.paths, found.cosines, top=first, minimum=minimum)
        done = Found(rows, [column], skips, found.computed, found.known, asked)
        if job is not None:
            done = _second(done, job, limit, files, store, replace(options, settings=settings))
    for source in sources:
        say_device(options, source)
    return done


@dataclass(slots=True)
class _Cosines:
    """paths: in scan order, those with an embedding; cosines: theirs, [n]."""

    paths: list[Path]
    cosines: NDArray[Any]
    skips: list[Skip]
    computed: int
    known: int


@dataclass(frozen=True, slots=True)
class _Search:
    """One query to one model."""

    words: PromptRanker
    terms: Sequence[Term]
    settings: Settings
    options: Options

    @property
    def source(self) -> BackboneSource:
        return self.words.source

    def column(self, called: str) -> Column:
        """What the cosines are of, as every output names it."""
        who = self.words
        return Column(called, None, "search", who.name, who.revision, spelled(self.terms), "cosine")

    def say(self, typed: Sequence[Term], asked: Asked) -> None:
        """What is asked of whom."""
        self.options.notify(f"{spelled(typed)}: search {self.words.name}")
        if asked.rephrased is not None:
            by = f" ({asked.by})" if asked.by else ""
            self.options.notify(f"  asked as '{asked.rephrased}'{by}")

    def vector(self, store: Store) -> NDArray[Any]:
        """The query, [E] float32, L2-normalised. Raises UsageError if its terms cancel out."""
        import numpy as np

        texts = [term.text for term in self.terms if not term.picture]
        said = dict(zip(texts, self.source.text_embeddings(texts), strict=True)) if texts else {}
        for text in said:
            self._say_cut(text)
        seen = self._likes(store)
        parts = [
            term.weight * (seen if term.picture else said)[term.text].astype(np.float64)
            for term in self.terms
        ]
        total: NDArray[np.float64] = np.sum(parts, axis=0)
        length = float(np.linalg.norm(total))
        if length < 1e-6 * sum(abs(term.weight) for term in self.terms):
            raise UsageError(f"{spelled(self.terms)} cancel each other; nothing is left to find.")
        vector: NDArray[np.float32] = (total / length).astype(np.float32)
        return vector

    def _say_cut(self, text: str) -> None:
        read = words_read(self.source, text)
        if read is not None:
            start = " ".join(text.split()[:3])
            self.options.notify(
                f"  only the first {read} words of '{start} ...' count: {self.words.name} reads no "
                "more at once"
            )

    def _likes(self, store: Store) -> Mapping[str, NDArray[Any]]:
        """Embeddings of the pictures among the terms, by path as named."""
        names = list(dict.fromkeys(term.text for term in self.terms if term.picture))
        found = list(scan(map(Path, names)))
        skips = [item for item in found if isinstance(item, Skip)]
        files = [item for item in found if isinstance(item, ImageFile)]
        seen: dict[Path, NDArray[Any]] = {}
        for outcome in features_of(files, [(self.source, POOLED)], store):
            if isinstance(outcome, Skip):
                skips.append(outcome)
            else:
                seen[outcome.path] = outcome.features[self.source.identity]["pooled"]
        if skips:
            raise NothingReadable(f"--like {skips[0].path}: {skips[0].reason}.")
        return {name: seen[Path(name)] for name in names}

    def cosines(self, files: Sequence[ImageFile], vector: NDArray[Any], store: Store) -> _Cosines:
        """Of every picture that can be read; embeds those that the store does not know."""
        import numpy as np

        values = self._known(files, vector, store)
        missing = [files[i] for i in np.flatnonzero(np.isnan(values)).tolist()]
        known, report = len(files) - len(missing), self.options.progress
        if report:
            report(known, len(files))
        skips, computed, fresh = list[Skip](), 0, dict[Path, float]()
        for outcome in features_of(
            missing,
            [(self.source, POOLED)],
            store,
            threads=self.settings.threads,
            progress=report and (lambda done, _: report(known + done, len(files))),
        ):
            if isinstance(outcome, Skip):
                skips.append(outcome)
                continue
            computed += outcome.computed
            pooled = outcome.features[self.source.identity]["pooled"].astype(np.float64)
            fresh[outcome.path] = float(pooled @ vector / np.linalg.norm(pooled))
        if fresh:  # asked again, so that a second search has the very same cosines
            values = self._known(files, vector, store)
            for i in np.flatnonzero(np.isnan(values)).tolist():  # where nothing can be kept
                values[i] = fresh.get(files[i].path, math.nan)
        there = np.flatnonzero(~np.isnan(values)).tolist()
        paths = [files[i].path for i in there]
        return _Cosines(paths, values[there], skips, computed, len(paths) - computed)

    def _known(
        self, files: Sequence[ImageFile], vector: NDArray[Any], store: Store
    ) -> NDArray[Any]:
        """[n], NaN for a file whose embedding is not kept."""
        import numpy as np

        from imgrank.vectors import cosines

        contents = store.contents(files)
        places = [i for i, digest in enumerate(contents) if digest is not None]
        values = np.full(len(files), np.nan)
        values[places] = cosines(
            vector,
            [digest for digest in contents if digest is not None],
            self.source.identity,
            store,
            self.settings.cache_dir / "vectors",
            self.options.notify,
        )
        return values


def _second(
    first: Found,
    job: Job,
    limit: Top | None,
    files: Sequence[ImageFile],
    store: Store,
    options: Options,
) -> Found:
    """The rows of the first stage, ordered anew together with the scores of a job."""
    weight = first.asked.weight
    assert weight is not None
    _say_second(options, job, len(first), weight)
    by_path = {file.path: file for file in files}
    some = [by_path[row.path] for row in first]
    threads = options.settings.threads if options.settings else None
    table = score_files(some, [job], store, threads=threads, progress=options.progress)
    column = replace(column_of(job), weight=weight)
    cells = {
        path: cell
        for path, (cell,) in zip(table.paths, table.scores, strict=True)
        if cell is not None
    }
    rows = [row for row in first if row.path in cells]
    without = [Skip(path, lacking([None], [column])) for path in table.paths if path not in cells]
    skips = [*first.skips, *table.skips, *without]
    if len(first) and not rows:
        raise NothingReadable(nothing([*first.skips, *table.skips], without))
    computed = max(first.computed, table.computed)
    return replace(
        first,
        rows=by_both(rows, [cells[row.path] for row in rows], column, weight, limit),
        columns=[*first.columns, column],
        skips=skips,
        computed=computed,
        known=first.computed + first.known - computed,
        lacking=len(without),
    )


def _say_second(options: Options, job: Job, first: int, weight: float) -> None:
    who, *remarks = announced(job)
    options.notify(f"  the first {first} re-ranked, weight {weight:g}, by {who}")
    for remark in remarks:
        options.notify(remark)


def _check(
    minimum: float | None, first: int, weight: float, query: str | None, rephrased: str | None
) -> None:
    if minimum is not None and math.isnan(minimum):
        raise UsageError("--min must be a number.")
    if first < 1:
        raise UsageError(f"--rerank-first must be at least 1, not {first}.")
    if not (math.isfinite(weight) and weight >= 0):
        raise UsageError(f"--rerank-weight must be a number from 0, not {weight:g}.")
    if rephrased is not None and query is None:
        raise UsageError("there is no query to rephrase.")
