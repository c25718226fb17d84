"""What of a Qwen2.5-VL learns, in which precision, and what it is compared with."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from imgrank.errors import CheckpointError, MissingExtra
from imgrank.listwise.prompt import Rule, messages, truth_answer
from imgrank.models.vlm import VisionLanguage
from imgrank.train import rarl_policy
from imgrank.train.rarl_policy import Inputs, Learning, Policy, enough_memory, pieces, policy_of
from imgrank.train.rarl_recipe import Tuning

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
TUNING = Tuning(rank=4, lora_alpha=12.0, lr=0.1, clip=0.5)


def asked(policy: Policy, count: int = 2) -> tuple[Inputs, Tensor]:
    """A prompt about `count` pictures and one about a single one, with their true answers."""
    rule = Rule("the person's age", 0, 100)
    images = [Image.new("RGB", (56, 56), colour) for colour in ("red", "blue")][:count]
    inputs = policy.ask([(messages(rule, count), images), (messages(rule, 1), images[:1])])
    truths = (truth_answer([30, 60][:count]), truth_answer([5]))
    return inputs, policy.padded([policy.encoded(truth) for truth in truths])


def learnt(policy: Policy) -> Tensor:
    """A step on the true answers; their mean log p before."""
    inputs, answers = asked(policy)
    log_p, _ = policy.logprobs(inputs, [0, 1], answers)
    mean = log_p.sum() / policy.mask(answers).sum()
    (-mean).backward()
    return mean.detach()


def test_lora_is_on_the_language_models_projections_alone(tiny_vlm_folder: Path) -> None:
    policy = policy_of(TUNING, tiny_vlm_folder, None, CPU)
    block = "model.language_model.layers.{}."
    modules = [f"self_attn.{each}_proj" for each in "qkvo"]
    modules += [f"mlp.{each}_proj" for each in ("gate", "up", "down")]
    assert policy.trained().keys() == {
        f"{block.format(n)}{module}.lora_{factor}.default.weight"
        for n in (0, 1)
        for module in modules
        for factor in "AB"
    }
    # The trap: the vision tower has modules of these names, too.
    names = [name for name, _ in policy.vlm.model.named_modules()]
    assert any("visual" in name and name.endswith("gate_proj") for name in names)
    rows = {p.shape[0] for n, p in policy.trained().items() if "lora_A" in n}
    assert rows == {4} and not policy.full


def test_full_training_is_of_all_but_the_vision_tower(tiny_vlm_folder: Path) -> None:
    policy = policy_of(replace(TUNING, full=True), tiny_vlm_folder, None, CPU)
    every = {name for name, _ in policy.vlm.model.named_parameters()}
    assert policy.trained().keys() == {name for name in every if ".visual." not in name}
    assert policy.full and any(".visual." in name for name in every)


@pytest.mark.parametrize("full", [False, True])
def test_the_start_stays_what_it_was(tiny_vlm_folder: Path, full: bool) -> None:
    policy = policy_of(replace(TUNING, full=full), tiny_vlm_folder, None, CPU)
    learning = Learning(policy, TUNING)
    inputs, answers = asked(policy)
    before, _ = policy.logprobs(inputs, [0, 1], answers)
    start = policy.reference(inputs, [0, 1], answers)
    assert torch.equal(before, start) and before.requires_grad and not start.requires_grad
    learnt(policy)
    learning.advance()
    after, _ = policy.logprobs(inputs, [0, 1], answers)
    assert after.sum() > before.sum() + 1
    assert torch.equal(policy.reference(inputs, [0, 1], answers), start)


def test_factors_are_float32_on_bfloat16_weights(tiny_vlm_folder: Path) -> None:
    policy = policy_of(replace(TUNING, precision="bfloat16"), tiny_vlm_folder, None, CPU)
    learning = Learning(policy, TUNING)
    assert {p.dtype for p in policy.trained().values()} == {torch.float32}
    rest = {p.dtype for n, p in policy.vlm.model.named_parameters() if "lora" not in n}
    assert rest == {torch.bfloat16}
    before = learnt(policy)
    learning.advance()
    assert learnt(policy) > before
    assert {each.dtype for each in policy.tensors().values()} == {torch.float32}


def test_full_weights_are_float32_and_computed_in_bfloat16(tiny_vlm_folder: Path) -> None:
    config = replace(TUNING, precision="bfloat16", full=True)
    policy = policy_of(config, tiny_vlm_folder, None, CPU)
    assert {p.dtype for p in policy.vlm.model.parameters()} == {torch.float32}
    exact = policy_of(replace(config, precision="float32"), tiny_vlm_folder, None, CPU)
    inputs, answers = asked(policy)
    rough, _ = policy.logprobs(inputs, [0, 1], answers)
    fine, _ = exact.logprobs(inputs, [0, 1], answers)
    assert 1e-5 < float((rough - fine).detach().abs().max()) < 0.1
    assert {each.dtype for each in policy.tensors().values()} == {torch.bfloat16}


def test_checkpointing_changes_no_figure(tiny_vlm_folder: Path) -> None:
    plain = policy_of(TUNING, tiny_vlm_folder, None, CPU)
    lean = policy_of(replace(TUNING, checkpointing=True), tiny_vlm_folder, None, CPU)
    assert lean.vlm.model.model.language_model.layers[0].gradient_checkpointing
    for policy in (plain, lean):
        with torch.no_grad():
            for factor in policy.trained().values():
                factor.fill_(0.05)
    assert torch.allclose(learnt(plain), learnt(lean))
    for own, other in zip(plain.trained().values(), lean.trained().values(), strict=True):
        assert own.grad is not None and own.grad.any()
        torch.testing.assert_close(own.grad, other.grad)
    inputs, _ = asked(plain)
    drawn = [policy.answers(inputs, [0, 1, 1], 5, 1.0, 7) for policy in (plain, lean)]
    assert torch.equal(*drawn) and drawn[0].shape == (3, 5)
    assert lean.vlm.model.training  # else nothing would be checkpointed


def test_the_seed_alone_says_where_factors_begin(tiny_vlm_folder: Path) -> None:
    def factors(seed: int) -> dict[str, Tensor]:
        return policy_of(replace(TUNING, seed=seed), tiny_vlm_folder, None, CPU).tensors()

    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one = factors(0)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    same, other = factors(0), factors(1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[n], other[n]) for n in one if n.endswith(".A"))


def test_a_step_is_clipped_and_told_of_before(tiny_vlm_folder: Path) -> None:
    policy = policy_of(TUNING, tiny_vlm_folder, None, CPU)
    learning = Learning(policy, replace(TUNING, clip=1e-3))
    learnt(policy)
    grads = torch.cat([p.grad.flatten() for p in policy.trained().values() if p.grad is not None])
    assert learning.advance() == pytest.approx(float(grads.norm()), rel=1e-5)
    moment = learning.optimizer.state_dict()["state"].values()
    clipped = torch.cat([each["exp_avg"].flatten() for each in moment]) / 0.1
    assert float(clipped.norm()) == pytest.approx(1e-3, rel=1e-3)
    assert learning.step == 1 and all(p.grad is None for p in policy.trained().values())


def test_a_gradient_that_is_no_number_changes_nothing(tiny_vlm_folder: Path) -> None:
    """The loss may be one all the same, and the state that was saved last stays good."""
    policy = policy_of(TUNING, tiny_vlm_folder, None, CPU)
    learning = Learning(policy, TUNING)
    learnt(policy)
    first = next(iter(policy.trained().values()))
    assert first.grad is not None
    first.grad[0, 0] = float("inf")
    before = policy.tensors()
    with pytest.raises(CheckpointError, match="the gradient of step 1 is no number"):
        learning.advance()
    after = policy.tensors()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_answers_of_different_lengths(tiny_vlm_folder: Path) -> None:
    policy = policy_of(TUNING, tiny_vlm_folder, None, CPU)
    pad, end = policy.vlm.pad, policy.vlm.end
    rows = [torch.tensor([5, 6, end]), torch.tensor([7, end, pad, pad, pad])]
    found = policy.padded(rows)
    assert found.tolist() == [[5, 6, end], [7, end, pad]]
    assert policy.mask(found).tolist() == [[True] * 3, [True, True, False]]


def test_pieces() -> None:
    assert pieces(5, 2) == [[0, 1], [2, 3], [4]]
    assert pieces(5, 0) == [[0, 1, 2, 3, 4]] == pieces(5, 9)


def test_too_little_memory_says_what_takes_less() -> None:
    with (
        pytest.raises(CheckpointError, match=r"(?s)same line and --set at_once=2 .*checkpointing"),
        enough_memory(replace(TUNING, at_once=4)),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    least = replace(TUNING, at_once=1, checkpointing=True)  # of the same run nothing takes less
    with pytest.raises(CheckpointError) as told, enough_memory(least):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert "same line" not in str(told.value) and "smaller max_pixels" in str(told.value)
    with pytest.raises(RuntimeError, match="another"), enough_memory(TUNING):
        raise RuntimeError("another")


def test_a_model_without_projections(
    tiny_vlm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rarl_policy, "ONLY", "nothing_proj")
    with pytest.raises(CheckpointError, match="no projections that LoRA could be put on"):
        policy_of(TUNING, tiny_vlm_folder, None, CPU)


def test_without_peft_the_pip_line_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "peft" else real(name)
    )
    with pytest.raises(MissingExtra, match=r"pip install 'imgrank\[rarl\]'"):
        rarl_policy.require_rarl()


def test_the_policy_keeps_no_copy_that_nobody_asks_for(tiny_vlm_folder: Path) -> None:
    vlm = VisionLanguage(tiny_vlm_folder, CPU)
    assert Policy(vlm, replace(TUNING, full=True), frozen=False)._frozen is None
