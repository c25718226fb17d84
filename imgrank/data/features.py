"""Image tokens computed once and kept on disk, so that a training step costs the adapter alone.

One folder per cache: `tokens.npy`, float16 [N, V, W], memory-mapped, one row a picture; `done.npy`,
uint8 [N]; `meta.json`. V views: the plain picture and, if asked for, its mirror image. W: the
tokens of all sources flattened one behind the other. The folder's name is a digest of everything
that the numbers depend on (image tower, preprocessing, keys of the pictures), so a changed tower
or data set never meets old tokens. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from imgrank.data.labelled import Labelled, Labels, Pixels
from imgrank.data.split import Part
from imgrank.errors import CheckpointError, DataError
from imgrank.models.atomic import write_bytes

__all__ = ["Pictures", "TokenCache", "TokenLayout", "TokenSet", "fill", "locate", "open_cache"]

Tokens = npt.NDArray[np.float16]
CHUNK = 32
HEADER = 128  # bytes of numpy's before the numbers
TOKENS, DONE, META = "tokens.npy", "done.npy", "meta.json"


class ImageEncoder(Protocol):
    """What is needed of a backbone: uint8 [S, S, 3] pictures -> named float16 arrays of each."""

    def encode_images(self, pixels: Sequence[Pixels]) -> list[dict[str, Tokens]]: ...


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """What a row holds. sources: (name, P tokens, D width) in order; mirrored: a second view."""

    sources: tuple[tuple[str, int, int], ...]
    mirrored: bool

    @property
    def views(self) -> int:
        return 2 if self.mirrored else 1

    @property
    def numbers(self) -> int:
        """Numbers per picture and view."""
        return sum(tokens * width for _, tokens, width in self.sources)

    def bytes_for(self, pictures: int) -> int:
        """Size on disk, known before anything is computed."""
        return pictures * self.views * self.numbers * 2


class TokenCache:
    """An open cache. `path` is its own folder; `missing` the pictures still to compute.

    Its whole size is reserved on the disk: a memory-mapped file that meets a full disk while it is
    written would end the process without a word.
    Raises DataError if there is no such room, or if the files are damaged.
    """

    def __init__(self, path: Path, layout: TokenLayout, pictures: int) -> None:
        self.path, self.layout, self.pictures = path, layout, pictures
        shape = (pictures, layout.views, layout.numbers)
        tokens, done = path / TOKENS, path / DONE
        try:
            if not done.is_file():
                path.mkdir(parents=True, exist_ok=True)
                np.lib.format.open_memmap(tokens, "w+", dtype=np.float16, shape=shape)
                _reserve(tokens)
                partial = done.with_name("part.npy")
                np.save(partial, np.zeros(pictures, dtype=np.uint8))
                partial.replace(done)  # last: without it all of this begins anew
            if (  # numpy would make a file longer that was cut short
                tokens.stat().st_size < HEADER + layout.bytes_for(pictures)
                or done.stat().st_size < HEADER + pictures
            ):
                raise ValueError
            self._tokens = np.load(tokens, mmap_mode="r+")
            self._done = np.load(done, mmap_mode="r+")
            if (self._done == 0).any():
                _reserve(tokens)
        except OSError as error:
            if not done.is_file():
                tokens.unlink(missing_ok=True)
            size = layout.bytes_for(pictures) / 1e9
            raise DataError(
                f"{size:.1f} GB of tokens cannot be kept in {path}: {error.strerror}. Name a "
                "folder on another disk: --cache."
            ) from error
        except (ValueError, EOFError) as error:
            raise DataError(f"the tokens in {path} are damaged. Delete that folder.") from error
        if (self._tokens.shape, self._done.shape) != (shape, shape[:1]):
            raise DataError(f"the tokens in {path} are damaged. Delete that folder.")

    @property
    def missing(self) -> list[int]:
        return [int(n) for n in np.flatnonzero(self._done == 0)]

    def put(self, indices: Sequence[int], rows: Sequence[Sequence[Mapping[str, Tokens]]]) -> None:
        """Store the views of each picture; marked as done only after the tokens are written.

        Raises CheckpointError for tokens that are no numbers, as those beyond float16.
        """
        for index, views in zip(indices, rows, strict=True):
            for view, features in enumerate(views):
                named = [np.asarray(features[name]).ravel() for name, _, _ in self.layout.sources]
                flat = np.concatenate(named)
                if not np.isfinite(flat).all():
                    raise CheckpointError(
                        f"the tokens of picture {index} of this set are no numbers in float16, as "
                        "they are kept: the backbone is damaged, or none whose tokens can be used."
                    )
                self._tokens[index, view] = flat
        self._tokens.flush()
        self._done[list(indices)] = 1
        self._done.flush()

    def batch(
        self, indices: Sequence[int], mirror: Sequence[bool] | None = None
    ) -> dict[str, Tokens]:
        """{source: float16 [B, P, D]} of these pictures; mirror: which of them in the mirror.

        A cache without mirrored views answers with the plain ones.
        """
        views = np.zeros(len(indices), dtype=np.intp)
        if mirror is not None and self.layout.mirrored:
            views = np.asarray(mirror, dtype=np.intp)
        rows = self._tokens[np.asarray(indices), views]  # [B, W]
        out: dict[str, Tokens] = {}
        start = 0
        for name, tokens, width in self.layout.sources:
            stop = start + tokens * width
            out[name] = rows[:, start:stop].reshape(len(rows), tokens, width)
            start = stop
        return out


class Pictures(Protocol):
    """Image tokens of a data set by row, kept or made anew."""

    def batch(
        self, rows: npt.NDArray[np.intp], mirror: npt.NDArray[np.bool_] | None = None
    ) -> dict[str, torch.Tensor]:
        """{source: float32 [B, P, D]} of these rows; mirror: which of them in the mirror."""
        ...


@dataclass(frozen=True, eq=False)
class TokenSet:
    """A data set whose tokens are cached: row n of everything is picture n of the cache."""

    data: Labelled
    cache: TokenCache

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def groups(self) -> tuple[str, ...]:
        return self.data.groups

    @property
    def targets(self) -> npt.NDArray[np.float32]:
        """Values of the first query [N]; for sets that have but one."""
        return self.data.labels[0].values

    def batch(
        self, rows: npt.NDArray[np.intp], mirror: npt.NDArray[np.bool_] | None = None
    ) -> dict[str, torch.Tensor]:
        """{source: float32 [B, P, D]} of these rows, on the CPU; mirror: which in the mirror."""
        arrays = self.cache.batch(rows.tolist(), None if mirror is None else mirror.tolist())
        return {name: torch.from_numpy(array).float() for name, array in arrays.items()}

    def rows(self, part: Part, labels: Labels | None = None) -> npt.NDArray[np.intp]:
        """Indices of one part; with `labels`, of those that it has a value for."""
        return self.data.rows(part, labels)


def open_cache(folder: Path, tower: str, keys: Sequence[str], layout: TokenLayout) -> TokenCache:
    """The cache of these pictures inside `folder`, see `locate`; created empty if not there."""
    path, facts = locate(folder, tower, keys, layout)
    cache = TokenCache(path, layout, len(keys))
    if not (path / META).is_file():
        write_bytes(path / META, f"{facts}\n".encode())
    return cache


def locate(folder: Path, tower: str, keys: Sequence[str], layout: TokenLayout) -> tuple[Path, str]:
    """Where the cache of these pictures is or would be, and what its `meta.json` says.

    tower: digest of the image tower and its preprocessing.   keys: one per picture, in order; they
    name content (a path within the data set and what was done to it), not a place on this machine.
    """
    facts: dict[str, Any] = {
        "format": 1,
        "tower": tower,
        "keys": hashlib.sha256("\n".join(keys).encode()).hexdigest(),
        "pictures": len(keys),
        "sources": [list(source) for source in layout.sources],
        "mirrored": layout.mirrored,
    }
    text = json.dumps(facts, indent=2, sort_keys=True)
    return folder / hashlib.sha256(text.encode()).hexdigest()[:16], text


def fill(
    cache: TokenCache,
    encoder: ImageEncoder,
    pixels: Callable[[int], Pixels],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Compute what is missing. pixels(index) -> uint8 [S, S, 3]; runs in a second thread.

    progress(done, total) is called after each chunk. May be interrupted at any time.
    """
    missing = cache.missing
    chunks = [missing[n : n + CHUNK] for n in range(0, len(missing), CHUNK)]
    done = cache.pictures - len(missing)

    def load(chunk: list[int]) -> list[Pixels]:
        return [pixels(index) for index in chunk]

    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = pool.submit(load, chunks[0]) if chunks else None
        for number, chunk in enumerate(chunks):
            assert ahead is not None
            pictures = ahead.result()
            if number + 1 < len(chunks):
                ahead = pool.submit(load, chunks[number + 1])
            views = [encoder.encode_images(pictures)]
            if cache.layout.mirrored:
                mirrored = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
                views.append(encoder.encode_images(mirrored))
            cache.put(chunk, list(zip(*views, strict=True)))
            done += len(chunk)
            progress(done, cache.pictures)


def _reserve(path: Path) -> None:
    """Room on the disk for all of a file; what is written in it stays. Raises OSError."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
