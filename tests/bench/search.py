"""Time of `imgrank search` over known pictures, part by part; exact and approximate.

    python tests/bench/search.py whole [--count 100000] [--width 384] [--rounds 5] [--approximate]
    python tests/bench/search.py recall [--real STORE] [--count 100000]
    python tests/bench/search.py product [--count 1000000] [--width 384] [--index]

* whole: made-up files (a few bytes each, 1,000 a folder) and embeddings of the embedded backbone,
  all known, in a temporary IMGRANK_HOME. Each search is a process of its own; parts in wall and CPU
  seconds, the median of the rounds. `first` makes the mirror (with --approximate: the index).
* recall: of the index against exact search, @10 and @100, on random embeddings and on realistic
  ones: those of real pictures, kept by `imgrank index` in the store named, and points around them
  (half of the way, at most, from one to another of its 20 nearest, then noise of a tenth).
* product: product and index alone, without files and without a store.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

Parts = tuple[float, float]
START = ("python", "imports", "folder walk")
QUERY = "a dog on a beach"

CHILD = """
import json, sys, time
begun, started = time.time(), time.process_time()
from imgrank.cli import main
import imgrank.calls, imgrank.cli.search, imgrank.searching, imgrank.embedding
import imgrank.vectors.cosines, imgrank.vectors.mirror, imgrank.store.store
cpu = time.process_time()
parts = {
    "python": (begun - float(sys.argv.pop(1)), started),
    "imports": (time.time() - begun, cpu - started),
}
def timed(holder, name, part):
    real = getattr(holder, name)
    def call(*given, **named):
        start, used = time.time(), time.process_time()
        try:
            return real(*given, **named)
        finally:
            wall, cpu = parts.get(part, (0, 0))
            parts[part] = wall + time.time() - start, cpu + time.process_time() - used
    setattr(holder, name, call)
timed(imgrank.searching, "pictures_of", "folder walk")
timed(imgrank.store.store.Store, "contents", "digests of files")
for name in ("cosines", "known", "nearest"):
    timed(imgrank.vectors.cosines, name, "cosines")
timed(imgrank.searching, "by_cosine", "rank")
try:
    main()
finally:
    done = [sum(both) for both in zip(*parts.values())]
    wall = time.time() - begun + parts["python"][0]
    parts["the rest"] = wall - done[0], time.process_time() - done[1]
    print("\\n" + json.dumps(parts), file=sys.stderr)
