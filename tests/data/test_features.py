"""The token cache: size told beforehand, resumed after an interruption, never mixed up."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from imgrank.data.features import CHUNK, TokenCache, TokenLayout, fill, open_cache
from imgrank.errors import CheckpointError, DataError

LAYOUT = TokenLayout((("grid", 4, 3), ("statistics", 1, 2)), mirrored=True)
N = CHUNK + 8
KEYS = [f"picture {n}" for n in range(N)]


class Encoder:
    """Tokens that tell which picture they came from; counts the pictures it was given."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.seen = 0
        self.fail_after = fail_after

    def encode_images(
        self, pixels: Sequence[npt.NDArray[np.uint8]]
    ) -> list[dict[str, npt.NDArray[np.float16]]]:
        if self.fail_after is not None and self.seen >= self.fail_after:
            raise KeyboardInterrupt
        self.seen += len(pixels)
        return [
            {
                "grid": np.arange(12, dtype=np.float16).reshape(4, 3) + p[0, 0, 0],
                "statistics": np.array([p[0, 0, 0], p[0, -1, 0]], dtype=np.float16),
                "pooled": np.zeros(5, dtype=np.float16),
            }
            for p in pixels
        ]


def picture(index: int) -> npt.NDArray[np.uint8]:
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    pixels[:, 0], pixels[:, 1] = index, index + 100
    return pixels


def opened(folder: Path, tower: str = "tower", keys: Sequence[str] = KEYS) -> TokenCache:
    return open_cache(folder, tower, keys, LAYOUT)


def test_values_and_size(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    seen: list[tuple[int, int]] = []
    fill(cache, Encoder(), picture, lambda done, total: seen.append((done, total)))
    assert seen == [(CHUNK, N), (N, N)]
    batch = cache.batch([3, 0, 35], mirror=[False, True, True])
    assert batch["grid"].shape == (3, 4, 3)
    assert batch["grid"][0].tolist() == (np.arange(12).reshape(4, 3) + 3).tolist()
    assert batch["statistics"][:, 0].tolist() == [[3, 103], [100, 0], [135, 35]]
    size = (cache.path / "tokens.npy").stat().st_size
    assert LAYOUT.bytes_for(N) == N * 2 * 14 * 2
    assert size == LAYOUT.bytes_for(N) + 128  # numpy's header


def test_resumes_where_it_was_interrupted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill(opened(tmp_path), Encoder(fail_after=2 * CHUNK), picture)
    again = opened(tmp_path)
    assert again.missing == list(range(CHUNK, N))
    encoder = Encoder()
    fill(again, encoder, picture)
    assert encoder.seen == 2 * (N - CHUNK)
    whole = opened(tmp_path)
    assert whole.missing == []
    fill(whole, Encoder(fail_after=0), picture)  # nothing is computed again
    assert whole.batch([0, N - 1])["statistics"][:, 0, 0].tolist() == [0, N - 1]


def test_another_tower_or_data_set_is_another_cache(tmp_path: Path) -> None:
    fill(opened(tmp_path), Encoder(), picture)
    assert opened(tmp_path).missing == []
    assert len(opened(tmp_path, tower="other").missing) == N
    assert len(opened(tmp_path, keys=KEYS[::-1]).missing) == N


def test_without_mirrored_views_the_plain_one_answers(tmp_path: Path) -> None:
    layout = TokenLayout(LAYOUT.sources, mirrored=False)
    cache = open_cache(tmp_path, "tower", KEYS[:2], layout)
    fill(cache, Encoder(), picture)
    assert cache.batch([1], mirror=[True])["statistics"][0, 0].tolist() == [1, 101]


def test_room_is_taken_before_the_first_token(tmp_path: Path) -> None:
    cache = open_cache(tmp_path, "tower", [str(n) for n in range(40_000)], LAYOUT)
    assert (cache.path / "tokens.npy").stat().st_blocks * 512 >= LAYOUT.bytes_for(40_000)


def test_a_full_disk_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full, raising=False)
        with pytest.raises(DataError, match=r"No space left on device.*--cache"):
            opened(tmp_path)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    fill(opened(tmp_path), Encoder(), picture)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    assert opened(tmp_path).missing == []  # a whole cache needs no more


def test_a_cache_that_was_cut_short_is_told(tmp_path: Path) -> None:
    path = opened(tmp_path).path
    whole = {name: (path / name).read_bytes() for name in ("tokens.npy", "done.npy")}
    for name, content in whole.items():
        for left in (0, 60, len(content) - 1):
            (path / name).write_bytes(content[:left])
            with pytest.raises(DataError, match=r"damaged\. Delete that folder"):
                opened(tmp_path)
        (path / name).write_bytes(content)
    (path / "done.npy").unlink()  # killed before the last file was there: all begins anew
    assert len(opened(tmp_path).missing) == N


def test_tokens_that_float16_cannot_hold_are_refused(tmp_path: Path) -> None:
    class TooLarge(Encoder):
        def encode_images(
            self, pixels: Sequence[npt.NDArray[np.uint8]]
        ) -> list[dict[str, npt.NDArray[np.float16]]]:
            found = super().encode_images(pixels)
            found[-1]["grid"][3, 2] = np.inf  # what 70,000 is in float16
            return found

    cache = opened(tmp_path)
    with pytest.raises(CheckpointError, match="tokens of picture 31 of this set are no numbers"):
        fill(cache, TooLarge(), picture)
    assert len(cache.missing) == N
