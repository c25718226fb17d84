"""From pictures to kept tokens: which, how large, on which disk, and when they are made anew."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from imgrank.data import tokens as module
from imgrank.data.labelled import Labelled, Labels
from imgrank.data.tokens import Tokens, require_space, tower_digest
from imgrank.errors import DataError

N = 6


class Backbone:
    """A stand-in: its grid is the mean colour, its statistics the colour of the first pixel."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.visual = SimpleNamespace(trunk=torch.nn.Linear(2, 2), head=torch.nn.Linear(2, 2))
        self.image_size = 8
        self.seen = 0
        self.spec = SimpleNamespace(
            statistics=(1,),
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            image_size=8,
            widths={"grid": 3, "statistics": 3},
            grid_tokens=1,
        )

    def encode_images(
        self, pixels: Sequence[npt.NDArray[np.uint8]]
    ) -> list[dict[str, npt.NDArray[np.float16]]]:
        self.seen += len(pixels)
        return [
            {"grid": p.mean((0, 1))[None].astype("f2"), "statistics": p[0, 0].astype("f2")}
            for p in pixels
        ]


@pytest.fixture
def data(tmp_path: Path) -> Labelled:
    draw = np.random.default_rng(0)
    paths = tuple(tmp_path / f"{n}.png" for n in range(N))
    for path in paths:
        Image.fromarray(draw.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(path)
    return Labelled(
        "toy",
        paths,
        keys=tuple(path.name for path in paths),
        parts=("train",) * 4 + ("validation", "test"),
        groups=tuple(path.name for path in paths),
        labels=(Labels("a", "quality", "sort", np.arange(N, dtype=np.float32)),),
    )


def made(folder: Path, backbone: Any, sources: Sequence[str] = ("grid", "statistics")) -> Tokens:
    return Tokens(folder / "cache", backbone, lambda *now: None, sources)


def test_tokens_of_pictures_plain_and_mirrored(data: Labelled, tmp_path: Path) -> None:
    found = made(tmp_path, Backbone()).of(data)
    with Image.open(data.paths[3]) as image:
        small = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC))
    batch = found.batch(np.array([3, 3]), np.array([False, True]))
    assert batch["statistics"].dtype == torch.float32
    assert batch["statistics"][0, 0].tolist() == small[0, 0].tolist()
    assert batch["statistics"][1, 0].tolist() == small[0, -1].tolist()
    assert torch.equal(batch["grid"][0], batch["grid"][1])
    assert found.rows("train").tolist() == [0, 1, 2, 3]
    assert found.batch(np.array([1]))["statistics"].shape == (1, 1, 3)


def test_what_is_still_to_be_written_is_known_beforehand(data: Labelled, tmp_path: Path) -> None:
    backbone = Backbone()
    tokens = made(tmp_path, backbone)
    whole = N * 2 * (3 + 3) * 2  # pictures, views, numbers, bytes of a float16
    assert tokens.to_write(data) == tokens.to_reserve(data) == whole
    assert not (tmp_path / "cache").exists()
    cache = tokens.of(data).cache
    assert backbone.seen == 2 * N
    assert tokens.to_write(data) == 0
    cache._done[:2] = 0
    cache._done.flush()
    assert tokens.to_write(data) == whole // 3
    assert tokens.to_reserve(data) == 0  # not computed, but it has its room
    tokens.of(data)
    assert backbone.seen == 2 * N + 2 * 2
    statistics = made(tmp_path, backbone, ["statistics"])
    assert statistics.to_write(data) == whole // 2


def test_a_full_disk_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=3 * 10**9)
    asked: list[Path] = []

    def disk_usage(path: Path) -> Any:
        asked.append(path)
        return usage

    monkeypatch.setattr(module.shutil, "disk_usage", disk_usage)
    require_space(2 * 10**9, tmp_path / "not" / "there")
    assert asked == [tmp_path]
    with pytest.raises(DataError, match=r"4\.0 GB.*3\.0 GB free.*--set features=pictures"):
        require_space(4 * 10**9, tmp_path)
    usage.free = 0
    require_space(0, tmp_path)  # all is there already


def test_an_unreadable_picture_is_named(data: Labelled, tmp_path: Path) -> None:
    data.paths[3].write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"3\.png"):
        made(tmp_path, Backbone()).of(data)


def test_tower_digest_ignores_what_tokens_do_not_depend_on() -> None:
    backbone: Any = Backbone()
    first = tower_digest(backbone)
    backbone.visual.head = torch.nn.Linear(2, 2)
    assert tower_digest(backbone) == first
    backbone.visual.trunk.weight.data[0, 0] += 1
    changed = tower_digest(backbone)
    backbone.spec.image_size = 16
    assert len({first, changed, tower_digest(backbone)}) == 3