"""


def whole(count: int, width: int, rounds: int, approximate: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="imgrank-search-") as place:
        home, photos = Path(place, "home"), Path(place, "photos")
        seed(home, photos, count, width)
        print(f"{count:,} known pictures, width {width}")
        ways = [("exact", [])] + [("approximate", ["--approximate"])] * approximate
        for way, flags in ways:
            table(f"{way}, first", [search(home, photos, flags)])
            table(f"{way}, later", [search(home, photos, flags) for _ in range(rounds)])
        for path in sorted((home / "cache").rglob("*")):
            if path.is_file() and path.stat().st_size > 1e6:
                print(f"  {path.stat().st_size / 1e6:8.1f} MB {path.name}")


def seed(home: Path, photos: Path, count: int, width: int) -> None:
    """Files, and a store that knows them, their embeddings and the query."""
    from imgrank.images import ImageFile
    from imgrank.images.scan import scan
    from imgrank.rankers.load import load_source
    from imgrank.settings import load_settings
    from imgrank.store.store import Batch, FeatureRow, FileRow, Store

    for i in range(count):
        folder = photos / f"{i // 1000:04d}"
        if i % 1000 == 0:
            folder.mkdir(parents=True)
        (folder / f"IMG_{i:07d}.jpg").write_bytes(b"%d" % i)
    settings = load_settings(home=home)
    source = load_source(None, settings)
    files = [found for found in scan([photos]) if isinstance(found, ImageFile)]
    rng = np.random.default_rng(0)
    with Store(settings.store_path) as store:
        for start in range(0, count, 5000):
            some = files[start : start + 5000]
            digests = [hashlib.sha256(file.path.name.encode()).digest() for file in some]
            features = []
            for digest, vector in zip(digests, unit(rng, len(some), width), strict=True):
                features.append(FeatureRow(digest, source.identity, "pooled", vector))
                statistics_ = np.zeros(768, np.float16)
                features.append(FeatureRow(digest, source.identity, "statistics", statistics_))
            rows = [FileRow(file, digest) for file, digest in zip(some, digests, strict=True)]
            store.put(Batch(files=rows, features=features))
        query = unit(rng, 1, width)[0].astype(np.float32)
        store.put_text(source.text_identity, "embedding", QUERY, query)


def search(home: Path, photos: Path, flags: list[str]) -> dict[str, Parts]:
    """Wall and CPU seconds of a process of its own, by part."""
    env = {**os.environ, "IMGRANK_HOME": str(home), "IMGRANK_ENGINE": "torch"}
    command = [sys.executable, "-c", CHILD, repr(time.time())]
    done = subprocess.run(
        [*command, "search", str(photos), QUERY, *flags], env=env, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    said = done.stderr.strip().splitlines()
    if any(line.startswith("exact: ") for line in said):
        print("\n".join(said[:-1]))
    parts: dict[str, Parts] = json.loads(said[-1])
    return parts


def table(title: str, found: list[dict[str, Parts]]) -> None:
    print(f" {title} (median of {len(found)})      wall     CPU")
    for one in found:
        late = [seconds for part, seconds in one.items() if part not in START]
        every = list(one.values())
        one["all"] = sum(wall for wall, _ in every), sum(cpu for _, cpu in every)
        one["all after the walk"] = sum(wall for wall, _ in late), sum(cpu for _, cpu in late)
    for part in found[0]:
        wall, cpu = (statistics.median(one[part][i] for one in found) for i in (0, 1))
        print(f"  {part:33} {wall:8.3f} {cpu:7.3f} s")


def unit(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    values = rng.standard_normal((count, width), dtype=np.float32)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)


# ---- the index, without files --------------------------------------------------------------------


def realistic(real: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[count, E]: the real ones, and points around them; see the module."""
    near = np.argsort(-(real @ real.T), axis=1)[:, 1:21]
    made = [real]
    while sum(map(len, made)) < count:
        which = rng.integers(0, len(real), 10_000)
        other = near[which, rng.integers(0, 20, len(which))]
        share = rng.uniform(0, 0.5, (len(which), 1))
        noise = 0.1 * unit(rng, len(which), real.shape[1]).astype(np.float32)
        made.append((1 - share) * real[which] + share * real[other] + noise)
    some = np.concatenate(made)[:count]
    return (some / np.linalg.norm(some, axis=1, keepdims=True)).astype(np.float16)


def mirrored(place: Path, vectors: np.ndarray) -> Any:
    """A mirror of made-up rows."""
    from imgrank.vectors import mirror

    rows = np.zeros(len(vectors), mirror.ROW)
    rows["id"] = rows["kept"] = np.arange(1, len(vectors) + 1)
    rows["length"] = 1
    vectors.tofile(place / "made.vectors")
    rows.tofile(place / "made.rows")
    facts = ("made", "made", 1, 0, len(vectors), "<f2", vectors.shape[1], len(vectors), "made")
    return mirror._mapped(place, mirror.About(*facts))


