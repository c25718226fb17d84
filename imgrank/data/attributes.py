"""Labels that are computed from the pixels: contrast, colorfulness and brightness.

They are the measures of `imgrank.images.measure` of the whole picture at its full size, so a model
that learns them can be held against `imgrank sort 'by brightness'`. The prompts are the paper's
template for image attributes, "sort images by the image quality of [Property]".

Measured once: the numbers are kept in one small file a set, float64 [N, 3], NaN where not measured
yet. Its name is a digest of the pictures' keys and of the versions of decoding and measuring. It
is written every `SAVE_EVERY` seconds and when the work ends in whatever way, so an interrupted run
goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from imgrank.data.labelled import Labelled, Labels, read_picture
from imgrank.images.measure import brightness, color_moments, colorfulness, contrast
from imgrank.images.reading import DECODE_VERSION, MEASURE_VERSION
from imgrank.models.atomic import write_bytes

__all__ = ["ATTRIBUTES", "attributes", "with_attributes"]

Progress = Callable[[str, int, int], None]

MEASURES = {"contrast": contrast, "colorfulness": colorfulness, "brightness": brightness}
ATTRIBUTES = tuple(MEASURES)
UNITS = {"contrast": "% of white", "colorfulness": "", "brightness": "% of white"}
RANGES = {"contrast": (0.0, 50.0), "colorfulness": None, "brightness": (0.0, 100.0)}
MADE_SIZE = 384  # side in pixels of a picture that is made and not read
CHUNK = 64  # pictures between two looks at the clock
SAVE_EVERY = 10.0


def with_attributes(
    data: Labelled, cache: Path, progress: Progress = lambda name, done, total: None
) -> Labelled:
    """The same pictures with three more queries; progress(name, done, total).

    cache: folder of the kept numbers.   Raises DataError, which names the file, if a picture cannot
    be read; ValueError if the set has such a query already.
    """
    if own := [labels.key for labels in data.labels if labels.key in MEASURES]:
        raise ValueError(f"{data.name} has the queries {', '.join(own)} already")
    table = attributes(data, cache, progress).astype(np.float32)
    added = tuple(
        Labels(
            name,
            name,
            f"sort images by the image quality of {name}",
            np.ascontiguousarray(table[:, column]),
            unit=UNITS[name],
            range=RANGES[name],
        )
        for column, name in enumerate(ATTRIBUTES)
    )
    return replace(data, labels=data.labels + added)


def attributes(
    data: Labelled, cache: Path, progress: Progress = lambda name, done, total: None
) -> npt.NDArray[np.float64]:
    """float64 [N, 3]: the `ATTRIBUTES` of each picture; what is missing is measured now."""
    file = _file(data, cache)
    table = _kept(file, len(data))
    missing = np.flatnonzero(np.isnan(table).any(axis=1)).tolist()
    if not missing:
        return table
    cache.mkdir(parents=True, exist_ok=True)
    name, done = f"{data.name}: attributes", len(data) - len(missing)
    saved = time.monotonic()
    progress(name, done, len(data))
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(missing), CHUNK):
                chunk = missing[start : start + CHUNK]
                for index, values in zip(chunk, pool.map(_measure(data), chunk), strict=True):
                    table[index] = values
                progress(name, done + start + len(chunk), len(data))
                if time.monotonic() - saved > SAVE_EVERY:
                    _save(file, table)
                    saved = time.monotonic()
    finally:
        _save(file, table)
    return table


def _measure(data: Labelled) -> Callable[[int], list[float]]:
    """index -> the three numbers of that picture."""

    def row(index: int) -> list[float]:
        if data.render is None:
            image = read_picture(data.paths[index])
        else:
            image = Image.fromarray(data.render(index, MADE_SIZE))
        moments = color_moments(image)
        return [measure(moments) for measure in MEASURES.values()]

    return row


def _file(data: Labelled, cache: Path) -> Path:
    facts = (ATTRIBUTES, DECODE_VERSION, MEASURE_VERSION, MADE_SIZE if data.render else 0)
    digest = hashlib.sha256("\n".join((repr(facts), *data.keys)).encode())
    return cache / f"attributes-{digest.hexdigest()[:16]}.npy"


def _kept(file: Path, pictures: int) -> npt.NDArray[np.float64]:
    """What was measured before; nothing, if the file is not there or damaged."""
    empty = np.full((pictures, len(ATTRIBUTES)), np.nan)
    try:
        table: npt.NDArray[np.float64] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return empty
    return table if table.shape == empty.shape else empty


def _save(file: Path, table: npt.NDArray[np.float64]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, table)
    write_bytes(file, buffer.getvalue())
