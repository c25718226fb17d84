"""The estimate of memory and time, against the real classes where it can be counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from imgrank.models.vlm_shape import PUBLISHED, Shape, shape_from
from imgrank.train import rarl_cost, rarl_recipe, sft_recipe
from imgrank.train.rarl_cost import RTX_4090, Cost, estimate, lines
from imgrank.train.rarl_recipe import override

RANK, ROW = 8, 256
SMALL, LARGE = PUBLISHED["qwen2.5-vl-3b"], PUBLISHED["qwen2.5-vl-7b"]


@pytest.fixture(scope="module")
def recipe() -> rarl_recipe.Config:
    return rarl_recipe.load_recipe()


# ---- what was counted ----------------------------------------------------------------------------


def config(width: int, inner: int, layers: int) -> Any:
    from transformers import Qwen2_5_VLConfig

    eighth = width // 4 // 8
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 500,
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2 * eighth, eighth, eighth],
            },
        },
        vision_config={
            "depth": 3,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": width,
            "fullatt_block_indexes": [1],
        },
        **{f"{name}_token_id": 490 + n for n, name in enumerate(("image", "video"))},
        tie_word_embeddings=True,
    )


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    torch = pytest.importorskip("torch")
    pytest.importorskip("peft")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(width: int, inner: int, layers: int, *, full: bool = False, plain: bool = False) -> Any:
    """As `rarl_policy` trains it on a GPU: bfloat16 with LoRA in float32, or all in float32."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    from imgrank.train.rarl_policy import _with_lora

    model = Qwen2_5_VLForConditionalGeneration(config(width, inner, layers))
    if full:
        return model.requires_grad_(True).train()
    model = model.to(torch.bfloat16).requires_grad_(False)
    if plain:
        return model.eval()
    return _with_lora(model, rarl_recipe.Config(rank=RANK)).train()


def kept_by_a_layer(width: int, inner: int, full: bool) -> float:
    """Bytes a token: what two more layers keep, by two."""
    import torch
    from live_bytes import kept

    ids = torch.arange(ROW)[None]
    found = []
    for layers in (1, 3):
        model = made(width, inner, layers, full=full)
        mixed = torch.autocast("cpu", torch.bfloat16) if full else nullcontext()

        def run(model: Any = model, mixed: Any = mixed) -> None:
            with mixed:
                model(input_ids=ids, use_cache=False, logits_to_keep=1)

        found.append(kept(model, run))
    return (found[1] - found[0]) / 2 / ROW


@pytest.mark.parametrize(("width", "inner"), [(128, 512), (256, 512)])
def test_bytes_that_a_layer_keeps(recipe: rarl_recipe.Config, width: int, inner: int) -> None:
    shape = shape_from(config(width, inner, 1).to_dict())
    lora = replace(recipe, rank=RANK)
    assert kept_by_a_layer(width, inner, False) == pytest.approx(
        rarl_cost._kept(lora, shape, 2), rel=0.02
    )
    cast = 2 * shape.layer / ROW  # autocast keeps the weights in bfloat16 too
    found = kept_by_a_layer(width, inner, True) - cast
    assert found == pytest.approx(rarl_cost._kept(replace(lora, full=True), shape, 2), rel=0.02)


@pytest.mark.parametrize("plain", [True, False])
def test_bytes_that_pass_through_a_layer_and_operations(plain: bool) -> None:
    """In reading a prompt, beside the cache; and in writing one token."""
    import torch
    from live_bytes import Live

    width, inner, rows, row = 128, 512, 4, 128
    ids = torch.arange(row).repeat(rows, 1)
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    operations = []
    for layers in (1, 3):
        model = made(width, inner, layers, plain=plain).eval()
        cached = shape_from(config(width, inner, layers).to_dict()).cached * 2
        with torch.no_grad(), Live() as reading:
            out = model(input_ids=ids, attention_mask=mask, use_cache=True, logits_to_keep=1)
        passing = reading.most / rows / row - cached
        longer = torch.cat([mask, mask[:, :1]], 1)
        with torch.no_grad(), Live() as writing:
            model(
                input_ids=ids[:, :1],
                attention_mask=longer,
                past_key_values=out.past_key_values,
                use_cache=True,
            )
        operations.append(writing.operations)
    of_width, of_inner = rarl_cost.PASSING if plain else rarl_cost.PASSING_LORA
    assert passing == pytest.approx(of_width * width + of_inner * inner + row, rel=0.03)
    counted = rarl_cost.OPERATIONS if plain else rarl_cost.WITH_LORA
    assert (operations[1] - operations[0]) / 2 == pytest.approx(counted, rel=0.1)


def test_bytes_that_seeing_takes() -> None:
    import torch
    from live_bytes import Live

    tower = made(128, 256, 1, plain=True).model.visual
    grid = torch.tensor([[1, 16, 16]] * 4)
    pixels = torch.zeros(4 * 256, 3 * 2 * 14 * 14)
    with torch.no_grad(), Live() as live:
        tower(pixels, grid)
    expected = rarl_cost.SEEING * 64 + 2 * pixels.shape[1] / 2  # width, and a copy in bfloat16
    assert live.most / len(pixels) < expected * 1.1


