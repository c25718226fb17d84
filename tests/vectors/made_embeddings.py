"""Made-up embeddings in a store, a number each, and what is found of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imgrank.images import ImageFile
from imgrank.store.store import Batch, FeatureRow, FileRow, Store
from imgrank.vectors.cosines import cosines, nearest

WIDTH = 32
SOURCE = "tiny:0123.1"
QUERY = np.random.default_rng(7).standard_normal(WIDTH).astype(np.float32)


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def digests(*numbers: int) -> list[bytes]:
    return [digest(n) for n in numbers]


def embedding(number: int, take: int = 0) -> np.ndarray:
    values = np.random.default_rng([number, take]).standard_normal(WIDTH)
    return (values / np.linalg.norm(values)).astype(np.float16)


def keep(store: Store, numbers: Sequence[int], *, take: int = 0, folder: str = "/p") -> None:
    rows = []
    for n in numbers:
        rows.append(FeatureRow(digest(n), SOURCE, "statistics", np.zeros(3, np.float16)))
        rows.append(FeatureRow(digest(n), SOURCE, "pooled", embedding(n, take)))
    files = [FileRow(ImageFile(Path(f"{folder}/{n}.jpg"), n, n), digest(n)) for n in numbers]
    store.put(Batch(files=files, features=rows))


def expected(number: int, take: int = 0) -> float:
    exact, query = embedding(number, take).astype(np.float64), QUERY.astype(np.float64)
    return float(np.float32(exact @ query / np.linalg.norm(exact) / np.linalg.norm(query)))


def ask(store: Store, folder: Path, *numbers: int, heard: list[str] | None = None) -> list[float]:
    said = [] if heard is None else heard
    return cosines(QUERY, digests(*numbers), SOURCE, store, folder, said.append).tolist()


def find(
    store: Store, folder: Path, numbers: Sequence[int], k: int, heard: list[str] | None = None
) -> tuple[list[int], list[float]]:
    """Numbers and cosines; `heard`: approximate, and what was said."""
    said = [] if heard is None else heard
    places, values = nearest(
        QUERY,
        digests(*numbers),
        k,
        SOURCE,
        store,
        folder,
        said.append,
        approximate=heard is not None,
    )
    return [numbers[i] for i in places.tolist()], values.tolist()


def best(numbers: Sequence[int], k: int) -> list[int]:
    return sorted(numbers, key=lambda n: -expected(n))[:k]
