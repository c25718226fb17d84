"""The image side of an L2RCLIP training: what it gives, what it trains, what a checkpoint holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from rank_checkpoints import rank_checkpoint
from safetensors.torch import save_file

from imgrank.data.labelled import Labelled, Labels
from imgrank.data.tokens import Fronts
from imgrank.errors import DataError, UsageError
from imgrank.models import stages
from imgrank.models.backbone import Backbone
from imgrank.models.loading import load_tower
from imgrank.models.registry import EMBEDDED
from imgrank.models.spec import read_spec
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.load import load_ranker
from imgrank.train.image_side import ImageSide, ImageSideConfig, image_side

N = 8
FLOAT16 = 1e-3  # what arrays and features that are kept in float16 may differ by


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone(EMBEDDED / "tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("image-side")


@pytest.fixture(scope="module")
def data(folder: Path) -> Labelled:
    draw = np.random.default_rng(0)
    paths = tuple(folder / f"{n}.png" for n in range(N))
    for path in paths:
        coarse = draw.integers(0, 255, (5, 7, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((90, 70), Image.Resampling.BICUBIC).save(path)
    names = tuple(path.name for path in paths)
    values = np.linspace(1920, 1960, N).astype(np.float32)
    labels = (Labels("year", "decade", "by year", values),)
    return Labelled("toy", paths, names, ("train",) * (N - 2) + ("test",) * 2, names, labels)


def made(backbone: Backbone, data: Labelled, folder: Path, **options: Any) -> ImageSide:
    torch.manual_seed(0)
    return image_side(ImageSideConfig(**options), backbone, data, folder / "kept")


def random_vit(folder: Path) -> Path:
    model = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16
        },
        "text_cfg": {"context_length": 12, "width": 32, "heads": 2, "layers": 1},
    }  # fmt: skip
    folder.mkdir()
    content = {"model_cfg": model, "preprocess_cfg": {"resize_mode": "squash"}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**model).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def plain(backbone: Backbone, data: Labelled, rows: list[int], name: str) -> torch.Tensor:
    pixels = [data.pixels(row, 224) for row in rows]
    return torch.from_numpy(np.stack([f[name] for f in backbone.encode_images(pixels)])).float()


def learn(side: ImageSide, steps: int = 3, lr: float = 1e-3) -> None:
    """Pulls the first pictures towards one direction and the others away from it."""
    side.train()
    optimiser = torch.optim.Adam(side.parameters(), lr)
    goal = torch.nn.functional.normalize(torch.ones(384), dim=0)
    sign = torch.tensor([1.0] * 3 + [-1.0] * 3)
    for step in range(steps):
        rows = np.arange(6)
        loss = -(sign * (side.embed(rows, np.arange(6) % 2 == step % 2) @ goal)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    side.eval()


@pytest.mark.parametrize("tower", ["frozen", "head", "last", "full"])
@pytest.mark.parametrize("statistics", [False, True])
def test_before_training_it_is_the_plain_backbone(
    backbone: Backbone, data: Labelled, folder: Path, tower: stages.Part, statistics: bool
) -> None:
    side = made(backbone, data, folder, tower=tower, statistics=statistics).eval()
    rows = [1, 6]
    wanted = plain(backbone, data, rows, "pooled")
    with torch.no_grad():
        torch.testing.assert_close(side.embed(rows), wanted, atol=FLOAT16, rtol=0)
        mirrored = backbone.encode_images(
            [np.ascontiguousarray(data.pixels(6, 224)[:, ::-1]), data.pixels(1, 224)]
        )
        both = side.embed(np.array([6, 1]), np.array([True, False]))
    flipped = torch.from_numpy(np.stack([f["pooled"] for f in mirrored])).float()
    torch.testing.assert_close(both, flipped, atol=FLOAT16, rtol=0)
    assert float((flipped[0] - wanted[1]).abs().max()) > 10 * FLOAT16
    assert side.features == (("pooled", "statistics") if statistics else ("pooled",))
    assert side.replaced == ([] if tower == "frozen" else ["image"])


def test_statistics_are_standardised_over_the_training_pictures(
    backbone: Backbone, data: Labelled, folder: Path
) -> None:
    z = plain(backbone, data, list(range(6)), "statistics").double()
    for tower in ("frozen", "last"):
        side = made(backbone, data, folder, tower=tower, statistics=True)
        torch.testing.assert_close(side.mean, z.mean(0).float(), atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(side.std, z.std(0, correction=0).float(), atol=2e-3, rtol=5e-3)
    side = made(backbone, data, folder, tower="frozen", statistics=True)
    assert side.statistics is not None
    with torch.no_grad():
        side.statistics.weight[0, 5], side.statistics.bias[1] = 0.5, -0.25
        x = plain(backbone, data, [7], "pooled")
        z = plain(backbone, data, [7], "statistics")
        x[0, 0] += 0.5 * (z[0, 5] - side.mean[5]) / side.std[5]
        x[0, 1] -= 0.25
        torch.testing.assert_close(side.embed([7]), x / x.norm(), atol=1e-5, rtol=0)


def test_a_statistic_that_never_changes_is_left_as_it_is(
    backbone: Backbone, data: Labelled, folder: Path
) -> None:
    side = made(backbone, data, folder, tower="frozen", statistics=True)
    side.standardise([3, 3])
    assert torch.equal(side.std, torch.ones(992))


@pytest.mark.parametrize(
    ("tower", "statistics"), [("frozen", True), ("head", True), ("last", True), ("full", False)]
)
def test_a_checkpoint_gives_what_was_trained(
    backbone: Backbone,
    data: Labelled,
    folder: Path,
    tmp_path: Path,
    tower: stages.Part,
    statistics: bool,
) -> None:
    side = made(backbone, data, folder, tower=tower, statistics=statistics)
    with torch.no_grad():
        before = side.embed(range(N))
    norms = {n: b.clone() for n, b in side.state_dict().items() if "running" in n}
    learn(side, steps=1 if tower == "full" else 3)  # a step of the whole tower is slow
    assert all(torch.equal(side.state_dict()[n], b) for n, b in norms.items())
    with torch.no_grad():
        after = side.embed(range(N))
    assert float((after - before).abs().max()) > 10 * FLOAT16  # it did learn
    tensors = side.tensors()
    checkpoint = rank_checkpoint(tmp_path / "made", statistics=statistics, tensors=tensors)
    ranker = load_ranker(str(checkpoint))
    assert isinstance(ranker, L2RCLIPRanker)
    files = [path.read_bytes() for path in data.paths]
    features = ranker.source.compute([ranker.source.prepare(file) for file in files])
    found = torch.from_numpy(ranker.embedded(features)).float()
    torch.testing.assert_close(found, after, atol=FLOAT16, rtol=0)
    tuned = sum(name.startswith("tower.visual.") for name in tensors)
    assert tuned == len(side.cut.names) == {"frozen": 0, "head": 2, "last": 14}.get(tower, tuned)


def test_only_what_lies_behind_the_cut_has_a_gradient(
    backbone: Backbone, data: Labelled, folder: Path
) -> None:
    for tower, trained in (("frozen", 0), ("head", 2), ("last", 14)):
        side = made(backbone, data, folder, tower=tower, statistics=False)
        parameters = list(side.parameters())
        assert len(parameters) == trained
        if parameters:
            side.embed([0, 1])[:, 0].sum().backward()
            assert all(p.grad is not None and bool(p.grad.any()) for p in parameters)
    assert not any(p.requires_grad for p in backbone.visual.parameters())


def test_the_state_goes_on_where_it_was(backbone: Backbone, data: Labelled, folder: Path) -> None:
    first = made(backbone, data, folder, tower="last", statistics=True)
    learn(first, steps=2)
    second = made(backbone, data, folder, tower="last", statistics=True).eval()
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert torch.equal(first.embed([0, 5]), second.embed([0, 5]))
    assert not [name for name in first.state_dict() if "stem" in name or "blocks_5" in name]


def test_dropout_is_of_the_statistics_alone_and_only_while_training(
    backbone: Backbone, data: Labelled, folder: Path
) -> None:
    side = made(backbone, data, folder, tower="frozen", statistics=True, dropout=0.5)
    learn(side)
    with torch.no_grad():
        assert torch.equal(side.embed([0]), side.embed([0]))
        side.train()
        assert not torch.equal(side.embed([0]), side.embed([0]))


def test_what_is_kept_is_told_and_computed_once(
    backbone: Backbone, data: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    config = ImageSideConfig("last")
    image_side(config, backbone, data, tmp_path, lines.append)
    numbers = 49 * 192 + 352
    assert lines[0].startswith(f"{N * 2 * numbers * 2 / 1e6:.1f} MB of tokens to compute")
    (size,) = [path.stat().st_size for path in tmp_path.rglob("tokens.npy")]
    assert size == N * 2 * numbers * 2 + 128
    seen: list[int] = []
    monkeypatch.setattr(backbone, "encode_images", lambda *args: seen.append(1))
    again: list[str] = []
    image_side(config, backbone, data, tmp_path, again.append)
    assert (seen, again) == ([], [])


def test_arrays_outlive_a_change_behind_the_cut_only(data: Labelled, tmp_path: Path) -> None:
    original = load_tower(read_spec(EMBEDDED / "tiny"), "image", {}).state_dict()
    found: dict[str, list[str]] = {"last": [], "head": [], "frozen": []}
    for name in (None, "head.proj.weight", "trunk.conv_head.weight", "trunk.conv_stem.weight"):
        own = {f"visual.{name}": original[name] * 0.9} if name else {}
        changed = Backbone(EMBEDDED / "tiny", overrides=own)
        for part, places in found.items():
            cut = stages.split(changed.visual, part, changed.spec.statistics)
            fronts = Fronts(tmp_path, changed, lambda *now: None, cut)
            places.append(fronts._tower)
    same = {part: [place == places[0] for place in places] for part, places in found.items()}
    assert same == {
        "last": [True, True, True, False],
        "head": [True, True, False, False],
        "frozen": [True, False, False, False],
    }
    assert len({places[0] for places in found.values()}) == 3


def test_a_vit_is_cut_before_its_last_blocks(data: Labelled, tmp_path: Path) -> None:
    backbone = Backbone(random_vit(tmp_path / "vit"))
    wanted = torch.from_numpy(backbone.encode_images([data.pixels(0, 32)])[0]["pooled"]).float()
    for config in (
        ImageSideConfig("last"), ImageSideConfig("last", layers=2), ImageSideConfig("head")
    ):  # fmt: skip
        side = image_side(config, backbone, data, tmp_path / "kept")
        with torch.no_grad():
            torch.testing.assert_close(side.embed([0])[0], wanted, atol=FLOAT16, rtol=0)
    with pytest.raises(UsageError, match="has no statistics"):
        image_side(ImageSideConfig("head", statistics=True), backbone, data, tmp_path)


def test_odd_wishes_are_refused(backbone: Backbone, data: Labelled, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dropout = 1 is not"):
        image_side(ImageSideConfig(dropout=1), backbone, data, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_read_is_named(
    backbone: Backbone, data: Labelled, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    labels = (Labels("year", "decade", "by year", np.zeros(1, np.float32)),)
    one = Labelled("one", (broken,), ("broken",), ("train",), ("a",), labels)
    for tower in ("last", "full"):
        with pytest.raises(DataError, match=r"broken\.png"):
            side = image_side(ImageSideConfig(tower), backbone, one, tmp_path / tower)
            side.embed([0])
