"""Layer-wise decay: which share of the learning rate each parameter of a model has."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import torch

from imgrank.train.layer_decay import groups, shares

TEXT = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 2}


def timm(name: str, size: int = 32) -> dict[str, Any]:
    return {"timm_model_name": name, "image_size": size, "timm_pool": "avg", "timm_proj": "linear"}


VIT = {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 16}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}
# {how a name goes on behind "visual.": steps from the output}; every name must fit one of them.
KINDS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "vit": (
        VIT,
        {
            **{"conv1": 4, "class_embedding": 4, "positional_embedding": 4, "ln_pre": 4},
            **{"transformer.resblocks.0.": 3, "transformer.resblocks.1.": 2},
            **{"transformer.resblocks.2.": 1, "ln_post": 0, "proj": 0},
        },
    ),
    "resnet": (
        RESNET,
        {
            **{"conv1": 5, "conv2": 5, "conv3": 5, "bn1": 5, "bn2": 5, "bn3": 5},
            **{"layer1": 4, "layer2": 3, "layer3": 2, "layer4": 1, "attnpool": 0},
        },
    ),
    "convnext": (
        timm("test_convnext"),
        {
            **{"trunk.stem": 5, "trunk.stages.0.": 4, "trunk.stages.1.": 3, "trunk.stages.2.": 2},
            **{"trunk.stages.3.": 1, "trunk.head": 0, "head": 0},
        },
    ),
    "efficientnet": (
        timm("test_efficientnet"),
        {
            **{"trunk.conv_stem": 6, "trunk.bn1": 6, "trunk.blocks.0.": 5, "trunk.blocks.1.": 4},
            **{"trunk.blocks.2.": 3, "trunk.blocks.3.": 2, "trunk.blocks.4.": 1},
            **{"trunk.conv_head": 0, "trunk.bn2": 0, "head": 0},
        },
    ),
    "timm-vit": (
        timm("test_vit", 160),
        {
            **{"trunk.cls_token": 7, "trunk.pos_embed": 7, "trunk.patch_embed": 7},
            **{f"trunk.blocks.{n}.": 6 - n for n in range(6)},
            **{"trunk.norm": 0, "trunk.fc_norm": 0, "head": 0},
        },
    ),
}


def model_of(vision: dict[str, Any], custom: bool = False) -> torch.nn.Module:
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    return kind(embed_dim=8, vision_cfg=vision, text_cfg=TEXT)


@pytest.mark.parametrize("kind", KINDS)
def test_image_towers(kind: str) -> None:
    vision, wanted = KINDS[kind]
    names = [name for name, _ in model_of(vision).named_parameters() if name.startswith("visual.")]
    found = shares(names, 0.9)
    for name in names:
        own = [n for start, n in wanted.items() if name.startswith(f"visual.{start}")]
        assert len(own) == 1, name
        assert found[name] == pytest.approx(0.9 ** own[0]), name
    seen = {s for s in wanted for name in names if name.startswith(f"visual.{s}")}
    assert len(seen) >= len(wanted) - 1  # of a timm ViT one of two norms is there


@pytest.mark.parametrize("custom", [False, True])
def test_the_text_tower_counts_for_itself(custom: bool) -> None:
    model = model_of(VIT, custom)
    found = shares([name for name, _ in model.named_parameters()], 0.5)
    start = "text." if custom else ""
    wanted = {
        "token_embedding.weight": 3, "positional_embedding": 3,
        "transformer.resblocks.0.ln_1.weight": 2, "transformer.resblocks.1.mlp.c_fc.bias": 1,
        "ln_final.bias": 0, "text_projection": 0,
    }  # fmt: skip
    for name, steps in wanted.items():
        assert found[start + name] == 0.5**steps, name
    assert found["logit_scale"] == 1
    assert found["visual.conv1.weight"] == 0.5**4


def test_a_part_of_a_tower_has_the_shares_of_the_whole() -> None:
    every = [name for name, _ in model_of(VIT).named_parameters()]
    whole = shares(every, 0.9)
    last = [n for n in every if "resblocks.2." in n or n in ("visual.proj", "text_projection")]
    assert shares(last, 0.9) == {name: whole[name] for name in last}


def test_groups_of_an_optimiser() -> None:
    model = model_of(VIT)
    named = dict(model.named_parameters())
    found = groups(named, 0.9)
    assert [g["share"] for g in found] == pytest.approx([1, 0.9, 0.81, 0.729, 0.6561])
    assert sum(len(g["params"]) for g in found) == len(named)
    assert any(p is named["visual.proj"] for p in found[0]["params"])
    assert len(groups(named, 1.0)) == 1