def compare(name: str, vectors: np.ndarray, queries: np.ndarray) -> None:
    import imgrank.vectors.index as vector_index
    from imgrank.vectors.cosines import _products

    with tempfile.TemporaryDirectory(prefix="imgrank-search-") as place:
        of = mirrored(Path(place), vectors)
        begun, used = time.perf_counter(), time.process_time()
        index = vector_index.open_index(of, lambda text: None)
        print(
            f" {name}: {len(vectors):,} x {vectors.shape[1]}; index built in "
            f"{time.perf_counter() - begun:.0f} s ({time.process_time() - used:.0f} s CPU), "
            f"{vector_index.index_bytes(Path(place)) / 1e6:.0f} MB beside "
            f"{vectors.nbytes / 1e6:.0f} MB of embeddings"
        )
        begun = time.perf_counter()
        vector_index.open_index(of, lambda text: None)
        print(f"  mapped again in {1e3 * (time.perf_counter() - begun):.0f} ms")
        exact_s, index_s, hits = [], [], {10: [], 100: []}
        for query in queries.astype(np.float64):
            begun = time.perf_counter()
            truth = _products(of.vectors, query)
            exact_s.append(time.perf_counter() - begun)
            order = np.argsort(-truth)
            for k in hits:
                begun = time.perf_counter()
                index.expansion_search = max(vector_index.EXPANSION_SEARCH, 2 * k + 32)
                ids = index.search(query.astype(np.float32), 2 * k + 32, threads=1).keys
                rows = np.asarray(ids, np.int64) - 1
                index_s += [time.perf_counter() - begun] * (k == 100)
                best = rows[np.argsort(-truth[rows])][:k]
                hits[k].append(len(set(best.tolist()) & set(order[:k].tolist())) / k)
        print(
            f"  exact {1e3 * statistics.median(exact_s):.1f} ms, index "
            f"{1e3 * statistics.median(index_s):.1f} ms a query (medians of {len(queries)}); "
            + ", ".join(f"recall@{k} {np.mean(h):.4f}" for k, h in hits.items())
        )


def recall(store_path: Path | None, count: int) -> None:
    rng = np.random.default_rng(0)
    if store_path is not None:
        from imgrank.store.store import Store

        with Store(store_path) as store:
            kinds = [f for f in store.info().features if f.name == "pooled"]
            kind = max(kinds, key=lambda each: each.arrays)  # of the model that knows most
            state = store.array_state(kind.source, "pooled")
            assert state is not None
            kept = store.arrays(state, 0, 10**6)
        real = np.stack([np.frombuffer(one.data, one.dtype) for one in kept]).astype(np.float32)
        real = real[rng.permutation(len(real))]
        queries, rest = real[:200], real[200:]  # real pictures that are not in the index
        print(f" {len(rest):,} real pictures, {len(queries)} more ask")
        compare("realistic", realistic(rest, count, rng), queries)
    compare("random", unit(rng, count, 384), unit(rng, 200, 384))


def product(count: int, width: int, index: bool) -> None:
    from imgrank.vectors.cosines import _products

    rng = np.random.default_rng(0)
    vectors = np.concatenate(
        [unit(rng, min(50_000, count - i), width) for i in range(0, count, 50_000)]
    )
    if index:
        compare("random", vectors, unit(rng, 50, width))
        return
    with tempfile.TemporaryDirectory(prefix="imgrank-search-") as place:
        of = mirrored(Path(place), vectors)
        del vectors
        seconds, used = [], time.process_time()
        for query in unit(rng, 7, width).astype(np.float64):
            begun = time.perf_counter()
            _products(of.vectors, query)
            seconds.append(time.perf_counter() - begun)
        used = (time.process_time() - used) / len(seconds)
        print(
            f" exact, {count:,} x {width}: {statistics.median(seconds):.2f} s a query, "
            f"{used:.2f} s CPU (median of {len(seconds)}, mapped, in memory)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("whole", "recall", "product"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--approximate", action="store_true")
    parser.add_argument("--real", type=Path, metavar="STORE")
    parser.add_argument("--index", action="store_true")
    given = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    match given.what:
        case "whole":
            whole(given.count or 100_000, given.width, given.rounds, given.approximate)
        case "recall":
            recall(given.real, given.count or 100_000)
        case _:
            product(given.count or 1_000_000, given.width, given.index)


if __name__ == "__main__":
    main()