# ---- what follows --------------------------------------------------------------------------------


def test_three_billion_fit_into_24_gb_with_the_recipe(recipe: rarl_recipe.Config) -> None:
    cost = estimate(recipe, SMALL)
    assert cost.memory < 22e9
    assert cost.always["weights"] == 2 * 3_754_622_976
    assert cost.always["LoRA and its optimiser"] == 16 * SMALL.lora(32)
    assert [part.steps for part in cost.parts] == [recipe.first.steps, recipe.second.steps]
    assert lines(cost)[1].endswith("fits into 24 GB")


def test_seven_billion_do_not(recipe: rarl_recipe.Config) -> None:
    told = lines(estimate(recipe, LARGE))
    assert "does NOT fit into 24 GB" in told[1]
    assert told[-1].startswith("less memory: --set at_once=1 --set generate_at_once=8")


@pytest.mark.parametrize(
    "dearer",
    [
        {"checkpointing": False},
        {"max_pixels": 400_000},
        {"max_new_tokens": 1024},
        {"at_once": 16},
        {"second": {"generate_at_once": 64}},
        {"rank": 128},
        {"precision": "float32"},
    ],
)
def test_what_takes_more_memory(recipe: rarl_recipe.Config, dearer: dict[str, Any]) -> None:
    """In some phase, or all the time; nowhere less."""
    plain, dear = (phases(estimate(override(recipe, more), SMALL)) for more in ({}, dearer))
    assert all(dear[name] >= plain[name] for name in plain)
    assert any(dear[name] > plain[name] for name in plain)


def phases(cost: Cost) -> dict[str, float]:
    return {"always": sum(cost.always.values()), **cost.parts[-1].memory}


def test_full_fine_tuning_needs_another_gpu(recipe: rarl_recipe.Config) -> None:
    cost = estimate(replace(recipe, full=True), SMALL)
    assert sum(cost.always.values()) == 8 * SMALL.parameters + (12 + 2) * SMALL.language
    exact = estimate(replace(recipe, full=True, precision="float32"), SMALL)
    assert sum(exact.always.values()) == 8 * SMALL.parameters + 12 * SMALL.language
    assert "--set full=false" in lines(cost)[-1]


def test_time(recipe: rarl_recipe.Config) -> None:
    cost = estimate(recipe, SMALL)
    assert cost.seconds == pytest.approx(sum(part.steps * part.step for part in cost.parts))
    first, second = cost.parts
    assert first.step < second.step  # more pictures
    # Larger lots wait for fewer operations, and keep the arithmetic as it is.
    lots = estimate(override(recipe, {"generate_at_once": 16}), SMALL).parts[0].seconds
    assert first.seconds["drawing"] < lots["drawing"] / 3
    assert first.seconds["learning"] == lots["learning"]
    # A pass with gradient and checkpointing: there, once more, and back; the tower only there.
    text = estimate(replace(recipe, max_pixels=784), SMALL).parts[0].seconds
    assert text["learning"] == pytest.approx(3 * text["comparing"], rel=0.01)
    assert "comparing" not in estimate(replace(recipe, kl=0.0), SMALL).parts[0].seconds
    faster = replace(RTX_4090, flops=2 * RTX_4090.flops)
    assert estimate(recipe, SMALL, faster).parts[0].seconds["learning"] == pytest.approx(
        first.seconds["learning"] / 2
    )


def test_arithmetic_by_hand() -> None:
    """One layer of ones, one picture of one token."""
    shape = Shape(1, 1, 1, 1, 1, 1, 10, True, 1, 1, 1, 1)
    recipe = rarl_recipe.Config(prompts=1, group=2, max_pixels=784, max_new_tokens=4, kl=0.0)
    cost = estimate(replace(recipe, stages="first"), shape)
    prompt = 220 + 6 + 1
    layer = 7 + 7
    assert shape.layer == 7 and shape.lora(1) == layer
    (first,) = cost.parts
    foretold = 2 * 4 * 10
    read = (prompt + 4) * (2 * 7 + 4 * (prompt + 4)) + foretold
    see = shape.vision_flops(1)
    assert first.seconds["learning"] == pytest.approx(2 * (see + 2 * read) / (0.35 * 165e12))


def test_lines_name_what_is_assumed(recipe: rarl_recipe.Config) -> None:
    told = "\n".join(lines(estimate(recipe, SMALL)))
    assert told.startswith("Estimated, not measured: 3.75 billion parameters; LoRA of rank 32")
    for part in ("first stage: ", "second stage: ", "assumed: ", "35% of its 165 TFLOP/s", "20 µs"):
        assert part in told


def test_plain_fine_tuning_has_one_stage_and_draws_nothing() -> None:
    cost = estimate(sft_recipe.load_recipe(), SMALL)
    (part,) = cost.parts
    assert set(part.seconds) == set(part.memory) == {"learning"}
    assert lines(cost)[2].startswith(f"{part.steps} steps of ")
