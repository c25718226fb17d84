"""The sources of the quality head on made-up folders: parts, targets, and which tokens are kept."""

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from imgrank.data import quality
from imgrank.data.split import split_by_group
from imgrank.errors import DataError


class Backbone:
    """A stand-in: its grid is the mean colour, its statistics the colour of the first pixel."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.visual = SimpleNamespace(trunk=torch.nn.Linear(2, 2), head=torch.nn.Linear(2, 2))
        self.image_size = 8
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
        return [
            {"grid": p.mean((0, 1))[None].astype("f2"), "statistics": p[0, 0].astype("f2")}
            for p in pixels
        ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty generated pictures of ten prompts, twenty photographs, two of them of COCO."""
    draw = np.random.default_rng(0)

    def save(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(path)

    lines = ["name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align"]
    for n in range(20):
        save(tmp_path / "agiqa3k" / "images" / f"{n}.png")
        lines.append(f"{n}.png,thing {n // 2},,,,{n / 5},0,0,0")
    (tmp_path / "agiqa3k" / "data.csv").write_text("\n".join(lines) + "\n")
    for name, count in (("oasis", 10), ("flickr8k", 10), ("coco", 2)):
        for n in range(count):
            save(tmp_path / name / "images" / f"{name}{n}.png")
    return tmp_path


def load(loader: Any, root: Path, sources: Sequence[str] = ("statistics",)) -> Any:
    seen: list[tuple[str, int, int]] = []
    cache = root / "cache"
    tokens = quality.Tokens(root, cache, Backbone(), lambda *now: seen.append(now), sources)
    data = loader(tokens)
    assert data.cache.missing == []
    return data


def test_agiqa3k(root: Path) -> None:
    data = load(quality.load_agiqa3k, root, ("grid", "statistics"))
    assert data.targets.tolist() == pytest.approx([n / 5 for n in range(20)])
    assert [data.parts.count(p) for p in ("train", "validation", "test")] == [16, 2, 2]
    with Image.open(root / "agiqa3k" / "images" / "3.png") as image:
        small = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC))
    tokens = data.cache.batch([3, 3], mirror=[False, True])
    assert tokens["statistics"][0, 0].tolist() == small[0, 0].tolist()
    assert tokens["statistics"][1, 0].tolist() == small[0, -1].tolist()
    assert np.array_equal(tokens["grid"][0], tokens["grid"][1])


def test_views_are_of_training_pictures_only(root: Path) -> None:
    whole, views = load(quality.load_agiqa3k, root), load(quality.load_agiqa3k_views, root)
    assert len(views.targets) == 16 * quality.VIEWS
    assert set(views.parts) == {"train"}
    trained = {g for g, part in zip(whole.groups, whole.parts, strict=True) if part == "train"}
    assert set(views.groups) == trained


def test_distortions(root: Path) -> None:
    data = load(quality.load_distortions, root)
    assert len(data.targets) == 16 * 7 + 4 * 13  # six kinds once or twice, and the photograph
    photographs = sorted(set(data.groups))
    assert photographs[0] == "flickr8k/images/flickr8k0.png"
    by_photograph = dict(zip(photographs, split_by_group(photographs), strict=True))
    assert all(by_photograph[g] == p for g, p in zip(data.groups, data.parts, strict=True))
    assert data.targets.max() == pytest.approx(quality.ORIGINAL)
    assert data.targets.min() >= quality.ORIGINAL - 5 * quality.STEP - 1e-6


def test_held_out_photographs_are_never_trained_on(root: Path) -> None:
    data = load(quality.load_held_out, root)
    assert (len(data.targets), set(data.parts)) == (14, {"test"})


def test_an_unreadable_picture_of_a_published_set_is_named(root: Path) -> None:
    (root / "agiqa3k" / "images" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"3\.png"):
        load(quality.load_agiqa3k, root)
    (root / "oasis" / "images" / "oasis4.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"oasis4\.png"):
        load(quality.load_distortions, root)


def test_tower_digest_ignores_what_tokens_do_not_depend_on() -> None:
    backbone: Any = Backbone()
    first = quality.tower_digest(backbone)
    backbone.visual.head = torch.nn.Linear(2, 2)
    assert quality.tower_digest(backbone) == first
    backbone.visual.trunk.weight.data[0, 0] += 1
    changed = quality.tower_digest(backbone)
    backbone.spec.image_size = 16
    assert len({first, changed, quality.tower_digest(backbone)}) == 3


def test_another_view_keeps_most_of_the_picture() -> None:
    image = Image.new("RGB", (512, 400))
    sizes = {quality.another_view(image, random.Random(n)).size for n in range(40)}
    assert len(sizes) > 20
    assert all(min(size) >= 223 and size[0] <= 512 and size[1] <= 400 for size in sizes)
