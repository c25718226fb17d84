"""The pool and the queries of `imgrank eval --data beauty-search`: the test parts of several sets.

Queries are the captions of these pictures, word for word, and the names of OASIS's themes. What
belongs together is one cluster, which a bootstrap draws or leaves: a captioned picture and its
captions; an OASIS theme and its pictures. Clusters are drawn within each set, so that every draw
has as many of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgrank.data import catalogue
from imgrank.data.captions import CAPTIONED, read_captioned
from imgrank.data.labelled import ReadOptions
from imgrank.data.oasis import theme
from imgrank.data.pool import Pool, read_pool
from imgrank.data.queries import theme_queries
from imgrank.errors import UsageError
from imgrank.evaluate.resampling import Drawn, draws
from imgrank.evaluate.searched import Asked

__all__ = ["HUMAN", "SETS", "Collection", "Queries", "collect", "splits"]

SETS = ("flickr8k", "coco", "oasis")
HUMAN = "oasis"  # its pictures are rated by people
Places = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Queries:
    """Texts of one kind.

    clusters: [Q], of each.   own: [Q], the picture that a caption describes; None: themes.
    """

    name: str
    texts: tuple[str, ...]
    clusters: Places
    own: Places | None

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: Places, name: str) -> Queries:
        """Some of them, under another name."""
        own = None if self.own is None else self.own[rows]
        return Queries(name, tuple(self.texts[n] for n in rows), self.clusters[rows], own)


@dataclass(frozen=True, eq=False, slots=True)
class Collection:
    """The pictures, ordered by their keys; row n of everything is picture n.

    of: the set of each.   clusters: number of the cluster of each.   sets: the set of each cluster.
    human: mean rating of each, NaN where nobody was asked.
    """

    paths: tuple[Path, ...]
    keys: tuple[str, ...]
    of: tuple[str, ...]
    clusters: Places
    sets: tuple[str, ...]
    human: Floats
    queries: tuple[Queries, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, name: str) -> Places:
        """The pictures of one set."""
        return np.flatnonzero(np.array(self.of) == name)

    def draw(self, rounds: int, seed: int) -> Drawn:
        """[R, C]: how often each round drew each cluster."""
        counts = np.zeros((rounds, len(self.sets)), np.float32)
        for number, name in enumerate(dict.fromkeys(self.sets)):
            some = np.flatnonzero(np.array(self.sets) == name)
            counts[:, some] = draws([f"{n:09d}" for n in some], rounds, seed + 1000 * number)
        return counts

    def only(self, rows: Places) -> Collection:
        """These pictures, and the captions of these; the themes as far as a picture is left."""
        place = np.full(len(self), -1, np.intp)
        place[rows] = np.arange(len(rows))
        left = set(self.clusters[rows].tolist())
        kept = []
        for queries in self.queries:
            stays = [
                n
                for n, cluster in enumerate(queries.clusters.tolist())
                if (cluster in left if queries.own is None else place[queries.own[n]] >= 0)
            ]
            some = queries.select(np.array(stays, np.intp), queries.name)
            own = None if some.own is None else place[some.own]
            kept.append(replace(some, own=own))
        return Collection(
            tuple(self.paths[n] for n in rows),
            tuple(self.keys[n] for n in rows),
            tuple(self.of[n] for n in rows),
            self.clusters[rows],
            self.sets,
            self.human[rows],
            tuple(queries for queries in kept if len(queries)),
        )


def collect(asked: Asked) -> Collection:
    """Reads the sets of `asked.pool`, one part of each.

    Raises DataError as the sets' readers do, UsageError if there is nothing to ask.
    """
    names = list(asked.pool or SETS)
    options = ReadOptions(partial=asked.partial, report=asked.notify)
    pool = read_pool(names, asked.root, options).part(asked.part)
    pool = pool.select(sorted(range(len(pool)), key=lambda n: pool.keys[n]))
    named = [
        f"{of}/{theme(path.stem)}" if of == HUMAN else key
        for of, path, key in zip(pool.of, pool.paths, pool.keys, strict=True)
    ]
    distinct = {name: number for number, name in enumerate(dict.fromkeys(named))}
    clusters = np.array([distinct[name] for name in named], np.intp)
    sets = tuple(dict(zip(named, pool.of, strict=True)).values())
    queries = [_captions(asked, name, pool, clusters) for name in names if name in CAPTIONED]
    queries += [_themes(asked, pool, clusters)] if HUMAN in pool.of else []
    queries = [each for each in queries if len(each)]
    if not queries:
        raise UsageError(
            f"nothing to ask of the {asked.part} part of {', '.join(map(str, names))}: it has no "
            f"caption and no theme. A pool needs one of {', '.join((*CAPTIONED, HUMAN))}."
        )
    human = _human(asked, pool)
    return Collection(pool.paths, pool.keys, pool.of, clusters, sets, human, tuple(queries))


def _captions(asked: Asked, name: str, pool: Pool, clusters: Places) -> Queries:
    """Every caption, as it stands, of the pictures of one set."""
    data = read_captioned(name, asked.root, ReadOptions(partial=asked.partial))
    said = dict(zip(data.keys, data.captions, strict=True))
    pairs = [(n, text) for n, key in enumerate(pool.keys) for text in said.get(key, ())]
    own = np.array([n for n, _ in pairs], np.intp)
    return Queries(f"captions of {name}", tuple(text for _, text in pairs), clusters[own], own)


def _themes(asked: Asked, pool: Pool, clusters: Places) -> Queries:
    first: dict[int, Path] = {}
    for n, of in enumerate(pool.of):
        if of == HUMAN:
            first.setdefault(int(clusters[n]), pool.paths[n])
    names = {cluster: theme_queries([path], asked.part) for cluster, path in first.items()}
    found = [(cluster, texts[0]) for cluster, texts in names.items() if texts]
    numbers = np.array([cluster for cluster, _ in found], np.intp)
    return Queries("theme names", tuple(text for _, text in found), numbers, None)


def _human(asked: Asked, pool: Pool) -> Floats:
    found = np.full(len(pool), np.nan)
    if HUMAN in pool.of:
        data = catalogue.read(HUMAN, asked.root, ReadOptions(partial=asked.partial))
        rated = dict(zip(data.keys, data.labels[0].values.tolist(), strict=True))
        found = np.array([rated.get(key, np.nan) for key in pool.keys], np.float64)
    return found


def splits(names: Sequence[str]) -> str:
    """The splits of the sets, one line."""
    entry = {"coco": "coco-captions"}
    return "; ".join(f"{name}: {catalogue.about(entry.get(name, name)).split}" for name in names)
