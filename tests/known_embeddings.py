"""Pictures and words whose embeddings tests choose: a search of them runs no model at all."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from imgrank.images import ImageFile
from imgrank.images.scan import scan
from imgrank.rankers.words import load_words
from imgrank.reranking import reranker
from imgrank.settings import load_settings
from imgrank.store.digest import digest_bytes
from imgrank.store.store import Store
from imgrank.store.values import Batch, FeatureRow, FileRow, Score, ScoreRow

Vectors = Mapping[str, Sequence[float]]


def unit(vector: Sequence[float]) -> np.ndarray:
    """As the model would give it, L2-normalised."""
    array = np.asarray(vector, np.float64)
    return array / np.linalg.norm(array)


def draw(folder: Path, *names: str) -> None:
    """Pictures of their own content, a file a name, suffix and all."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = int.from_bytes(digest_bytes(name.encode())[:3], "big")
        colour = (shade >> 16, shade >> 8 & 255, shade & 255)
        Image.new("RGB", (8, 8), colour).save(path)


def remember(pictures: Vectors, words: Vectors, *, model: str | None = None) -> None:
    """Keeps embeddings of these files (drawn if they are not there) and of these texts."""
    settings = load_settings()
    source = load_words(model, settings).source
    for name in pictures:
        if not Path(name).exists():
            draw(Path(name).parent, Path(name).name)
    batch = Batch([], [], [])
    for file in scan([Path(name) for name in pictures]):
        assert isinstance(file, ImageFile)
        digest = digest_bytes(file.path.read_bytes())
        batch.files.append(FileRow(file, digest))
        array = unit(pictures[os.fspath(file.path)]).astype(np.float16)
        batch.features.append(FeatureRow(digest, source.identity, "pooled", array))
    with Store(settings.store_path) as store:
        store.put(batch)
        for text, vector in words.items():
            array = unit(vector).astype(np.float32)
            store.put_text(source.text_identity, "embedding", text, array)


def remember_scores(values: Mapping[str, float | None], wish: str = "aesthetic") -> None:
    """Keeps what a second stage says of these files; None: they have no such property."""
    settings = load_settings()
    job = reranker(wish, settings)
    key = job.ranker.identity, job.answer.prompt
    with Store(settings.store_path) as store:
        store.put(
            Batch(
                scores=[
                    ScoreRow(
                        digest_bytes(Path(name).read_bytes()),
                        *key,
                        Score(math.nan if value is None else value),
                    )
                    for name, value in values.items()
                ]
            )
        )
