"""Parity of the adapter with the authors' code: every intermediate, both logits, all losses.

The adapter alone, from the authors' tokens; `test_official_parity.py` has the whole way. The
numbers come from the authors' program on tiny random models (`../shared/parity`).
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from imgrank.models.adapter import Adapter
from imgrank.models.official import adapter_config, adapter_tensors
from imgrank.train import losses

PARITY = Path(__file__).resolve().parents[3] / "shared" / "parity"
pytestmark = pytest.mark.skipif(
    not PARITY.is_dir(), reason="the parity data (shared/parity) is not beside the repository"
)
ATOL = 1e-5
VARIANTS = ("main", "vit")
SUFFIXES = ("", "_same")


class Case:
    """One variant: the adapter with the official weights, and what the authors' code gave."""

    def __init__(self, variant: str) -> None:
        folder = PARITY if variant == "main" else PARITY / variant
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        whole = load_file(folder / "official_tiny_state_dict.safetensors")
        official = {name: tensor for name, tensor in whole.items() if name.startswith("adapter.")}
        self.shapes = {name: tuple(tensor.shape) for name, tensor in official.items()}
        self.adapter = Adapter(
            adapter_config(
                self.shapes,
                heads=self.config["fixed_heads"]["crossmodal_block"],
                encoder_heads=self.config["post_fuse_heads"],
            )
        ).eval()
        self.adapter.load_state_dict(adapter_tensors(official))
        self.expected = load_file(folder / "fixture.safetensors")

    def encode(self, suffix: str) -> Tensor:
        return self.adapter.encode(
            {"grid": self.expected["image_tokens"]}, self.expected["text_tokens" + suffix]
        )


@pytest.fixture(scope="module", params=VARIANTS)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=ATOL, rtol=0)


def slow_attention(adapter: Adapter, z: Tensor) -> tuple[Tensor, Tensor]:
    """The paper's form: one softmax over the 2P tokens of each pair.

    Returns weights [B*B, H, M, 2P] and O_i - O_j after the output projection [B*B, M, D].
    """
    head = adapter.ranking
    B, P, D = z.shape
    H = head.heads
    k = head.key_value_norm(head.key_value(z))
    left = k[:, None].expand(B, B, P, D).reshape(B * B, P, D)
    right = k[None].expand(B, B, P, D).reshape(B * B, P, D)
    keys = torch.cat((left, right), dim=1).unflatten(-1, (H, D // H)).transpose(1, 2)
    q = head.query_norm(head.query(head.queries)).unflatten(-1, (H, D // H)).transpose(0, 1)
    weights = (q @ keys.transpose(-1, -2) / (D // H) ** 0.5).softmax(-1)
    o_i = weights[..., :P] @ keys[:, :, :P]
    o_j = weights[..., P:] @ keys[:, :, P:]
    return weights, head.out((o_i - o_j).transpose(1, 2).flatten(2))


def check_encoder(case: Any, suffix: str) -> None:
    """Every intermediate. case: has `adapter`, `encode` and `expected`."""
    seen: dict[str, Tensor] = {}
    modules = {
        "xm_self0": case.adapter.cross_modal.self_blocks[0],
        "xm_cross0": case.adapter.cross_modal.cross_blocks[0],
        "after_crossmodal": case.adapter.cross_modal,
        "pf_layer0": case.adapter.encoder[0],
    }
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        for name, module in modules.items()
    ]
    z = case.encode(suffix)
    for hook in hooks:
        hook.remove()
    for name in modules:
        close(seen[name], case.expected[name + suffix])
    close(z, case.expected["after_post_fuse" + suffix])
    close(case.adapter.score_norm(z), case.expected["after_reg_ln" + suffix])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_parity_of_the_encoder(case: Case, suffix: str) -> None:
    check_encoder(case, suffix)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_parity_of_the_score(case: Case, suffix: str) -> None:
    scores = case.adapter.scores(case.encode(suffix))
    close(scores[:, None], case.expected["adapter_logits" + suffix])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_parity_of_the_ranking_attention(case: Case, suffix: str) -> None:
    z = case.encode(suffix)
    weights, differences = slow_attention(case.adapter, z)
    if not suffix:
        close(weights, case.expected["rank_attention"])
    close(differences, case.expected["pair_token_diffs" + suffix])
    lse, p = case.adapter.summarise(z)  # and the cheap form, from one summary an image
    w = torch.sigmoid(lse[:, None] - lse[None])[..., None]  # [B, B, H, M, 1]
    mixed = (w * p[:, None] - (1 - w) * p[None]).transpose(2, 3).flatten(3)
    cheap = case.adapter.ranking.out(mixed).flatten(0, 1)
    close(cheap, case.expected["pair_token_diffs" + suffix])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_parity_of_the_pair_logits(case: Case, suffix: str) -> None:
    logits = case.adapter.pair_logits(case.encode(suffix))
    close(logits.reshape(-1, 1), case.expected["adapter_paired_logits" + suffix])


@pytest.mark.parametrize("target", ["t0", "t1", "t2", "t3"])
@pytest.mark.parametrize("kind", ["dual", "single"])
def test_parity_of_the_losses(case: Case, kind: str, target: str) -> None:
    z = case.encode("_same")
    s, y = case.adapter.scores(z), case.expected[f"target_{target}"]
    rank = (
        losses.rank_bce(case.adapter.pair_logits(z), y)
        if kind == "dual"
        else losses.rank_bce_single(s, y)
    )
    parts = {
        "rank": rank,
        "regression": losses.ALPHA * losses.reg_log_smooth_l1(s, y),
        "bce": losses.bce(s, y),
    }
    for name, components in case.config["loss_components"].items():
        total = torch.stack([parts[component] for component in components]).sum()
        close(total, case.expected[f"loss|{kind}|{name}|{target}"])


def test_parity_of_the_gradients(case: Case) -> None:
    z = case.encode("_same")
    y = case.expected["target_t0"]
    loss = losses.rank_bce(case.adapter.pair_logits(z), y)
    loss = loss + losses.ALPHA * losses.reg_log_smooth_l1(case.adapter.scores(z), y)
    case.adapter.zero_grad()
    loss.backward()
    ours = {
        "learnable_text_tokens": case.adapter.learnable_text,
        "pair_regressor.output_head.weight": case.adapter.pair_mlp[9].weight,
        "reg_tokens": case.adapter.ranking.queries,
        "regressor.output_head.weight": case.adapter.score_mlp[6].weight,
    }
    for name, parameter in ours.items():
        close(parameter.grad, case.expected[f"grad|adapter.{name}"])


def test_parity_of_the_released_size() -> None:
    """Every adapter parameter of the released checkpoints exists here, with the same shape."""
    listed = json.loads((PARITY / "full_param_names.json").read_text())
    shapes = {
        name: tuple(entry["shape"])
        for name, entry in listed["parameters"].items()
        if name.startswith("adapter.")
    }
    with torch.device("meta"):
        adapter = Adapter(adapter_config(shapes))
    ours = {name: tuple(parameter.shape) for name, parameter in adapter.named_parameters()}
    theirs = adapter_tensors(
        {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    )
    assert {name: tuple(tensor.shape) for name, tensor in theirs.items()} == ours
