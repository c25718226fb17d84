"""Image towers in two parts: both together are the tower, of every kind that can be cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from random_towers import VIT, by_hand, config, make, pixels, timm
from torch import Tensor, nn

from imgrank.errors import UsageError
from imgrank.models import stages, towers
from imgrank.models.loading import load_tower
from imgrank.models.registry import EMBEDDED
from imgrank.models.spec import read_spec

DEEP = VIT | {"layers": 3}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
KINDS: dict[str, dict[str, Any]] = {
    "convnext": config(timm("test_convnext", 64, "", "mlp")),
    "efficientnet": config(timm("test_efficientnet", 64, "avg", "linear"), custom_text=True),
    "vit": config(DEEP, quick_gelu=True),
    "vit-norm-after-pool": config(DEEP | {"final_ln_after_pool": True, "pool_type": "avg"}),
    "vit-attention-pool": config(
        DEEP | {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 5}
    ),
    "resnet": config(RESNET),
    "timm-vit": config(timm("test_vit", 160, "token", "linear")),
}
CUTS = [
    ("tiny", "last", (1, 2, 3, 4)),
    ("tiny", "last", (0, 2)),  # none of the last stage
    ("tiny", "head", (1, 2, 3, 4)),
    ("tiny", "frozen", (1, 2, 3, 4)),
    ("tiny", "full", (4,)),
    ("convnext", "last", ()),
    ("convnext", "last", (0, -1)),
    ("convnext", "head", (1, 2)),
    ("efficientnet", "last", (3, 4)),
    ("vit", "last", ()),
    ("vit", "head", ()),
    ("vit-norm-after-pool", "last", ()),
    ("vit-attention-pool", "last", ()),
    ("resnet", "head", ()),
    ("timm-vit", "head", ()),
]


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[nn.Module, Tensor]]:
    """Kind -> its image tower, and two pictures of its size."""
    made: dict[str, tuple[nn.Module, Tensor]] = {}

    def get(kind: str) -> tuple[nn.Module, Tensor]:
        if kind not in made:
            folder = EMBEDDED / "tiny"
            if kind != "tiny":
                folder = make(tmp_path_factory.mktemp("towers") / kind, KINDS[kind])
            spec = read_spec(folder)
            made[kind] = (load_tower(spec, "image", {}), by_hand(pixels(spec.image_size)))
        return made[kind]

    return get


@pytest.mark.parametrize(("kind", "part", "statistics"), CUTS)
def test_both_parts_together_are_the_tower(
    tower: Callable[[str], tuple[nn.Module, Tensor]],
    kind: str,
    part: stages.Part,
    statistics: tuple[int, ...],
) -> None:
    visual, x = tower(kind)
    cut = stages.split(visual, part, statistics)
    wanted = towers.image_features(visual, x, statistics)
    kept = cut.front(x)
    assert all(len(array) == 2 for array in kept.values())
    found = cut.back(kept)
    assert set(found) == {"pooled"} | ({"statistics"} if statistics else set())
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], atol=1e-6, rtol=1e-5)


def test_how_much_is_kept_of_a_picture_and_trained(
    tower: Callable[[str], tuple[nn.Module, Tensor]],
) -> None:
    visual, x = tower("tiny")
    shapes = {}
    for part in ("frozen", "head", "last", "full"):
        cut = stages.split(visual, part, (1, 2, 3, 4))
        trained = sum(value.numel() for value in cut.names.values())
        shapes[part] = ({n: tuple(a.shape[1:]) for n, a in cut.front(x).items()}, trained)
    assert shapes == {
        "frozen": ({"pooled": (384,), "statistics": (992,)}, 0),
        "head": ({"head": (1280,), "early": (992,)}, 384 * 1280 + 384),
        "last": ({"map": (49, 192), "early": (352,)}, 1_509_504),
        "full": ({"pixels": (3, 224, 224)}, sum(p.numel() for p in visual.parameters())),
    }


@pytest.mark.parametrize(("kind", "part"), [(kind, part) for kind, part, _ in CUTS])
def test_names_are_openclips_and_what_lies_before_does_not_depend_on_them(
    tower: Callable[[str], tuple[nn.Module, Tensor]], kind: str, part: stages.Part
) -> None:
    visual, x = tower(kind)
    cut = stages.split(visual, part)
    own = {f"visual.{name}": value for name, value in visual.named_parameters()}
    assert all(own[name] is value for name, value in cut.names.items())
    assert not cut.names.keys() & cut.before(visual).keys()
    if part == "full":
        assert cut.before(visual) == {}
        return
    plain = {n: p for n, p in own.items() if n not in cut.names}
    assert plain.keys() <= cut.before(visual).keys()
    kept = cut.front(x)
    before = {name: value.detach().clone() for name, value in cut.names.items()}
    with torch.no_grad():
        for value in cut.names.values():
            value.add_(1)
        again = cut.front(x)
        for name, value in cut.names.items():
            value.copy_(before[name])
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_of_a_vit_more_than_one_block(
    tower: Callable[[str], tuple[nn.Module, Tensor]],
) -> None:
    visual, x = tower("vit")
    one, two = (stages.split(visual, "last", layers=n) for n in (1, 2))
    wanted = towers.image_features(visual, x)["pooled"]
    torch.testing.assert_close(two.back(two.front(x))["pooled"], wanted, atol=1e-6, rtol=1e-5)
    more = two.names.keys() - one.names.keys()
    assert {name.split(".")[3] for name in more} == {"1"}
    for layers in (0, 3):
        with pytest.raises(UsageError, match=r"has 3 blocks.*from 1 to 2"):
            stages.split(visual, "last", layers=layers)


@pytest.mark.parametrize("kind", ["resnet", "timm-vit"])
def test_other_towers_have_no_last_stage(
    tower: Callable[[str], tuple[nn.Module, Tensor]], kind: str
) -> None:
    with pytest.raises(UsageError, match="cannot be trained alone: use tower = head or full"):
        stages.split(tower(kind)[0], "last")


def test_a_tower_without_a_projection(tmp_path: Path) -> None:
    vision = timm("test_vit3", 160, "map", "none")
    folder = make(tmp_path / "siglip", config(vision) | {"embed_dim": 96})
    visual = load_tower(read_spec(folder), "image", {})
    with pytest.raises(UsageError, match="no projection: use tower = full"):
        stages.split(visual, "head")
