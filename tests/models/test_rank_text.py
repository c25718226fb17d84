"""Rank texts through a frozen tower: OpenCLIP's own forward where nothing is learnt, and a slow
reading of spec/l2rclip.md where it is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transformer import TextTransformer
from random_towers import SIGLIP_TEXT, VIT, config, make, timm
from rank_checkpoints import AGES, LEVELS
from text_towers import KINDS, TEXT, parts, random_tower, words_of
from torch import Tensor, nn
from torch.nn import functional as F

from imgrank.models.backbone import Backbone
from imgrank.models.rank_text import RankText, RankTextConfig, interpolation
from imgrank.models.ranks import Ranks
from imgrank.models.registry import EMBEDDED

WAYS = ("rankformer", "templates", "context", "interpolation")


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return Backbone(EMBEDDED / "tiny")


@pytest.mark.parametrize("kind", KINDS)
def test_vanilla_is_encode_text_for_every_kind_of_tower(kind: str, tiny: Backbone) -> None:
    model = random_tower(kind)
    tokenize = words_of(tiny, KINDS[kind][0]["context_length"])
    for ranks in (AGES, LEVELS):
        found = RankText(model, tokenize, ranks, RankTextConfig("vanilla"))()
        expected = model.encode_text(tokenize(ranks.texts), normalize=True)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        assert expected.std(0).max() > 1e-3  # the ranks differ


@pytest.mark.parametrize(
    "options",
    [{"use_pad_mask": True, "no_causal_mask": True}, {"embed_cls": True, "correct_cls_mask": True}],
)
def test_vanilla_is_encode_text_where_padding_is_masked(
    options: dict[str, bool], tiny: Backbone
) -> None:
    """Towers that no config of OpenCLIP asks for, but its module offers."""
    model, tokenize = random_tower("custom"), words_of(tiny, 24)
    torch.manual_seed(1)
    model.text = TextTransformer(**TEXT, output_dim=16, **options)
    found = RankText(model.eval(), tokenize, UNEVEN, RankTextConfig("vanilla"))()
    expected = model.encode_text(tokenize(UNEVEN.texts), normalize=True)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_vanilla_is_encode_text_on_tiny(tiny: Backbone) -> None:
    for ranks in (AGES, LEVELS):
        rank_text = RankText(tiny.text, tiny.tokenize, ranks, RankTextConfig("vanilla"))
        assert not rank_text().requires_grad
        assert list(rank_text.parameters()) == []
        torch.testing.assert_close(rank_text(), tiny.encode_text(ranks.texts), atol=1e-6, rtol=0)


def test_vanilla_is_encode_text_of_coca(tiny: Backbone) -> None:
    torch.manual_seed(0)
    text = TEXT | {"embed_cls": True, "output_tokens": True}
    decoder = {k: v for k, v in TEXT.items() if k != "context_length"}
    vision = VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    model = open_clip.CoCa(16, decoder | {"context_length": 24}, text, vision).eval()
    tokenize = words_of(tiny, 24)
    found = RankText(model, tokenize, AGES, RankTextConfig("vanilla"))()
    expected = model.encode_text(tokenize(AGES.texts))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_vanilla_is_encode_text_of_siglip(tmp_path: Path) -> None:
    """No start token, no causal mask, pooled at the last position, which is padding."""
    pytest.importorskip("transformers")
    vision = timm("test_vit3", 160, "map", "none")
    cfg = config(vision, SIGLIP_TEXT, custom_text=True, init_logit_bias=-10)
    backbone = Backbone(make(tmp_path / "siglip", cfg | {"embed_dim": 96}))
    ranks = Ranks("the {} sleeps", ("cat", "two dogs"), (0, 1), (0, 1), ("cat", "dogs"))
    rank_text = RankText(backbone.text, backbone.tokenize, ranks, RankTextConfig("vanilla"))
    torch.testing.assert_close(rank_text(), backbone.encode_text(ranks.texts), atol=1e-6, rtol=0)
    learnt = RankText(backbone.text, backbone.tokenize, ranks, RankTextConfig(context=2))
    r = learnt()
    r[0, 0].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in learnt.parameters())


# ---- against the spec, slowly --------------------------------------------------------------------


def attention(msa: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Multi-head self-attention over x [n, D], head by head and query by query; no mask."""
    D, H = x.shape[1], msa.num_heads
    q, k, v = (x @ msa.in_proj_weight.T + msa.in_proj_bias).split(D, dim=1)
    out = torch.zeros_like(x)
    for h in range(H):
        own = slice(h * D // H, (h + 1) * D // H)
        for i in range(len(x)):
            weights = torch.stack([q[i, own] @ key / math.sqrt(D / H) for key in k[:, own]])
            out[i, own] = weights.softmax(0) @ v[:, own]
    return msa.out_proj(out)


def refined(rank_text: RankText, R: list[Tensor], across_ranks: bool) -> list[Tensor]:
    """R' of templates R_k [n_k, D]."""
    former = rank_text.rankformer
    assert former is not None
    x = [former.norm(each) for each in R]
    if across_ranks:
        attended = [each.clone() for each in x]
        for p in range(max(map(len, x))):
            have = [k for k in range(len(x)) if p < len(x[k])]
            column = attention(former.attention, torch.stack([x[k][p] for k in have]))
            for row, k in enumerate(have):
                attended[k][p] = column[row]
    else:
        attended = [attention(former.attention, each) for each in x]
    a = float(former.residual)
    return [(1 - a) * each + a * former.ffn(m) for each, m in zip(R, attended, strict=True)]


def through(model: Any, ids: list[int], inside: Tensor, length: int) -> Tensor:
    """[start] inside [end] padding, at the full context length, through a causal CLIP tower."""
    part = parts(model)
    table = part.token_embedding.weight
    end = 1 + len(inside)
    padding = table[0].expand(length - end - 1, -1)
    x = torch.cat([table[ids[0]][None], inside, table[15513][None], padding])
    x = part.transformer((x + part.positional_embedding)[None], attn_mask=part.attn_mask)
    pooled = part.ln_final(x)[0, end]
    projection = part.text_projection
    out = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
    return F.normalize(out, dim=0)


UNEVEN = Ranks(
    "a photo of {} face",
    ("a", "a 3 year old", "100", "unbelievable"),
    (0.0, 1.0, 2.0, 5.0),
    (0.0, 1.0, 2.0, 5.0),
    ("a", "b", "c", "d"),
)


@pytest.mark.parametrize("kind", ["clip", "custom"])
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("context", [0, 5])
def test_rankformer_against_the_spec(kind: str, across: bool, context: int, tiny: Backbone) -> None:
    model, tokenize = random_tower(kind), words_of(tiny, 24)
    cfg = RankTextConfig(
        context=context, residual=0.6, heads=4, attention="ranks" if across else "tokens"
    )
    rank_text = RankText(model, tokenize, UNEVEN, cfg, seed=3)
    rows = tokenize(UNEVEN.texts).tolist()
    tokens = [row[1 : row.index(15513)] for row in rows]
    assert len({len(each) for each in tokens}) == 3  # so that padding is masked
    R = [parts(model).token_embedding.weight[torch.tensor(each)] for each in tokens]
    G = rank_text.context if context else torch.zeros(0, 32)
    assert G is not None
    expected = [
        through(model, row, torch.cat([G, own]), 24)
        for row, own in zip(rows, refined(rank_text, R, across), strict=True)
    ]
    torch.testing.assert_close(rank_text(), torch.stack(expected), atol=2e-6, rtol=0)


def test_interpolation_against_ordinalclips_formula(tiny: Backbone) -> None:
    model, tokenize = random_tower("clip"), words_of(tiny, 24)
    rank_text = RankText(model, tokenize, AGES, RankTextConfig("interpolation", base=4))
    assert rank_text.base is not None
    assert rank_text.context is not None
    expected = []
    for k in range(10):
        w = [1 - abs(k - 3 * j) / 9 for j in range(4)]
        token = sum(w[j] / sum(w) * rank_text.base[j] for j in range(4))
        inside = torch.cat([rank_text.context, torch.as_tensor(token)[None]])
        expected.append(through(model, [15512], inside, 24))
    torch.testing.assert_close(rank_text(), torch.stack(expected), atol=1e-6, rtol=0)


def test_interpolation_weights_by_hand() -> None:
    expected = [[4, 2, 0], [3, 3, 1], [2, 4, 2], [1, 3, 3], [0, 2, 4]]  # quarters, J at 0, 2, 4
    rows = torch.tensor(expected, dtype=torch.float32)
    torch.testing.assert_close(interpolation(5, 3), rows / rows.sum(1, keepdim=True))


def test_ways_agree_where_they_must(tiny: Backbone) -> None:
    """Untrained, learnt templates are the templates; a = 0 leaves them as they are."""

    def of(**options: Any) -> Tensor:
        return RankText(tiny.text, tiny.tokenize, AGES, RankTextConfig(**options), seed=1)()

    plain = of(way="context")
    torch.testing.assert_close(of(way="templates"), plain)
    torch.testing.assert_close(of(way="rankformer", residual=0), plain)
    assert (of(way="rankformer") - plain).abs().max() > 1e-3
    assert (of(way="context", context=3) - plain).abs().max() > 1e-3
    vanilla = tiny.encode_text(AGES.texts)
    torch.testing.assert_close(of(way="templates", context=0), vanilla, atol=1e-6, rtol=0)


# ---- what is trained -----------------------------------------------------------------------------


@pytest.mark.parametrize("attends", ["tokens", "ranks"])
@pytest.mark.parametrize("way", WAYS)
def test_a_subset_gives_the_very_rows(way: Any, attends: Any, tiny: Backbone) -> None:
    cfg = RankTextConfig(way, attention=attends)
    rank_text = RankText(tiny.text, tiny.tokenize, AGES, cfg)
    for which in (torch.tensor([7, 0, 3]), torch.tensor([9])):
        torch.testing.assert_close(rank_text(which), rank_text()[which], atol=1e-6, rtol=0)


TRAINED = {
    "rankformer": {"context", "rankformer"},
    "templates": {"context", "templates"},
    "context": {"context"},
    "interpolation": {"context", "base"},
}


@pytest.mark.parametrize("way", WAYS)
def test_only_the_text_side_learns(way: Any, tiny: Backbone) -> None:
    """The gradient goes through the tower, and nothing of the tower moves."""
    before = {name: value.clone() for name, value in tiny.text.state_dict().items()}
    rank_text = RankText(tiny.text, tiny.tokenize, AGES, RankTextConfig(way, learn_residual=True))
    assert {name.split(".")[0] for name in rank_text.state_dict()} == TRAINED[way]
    named = dict(rank_text.named_parameters())
    assert set(named) == set(rank_text.state_dict())
    optimiser = torch.optim.Adam(rank_text.parameters(), 1e-3)
    target = F.normalize(torch.randn(10, 384, generator=torch.Generator().manual_seed(0)), dim=1)
    found = []
    for _ in range(4):
        rank_text.train()
        loss = -(rank_text() * target).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0] - 0.01
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in named.values())
    assert all(p.grad is None for p in tiny.text.parameters())
    assert not any(module.training for module in tiny.text.modules())
    for name, value in tiny.text.state_dict().items():
        assert torch.equal(value, before[name]), name
    other = RankText(tiny.text, tiny.tokenize, AGES, RankTextConfig(way, learn_residual=True), 9)
    assert (other() - rank_text()).abs().max() > 1e-3
    other.load_state_dict(rank_text.state_dict())
    assert torch.equal(other(), rank_text())


