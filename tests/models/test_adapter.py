"""The adapter: cheap pair form against the slow one, variants, batch independence, a fixture."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from imgrank.errors import CheckpointError
from imgrank.models.adapter import Adapter, AdapterConfig, load_adapter
from imgrank.models.checkpoint import save_checkpoint

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
SMALL = AdapterConfig(
    image_widths={"grid": 12, "statistics": 10},
    text_width=6,
    width=16,
    layers=1,
    encoder_layers=1,
    heads=4,
    encoder_heads=2,
    rank_heads=4,
    learnable_text_tokens=3,
    relational_tokens=5,
)


def build(seed: int = 0, **changes: Any) -> Adapter:
    torch.manual_seed(seed)
    adapter = Adapter(replace(SMALL, **changes)).eval()
    for parameter in adapter.parameters():  # so that no norm or bias is neutral
        parameter.data += 0.1 * torch.randn_like(parameter)
    return adapter


def tokens(batch: int = 4, seed: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = {
        "grid": torch.randn(batch, 9, 12, generator=generator),
        "statistics": torch.randn(batch, 1, 10, generator=generator),
    }
    return images, torch.randn(7, 6, generator=generator)


def slow_fused(adapter: Adapter, z: Tensor) -> Tensor:
    """Pair embeddings [B, B, E] by the paper's softmax over 2P tokens, one pair after the other."""
    head, config = adapter.ranking, adapter.config
    B, _, D = z.shape
    H = config.rank_heads
    rows = []
    for i in range(B):
        for j in range(B):
            k_i, k_j = (head.key_value_norm(head.key_value(z[n])) for n in (i, j))
            if config.rank_head == "self-attention":
                q = head.query_norm(head.query(torch.cat((z[i], z[j]))))
            else:
                q = head.query_norm(head.query(head.queries))
            keys = torch.cat((k_i, k_j))
            outs = []
            for h in range(H):
                part = slice(h * D // H, (h + 1) * D // H)
                A = (q[:, part] @ keys[:, part].T / (D // H) ** 0.5).softmax(-1)
                P = len(k_i)
                outs.append((A[:, :P] @ k_i[:, part], A[:, P:] @ k_j[:, part]))
            o_i, o_j = (torch.cat([out[side] for out in outs], -1) for side in (0, 1))
            if config.rank_fusion == "concatenation":
                fused = torch.cat((head.out(o_i), head.out(o_j)), -1)
            else:
                fused = head.out(o_i - o_j if config.rank_fusion == "difference" else o_i + o_j)
            rows.append(fused.sum(0) if config.over_tokens == "sum" else fused.mean(0))
    return torch.stack(rows).unflatten(0, (B, B))


@given(
    batch=st.integers(1, 4),
    tokens_per_image=st.integers(1, 6),
    queries=st.integers(1, 6),
    heads=st.sampled_from([1, 2, 8]),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    rank_head=st.sampled_from(["attention", "self-attention"]),
    fusion=st.sampled_from(["difference", "merged", "concatenation"]),
    over_tokens=st.sampled_from(["sum", "mean"]),
)
@settings(max_examples=15, deadline=None)
def test_cheap_pair_form_equals_the_slow_one(
    batch: int,
    tokens_per_image: int,
    queries: int,
    heads: int,
    scale: float,
    rank_head: str,
    fusion: str,
    over_tokens: str,
) -> None:
    adapter = build(
        relational_tokens=queries,
        rank_heads=heads,
        rank_head=rank_head,
        rank_fusion=fusion,
        over_tokens=over_tokens,
    ).double()
    generator = torch.Generator().manual_seed(batch * 100 + tokens_per_image)
    z = scale * torch.randn(batch, tokens_per_image, 16, generator=generator, dtype=torch.double)
    summary = adapter.summarise(z)
    assert adapter.ranking is not None
    torch.testing.assert_close(adapter.ranking.fuse(summary, summary), slow_fused(adapter, z))


VARIANTS: dict[str, dict[str, Any]] = {
    "as released": {},
    "no ranking head": {"rank_head": "none"},
    "token differences": {"rank_head": "tokens"},
    "merged A V": {"rank_fusion": "merged"},
    "concatenation": {"rank_fusion": "concatenation"},
    "self-attention": {"rank_head": "self-attention"},
    "M = 1": {"relational_tokens": 1},
    "M = 4": {"relational_tokens": 4},
    "M = 9": {"relational_tokens": 9},
    "M = 16": {"relational_tokens": 16},
    "mean over M": {"over_tokens": "mean"},
    "D' smaller": {"width_encoded": 8},
    "no learnable text": {"learnable_text_tokens": 0},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_variant_learns_from_both_heads(changes: dict[str, Any]) -> None:
    adapter = build(**changes)
    images, text = tokens()
    scores, pairs = adapter(images, text)
    assert scores.shape == (4,)
    total = scores.square().sum()
    if pairs is None:
        assert adapter.config.rank_head == "none"
    else:
        assert pairs.shape == (4, 4)
        total = total + pairs.square().sum()
    total.backward()
    dead = [
        name
        for name, p in adapter.named_parameters()
        if p.numel() and (p.grad is None or not p.grad.abs().sum() > 0)
    ]
    # Softmax is blind to what is added to all keys of a head, and LayerNorm to shifts: so the
    # learnable scalars, each broadcast over the width, get but rounding (2e-6 in the authors' code
    # too). Nothing else may be without gradient.
    assert set(dead) <= {"learnable_text"}


def test_published_sizes_are_config() -> None:
    """D' = 512 and M of the paper, at the released width."""
    with torch.device("meta"):
        adapter = Adapter(AdapterConfig(width_encoded=512, relational_tokens=9))
    assert adapter.cross_modal.projection.shape == (768, 512)
    assert adapter.ranking is not None
    assert adapter.ranking.queries.shape == (9, 512)


def test_no_input_projection_where_the_widths_are_equal() -> None:
    adapter = build(image_widths={"grid": 16, "statistics": 10}, text_width=16)
    assert list(adapter.image_sources) == ["statistics"]
    assert adapter.text_source is None


def test_score_does_not_depend_on_the_batch() -> None:
    adapter = build()
    images, text = tokens(6)
    together = adapter.scores(adapter.encode(images, text))
    for n in range(6):
        alone = adapter.encode({k: v[n : n + 1] for k, v in images.items()}, text)
        torch.testing.assert_close(adapter.scores(alone)[0], together[n], atol=1e-5, rtol=0)


def test_one_instruction_for_all_equals_one_for_each() -> None:
    adapter = build()
    images, text = tokens()
    torch.testing.assert_close(
        adapter.encode(images, text), adapter.encode(images, text.expand(4, -1, -1))
    )


def test_pairs_from_gathered_summaries_equal_pairs_of_one_batch() -> None:
    """What lets N processes with B/N images each compute the B x B logits."""
    adapter = build()
    images, text = tokens(6)
    z = adapter.encode(images, text)
    halves = [adapter.summarise(z[:2]), adapter.summarise(z[2:])]
    gathered = tuple(torch.cat(parts) for parts in zip(*halves, strict=True))
    whole = adapter.pair_logits(z)
    torch.testing.assert_close(adapter.pair_logits_of(gathered, gathered), whole)
    torch.testing.assert_close(adapter.pair_logits_of(halves[0], gathered), whole[:2])


def test_pair_logit_is_antisymmetric() -> None:
    adapter = build()
    images, text = tokens(2)
    a, b = adapter.encode(images, text)
    o = adapter.pair_logits(torch.stack((a, b)))
    assert adapter.pair_logit(a, b).item() == pytest.approx((o[0, 1] - o[1, 0]).item() / 2)
    assert adapter.pair_logit(a, b).item() == pytest.approx(-adapter.pair_logit(b, a).item())
    assert adapter.pair_logit(a, a).item() == pytest.approx(0, abs=1e-6)


def test_missing_source_and_missing_head_are_named() -> None:
    images, text = tokens()
    with pytest.raises(ValueError, match="statistics"):
        build().encode({"grid": images["grid"]}, text)
    adapter = build(rank_head="none")
    with pytest.raises(ValueError, match="no ranking head"):
        adapter.pair_logits(adapter.encode(images, text))


def test_config_survives_json() -> None:
    config = replace(SMALL, rank_fusion="merged", width_encoded=8)
    assert AdapterConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_regression_fixture() -> None:
    """Numbers of a small adapter as first written, after it had passed parity."""
    stored = load_file(FIXTURES / "adapter_small.safetensors")
    adapter = Adapter(SMALL).eval()
    adapter.load_state_dict(
        {k.removeprefix("model."): v for k, v in stored.items() if k.startswith("model.")}
    )
    images = {"grid": stored["grid"], "statistics": stored["statistics"]}
    z = adapter.encode(images, stored["text"])
    torch.testing.assert_close(z, stored["encoded"], atol=1e-5, rtol=0)
    torch.testing.assert_close(adapter.scores(z), stored["scores"], atol=1e-5, rtol=0)
    torch.testing.assert_close(adapter.pair_logits(z), stored["pairs"], atol=1e-5, rtol=0)


def test_load_adapter_round_trip(tmp_path: Path) -> None:
    adapter = build(source_dropout=0.3)
    backbone = {"name": "toy", "digest": "sha256:0"}
    model = adapter.config.to_dict()
    config = {"kind": "adapter", "name": "toy", "backbone": backbone, "model": model, "tasks": {}}
    save_checkpoint(tmp_path, config, adapter.state_dict(), "")
    images, text = tokens()
    again = load_adapter(tmp_path)
    expected = adapter.scores(adapter.encode(images, text))
    assert torch.equal(again.scores(again.encode(images, text)), expected)
    save_checkpoint(tmp_path, config, {"a": torch.ones(1)}, "")
    with pytest.raises(CheckpointError, match="do not fit"):
        load_adapter(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"new": 3}, {"heads": 5}, {"heads": 0}, {"width": 10**12}, {"width": "wide"}, {"layers": 9}],
)
def test_a_config_that_asks_for_something_else(tmp_path: Path, change: dict[str, Any]) -> None:
    adapter = build()
    backbone = {"name": "toy", "digest": "sha256:0"}
    model = {**adapter.config.to_dict(), **change}
    config = {"kind": "adapter", "name": "toy", "backbone": backbone, "model": model, "tasks": {}}
    save_checkpoint(tmp_path, config, adapter.state_dict(), "")
    with pytest.raises(CheckpointError, match=r"do not fit.*Upgrade imgrank") as caught:
        load_adapter(tmp_path)
    assert "\n" not in str(caught.value)
