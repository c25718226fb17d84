"""A Qwen2.5-VL's shape from its config.json, against the real classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imgrank.errors import CheckpointError
from imgrank.models.vlm_shape import PUBLISHED, shape_from, shape_of


def test_parameters_and_bytes_are_those_of_the_model(tiny_vlm_folder: Path) -> None:
    from transformers import Qwen2_5_VLForConditionalGeneration

    from imgrank.models.vlm_spec import read_vlm

    shape, spec = shape_of(tiny_vlm_folder), read_vlm(tiny_vlm_folder)
    assert shape.parameters == spec.parameters
    headers = sum(8 + int.from_bytes(path.read_bytes()[:8], "little") for path in spec.weights)
    assert 4 * shape.parameters == spec.bytes - headers
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(tiny_vlm_folder)
    sizes = {"visual": 0, "language_model": 0}
    for name, parameter in model.named_parameters():
        sizes["visual" if ".visual." in name else "language_model"] += parameter.numel()
    assert sizes == {"visual": shape.vision, "language_model": shape.language}


def test_published_shapes_have_the_numbers_that_are_told_of_their_weights() -> None:
    small, large = PUBLISHED["qwen2.5-vl-3b"], PUBLISHED["qwen2.5-vl-7b"]
    assert (small.parameters, large.parameters) == (3_754_622_976, 8_292_166_656)
    assert large.vision == 676_550_144
    assert small.cached * 2 == 36_864  # bytes of a token in bfloat16


@pytest.mark.parametrize("rank", [1, 8])
def test_lora_has_as_many_as_peft_makes(tiny_vlm_folder: Path, rank: int) -> None:
    pytest.importorskip("peft")
    import torch

    from imgrank.models.vlm import VisionLanguage
    from imgrank.train.rarl_policy import Policy
    from imgrank.train.rarl_recipe import Config

    policy = Policy(VisionLanguage(tiny_vlm_folder, torch.device("cpu")), Config(rank=rank))
    found = sum(p.numel() for p in policy.vlm.model.parameters() if p.requires_grad)
    assert found == shape_of(tiny_vlm_folder).lora(rank)


def test_flops_of_a_forward_pass_are_those_that_torch_counts(tiny_vlm_folder: Path) -> None:
    """With attention as plain products: torch does not count the fused one of a CPU."""
    import torch
    from PIL import Image
    from torch.utils.flop_counter import FlopCounterMode

    from imgrank.listwise.prompt import Rule, messages
    from imgrank.models.vlm import VisionLanguage

    vlm = VisionLanguage(tiny_vlm_folder, torch.device("cpu"))
    vlm.model.set_attn_implementation("eager")
    shape = shape_of(tiny_vlm_folder)
    pictures = [Image.new("RGB", size) for size in ((56, 56), (28, 56))]
    inputs = vlm.inputs([(messages(Rule("age", 0, 100), 2), pictures)])
    row = inputs["input_ids"].shape[1]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        vlm.model(**inputs, use_cache=False, logits_to_keep=3)
    tokens = [int(grid.prod()) // shape.merge**2 for grid in inputs["image_grid_thw"]]
    assert tokens == [4, 2] == [shape.picture_tokens(p.width * p.height) for p in pictures]
    expected = sum(map(shape.vision_flops, tokens)) + shape.language_flops(row, row, 3)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.01)


def test_both_ways_of_writing_a_config_tell_the_same(tiny_vlm_folder: Path) -> None:
    config = json.loads((tiny_vlm_folder / "config.json").read_text())
    flat = {**config, **config["text_config"]}
    del flat["text_config"]
    assert shape_from(flat) == shape_from(config)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"model_type": "qwen2_5_vl"}', '{"vision_config": {"hidden_size": 32}}']
)
def test_another_config_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match="does not tell the shape"):
        shape_of(tmp_path)


def test_a_missing_config_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        shape_of(tmp_path)