def test_padding_of_learnt_templates_gets_no_gradient(tiny: Backbone) -> None:
    rank_text = RankText(tiny.text, tiny.tokenize, UNEVEN, RankTextConfig("templates"))
    rank_text()[:, 0].sum().backward()
    assert rank_text.templates is not None
    grad = rank_text.templates.grad
    assert grad is not None
    lengths = [(row != 0).sum() - 2 for row in tiny.tokenize(UNEVEN.texts)]
    for own, n in zip(grad, lengths, strict=True):
        assert (own[:n].abs().amax(1) > 0).all()
        assert own[n:].abs().sum() == 0


def test_the_gradient_is_that_of_the_numbers(tiny: Backbone) -> None:
    """Finite differences in float64, through RankFormer, packing and tower."""
    model, tokenize = random_tower("clip").double(), words_of(tiny, 24)
    cfg = RankTextConfig(context=2, heads=4, learn_residual=True)
    rank_text = RankText(model, tokenize, UNEVEN, cfg).double()
    direction = torch.randn(16, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    (rank_text() @ direction).sum().backward()
    assert all(p.grad is None for p in model.parameters())  # a tower that nobody had frozen
    for name, parameter in rank_text.named_parameters():
        flat, grad = parameter.data.view(-1), parameter.grad
        assert grad is not None
        place, step, sums = int(grad.abs().argmax()), 1e-5, []
        for sign in (1, -2, 1):  # up, down, and back
            flat[place] += sign * step
            sums.append((rank_text() @ direction).sum().item())
        slope = (sums[0] - sums[1]) / (2 * step)
        assert grad.view(-1)[place].item() == pytest.approx(slope, rel=1e-4), name


def test_a_tower_loaded_inside_inference_mode() -> None:
    """As `encode_text` of a fresh backbone loads it: no gradient goes through such tensors."""
    backbone = Backbone(EMBEDDED / "tiny")
    expected = backbone.encode_text(AGES.texts)
    rank_text = RankText(backbone.text, backbone.tokenize, AGES, RankTextConfig(context=1))
    rank_text()[0, 0].backward()
    assert rank_text.context is not None
    assert rank_text.context.grad is not None
    vanilla = RankText(backbone.text, backbone.tokenize, AGES, RankTextConfig("vanilla"))
    torch.testing.assert_close(vanilla(), expected, atol=1e-6, rtol=0)


def test_the_seed_alone_decides_the_start(tiny: Backbone) -> None:
    def start(seed: int, noise: int) -> dict[str, Tensor]:
        torch.manual_seed(noise)
        rank_text = RankText(tiny.text, tiny.tokenize, AGES, RankTextConfig(), seed)
        drawn = torch.rand(())
        torch.manual_seed(noise)
        assert drawn == torch.rand(())  # torch's own generator has not moved
        return rank_text.state_dict()

    one, same, other = start(5, 1), start(5, 2), start(6, 1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["context"], other["context"])
    assert one["context"].shape == (5, 256)
    assert one["context"].std().item() == pytest.approx(0.02, rel=0.1)
