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
from imgrank.embedding import cosines_of, embeddings
from imgrank.errors import NothingReadable, UsageError
from imgrank.images import ImageFile, Skip
from imgrank.images.scan import require, scan
from imgrank.opening import open_store
from imgrank.rankers.base import Job
from imgrank.rankers.prompts import PromptRanker
from imgrank.rankers.words import load_words, words_read
from imgrank.reranking import reranker
from imgrank.results.ranking import Column, Row, Top, parse_top
from imgrank.results.retrieved import DECIMALS, Asked, by_both, by_cosine
from imgrank.saying import announced, lacking, nothing
from imgrank.scopes import score_all
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

LINE = 300  # characters of a query that are repeated to the user


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
    approximate: bool = False,
    options: Options | None = None,
) -> Found:
    """Pictures that fit a query, best first.

    paths: files or folders (walked recursively).   query: "a dog on a beach"; it goes to the text
    tower as it stands.   like: pictures, wherever they lie; plus, minus: more words; each may end
    in its weight: "at night=0.5".   top: 20, "10%" or None for all.   minimum: of the cosine.
    rerank: "aesthetic", or a model: orders the `rerank_first` best anew, and only these are found.
    rephrased: asked in place of the query, which is still what the results are called by;
    rephrased_by: how that came about.   approximate: by an index (the extra
    "approximate"), which may miss some; for far more than 100,000 pictures.
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
    if approximate:
        from imgrank.vectors.index import require as require_index

        require_index()
    words = load_words(options.model, settings)
    job = None if rerank is None else reranker(rerank, settings)
    asked = Asked(
        query,
        [(term.text, term.weight, term.picture) for term in terms],
        rephrased,
        rephrased_by,
        approximate,
        *((rerank_first, float(rerank_weight)) if job else ()),
    )
    run = _Search(words, typed, terms, asked, job, settings, options)
    return run.found(paths, limit, minimum)


@dataclass(frozen=True, slots=True)
class _Search:
    """One query to one model.

    typed: as the user named it.   terms: what is really asked.   job: of the second stage, if any.
    """

    words: PromptRanker
    typed: Sequence[Term]
    terms: Sequence[Term]
    asked: Asked
    job: Job | None
    settings: Settings
    options: Options

    def found(
        self, paths: PathLike | Iterable[PathLike], limit: Top | None, minimum: float | None
    ) -> Found:
        """Both stages, or the one."""
        options, column = self.options, self._column()
        files, skips = pictures_of(paths, options)
        self._say()
        first = parse_top(str(self.asked.first)) if self.job else limit
        used = [self.source, *([self.job.ranker.source] if self.job else ())]
        sources = list({id(source): source for source in used}.values())
        with open_store(self.settings, sources, options.notify) as store:
            near = cosines_of(
                files,
                self._vector(store),
                self.source,
                store,
                self.settings,
                notify=options.notify,
                progress=options.progress,
                most=first,
                approximate=self.asked.approximate,
            )
            skips += near.skips
            if not near.paths:
                raise NothingReadable(nothing(skips))
            rows = by_cosine(near.paths, near.cosines, top=first, minimum=minimum, of=near.of)
            if not rows:
                best = round(float(near.cosines.max()), DECIMALS)
                options.notify(f"  no picture reaches {minimum:g}; the nearest has {best:g}")
            found = Found(rows, [column], skips, near.computed, near.known, self.asked)
            if self.job is not None:
                found = self._second(found, self.job, limit, files, store)
        for source in sources:
            say_device(options, source)
        return found

    @property
    def source(self) -> BackboneSource:
        return self.words.source

    def _column(self) -> Column:
        """What the cosines are of, as every output names it: cosines to other vectors have another
        name, so that a gallery of several searches keeps them apart."""
        query = self.asked.query
        called = query if query is not None and len(self.typed) == 1 else spelled(self.typed)
        who, prompt = self.words, spelled(self.terms)
        return Column(called, None, "search", who.name, who.revision, prompt, "cosine")

    def _say(self) -> None:
        """What is asked of whom."""
        how = ", approximate" if self.asked.approximate else ""
        what = spelled(self.typed)
        what = what if len(what) <= LINE else f"{what[: LINE - 1]}…"
        self.options.notify(f"{what}: search {self.words.name}{how}")
        if self.asked.rephrased is not None:
            by = f" ({self.asked.by})" if self.asked.by else ""
            self.options.notify(f"  asked as '{self.asked.rephrased}'{by}")

    def _vector(self, store: Store) -> NDArray[Any]:
        """The query, [E] float32, L2-normalised. Raises UsageError if its terms cancel out."""
        import numpy as np

        texts = [term.text for term in self.terms if not term.picture]
        said = dict(zip(texts, self.source.text_embeddings(texts), strict=True)) if texts else {}
        for text in said:
            self._say_cut(text)
        seen = self._likes(store)

        def unit(term: Term) -> NDArray[np.float64]:
            array = (seen if term.picture else said)[term.text].astype(np.float64)
            return array / max(float(np.linalg.norm(array)), 1e-12)

        total: NDArray[np.float64] = np.sum(
            [term.weight * unit(term) for term in self.terms], axis=0
        )
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
        where = self.source, store
        seen: dict[str, NDArray[Any]] = {}
        for name in dict.fromkeys(term.text for term in self.terms if term.picture):
            (item,) = scan([Path(name)])
            found, skips = ({}, [item]) if isinstance(item, Skip) else embeddings([item], *where)
            if skips:
                raise NothingReadable(f"--like {name}: {skips[0].reason}.")
            (seen[name],) = found.values()
        return seen

    def _second(
        self, first: Found, job: Job, limit: Top | None, files: Sequence[ImageFile], store: Store
    ) -> Found:
        """The rows of the first stage, ordered anew together with the scores of a job."""
        weight = self.asked.weight or 0.0
        who, *remarks = announced(job)
        self.options.notify(f"  the first {len(first)} re-ranked, weight {weight:g}, by {who}")
        for remark in remarks:
            self.options.notify(remark)
        if limit and not limit.percent and limit.amount > len(first) == self.asked.first == FIRST:
            self.options.notify("  no others are shown: --rerank-first says how many")
        by_path = {file.path: file for file in files}
        some = [by_path[row.path] for row in first]
        table = score_all(
            some,
            [job],
            store,
            threads=self.settings.threads,
            notify=self.options.notify,
            progress=self.options.progress,
            slow=self.options.slow,
        )
        say_device(self.options, job.ranker)
        column = replace(column_of(job), weight=weight)
        scored = zip(table.paths, table.scores, strict=True)
        cells = {path: cell for path, (cell,) in scored if cell is not None}
        rows = [row for row in first if row.path in cells]
        without = [
            Skip(path, lacking([None], [column])) for path in table.paths if path not in cells
        ]
        if len(first) and not rows:
            raise NothingReadable(nothing([*first.skips, *table.skips], without))
        computed = max(first.computed, table.computed)
        return replace(
            first,
            rows=by_both(rows, [cells[row.path] for row in rows], column, weight, limit),
            columns=[*first.columns, column],
            skips=[*first.skips, *table.skips, *without],
            computed=computed,
            known=first.computed + first.known - computed,
            lacking=len(without),
        )


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
