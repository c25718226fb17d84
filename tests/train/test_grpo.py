"""GRPO and the Response Mutation Operation: by hand, against slow loops, and how often it acts."""

from __future__ import annotations

import json
import math
import random

import pytest
import torch
from torch import Tensor

from imgrank.listwise.prompt import truth_answer
from imgrank.train import grpo
from imgrank.train.grpo import Loss
from imgrank.train.rarl_rewards import Weights, rewards, truth_task

BOTH = Weights(alpha=1, beta=1, gamma=0.5)


def test_advantages_by_hand() -> None:
    # mean 2, squared gaps 4 + 0 + 4, over G - 1 = 2: sd 2
    found = grpo.advantages(torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx([-2 / 2.0001, 0, 2 / 2.0001])
    plain = grpo.advantages(torch.tensor([[0.0, 2.0, 4.0], [1.0, 1.0, 4.0]]), scaled=False)
    assert plain.tolist() == [[-2, 0, 2], [-1, -1, 2]]


def test_a_group_of_equals_has_exactly_no_advantage() -> None:
    rewards = torch.tensor([[0.1 + 2 / 3] * 7, [0.0] * 6 + [0.7]])
    for scaled in (True, False):
        found = grpo.advantages(rewards, scaled)
        assert found[0].eq(0).all() and found[1].ne(0).all()
    assert grpo.advantages(torch.tensor([3.0])).tolist() == [0.0]


@pytest.mark.parametrize(
    ("best", "truth", "draw", "expected"),
    [
        (0.99, 2.0, 0.49, True),
        (0.99, 2.0, 0.5, False),
        (1.0, 2.0, 0.0, False),  # half is not below half
        (0.49, 1.0, 0.0, True),
        (0.5, 1.0, 0.0, False),
        (-1.0, 2.0, 0.0, True),
    ],
)
def test_the_mutation_s_decision(best: float, truth: float, draw: float, expected: bool) -> None:
    assert grpo.should_mutate([-1.0, best, -1.0], truth, draw) is expected


def test_the_mutation_may_be_sure_or_off() -> None:
    assert grpo.should_mutate([0.0], 2.0, draw=0.999, p=1.0)
    assert not grpo.should_mutate([0.0], 2.0, draw=0.0, p=0.0)


def test_the_worst_is_one_answer() -> None:
    assert grpo.worst([0.5, -2.0, 1.0, -2.0]) == 1


def test_k3_by_hand() -> None:
    log_p, log_ref = torch.tensor([0.2, 0.5, 0.5]).log(), torch.tensor([0.4, 0.5, 0.25]).log()
    expected = [2 - math.log(2) - 1, 0, 0.5 + math.log(2) - 1]
    assert grpo.k3(log_p, log_ref).tolist() == pytest.approx(expected, abs=1e-6)
    assert grpo.k3(torch.tensor([-500.0]), torch.tensor([0.0])).isfinite().all()


def test_k3_has_the_mean_of_the_divergence() -> None:
    p, ref = torch.tensor([0.1, 0.6, 0.3]).double(), torch.tensor([0.3, 0.3, 0.4]).double()
    expected = (p * (p.log() - ref.log())).sum()
    assert (p * grpo.k3(p.log(), ref.log())).sum().item() == pytest.approx(expected.item())


LOG_P = torch.tensor([[-1.0, -2.0, -9.0], [-3.0, -9.0, -9.0]])
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_the_loss_by_hand() -> None:
    advantage = torch.tensor([2.0, -1.0])
    # three tokens: -2, -2, +1; two answers: -2, +1
    assert grpo.token_loss(LOG_P, None, advantage, MASK).item() == pytest.approx(-1)
    found = grpo.token_loss(LOG_P, None, advantage, MASK, loss="grpo")
    assert found.item() == pytest.approx(-0.5)
    # A reference that is log 2 above everywhere: k3 = 2 - log 2 - 1 at each token.
    drift = 0.04 * (1 - math.log(2))
    for loss, expected in (("dapo", -1 + drift), ("grpo", -0.5 + drift)):
        moved = grpo.token_loss(LOG_P, LOG_P + math.log(2), advantage, MASK, loss=loss)
        assert moved.item() == pytest.approx(expected)
    assert (grpo.units(MASK), grpo.units(MASK, "grpo")) == (3, 2)


def test_an_answer_of_no_tokens_weighs_nothing() -> None:
    none = torch.zeros_like(MASK)
    for loss in ("dapo", "grpo"):
        assert grpo.token_loss(LOG_P, LOG_P, torch.ones(2), none, loss=loss).item() == 0


def made_case() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """logits [B, T, V], tokens [B, T], log_ref [B, T], advantage [B], mask [B, T]: 4, 5, 6."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, 6, generator=draw, dtype=torch.float64)
    tokens = torch.randint(6, (4, 5), generator=draw)
    reference = torch.randn(4, 5, 6, generator=draw, dtype=torch.float64).log_softmax(-1)
    advantage = torch.randn(4, generator=draw, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1], [4]])
    return logits, tokens, log_probability(reference, tokens), advantage, mask


def log_probability(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)


@pytest.mark.parametrize("loss", ["dapo", "grpo"])
def test_the_gradient_against_a_slow_one(loss: Loss) -> None:
    """d/dz of log softmax(z)[t] is onehot(t) - softmax(z); of k3, (1 - exp d) times that."""
    logits, tokens, log_ref, advantage, mask = made_case()
    logits.requires_grad_()
    log_p = log_probability(logits, tokens)
    grpo.token_loss(log_p, log_ref, advantage, mask, loss=loss).backward()

    expected = torch.zeros_like(logits)
    for b in range(4):
        long = int(mask[b].sum())
        for t in range(long):
            weight = 1 / 13 if loss == "dapo" else 1 / (4 * long)
            towards = -logits[b, t].detach().softmax(0)
            towards[tokens[b, t]] += 1
            d = float((log_ref - log_p.detach())[b, t])
            slope = -float(advantage[b]) + 0.04 * (1 - math.exp(d))
            expected[b, t] = weight * slope * towards
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("loss", ["dapo", "grpo"])
def test_the_loss_of_parts_adds_up(loss: Loss) -> None:
    logits, tokens, log_ref, advantage, mask = made_case()
    log_p = log_probability(logits, tokens)
    whole = grpo.token_loss(log_p, log_ref, advantage, mask, loss=loss)
    of = grpo.units(mask, loss)
    parts = [
        grpo.token_loss(log_p[part], log_ref[part], advantage[part], mask[part], loss=loss, of=of)
        for part in (slice(0, 1), slice(1, 4))
    ]
    assert sum(part.item() for part in parts) == pytest.approx(whole.item())


def test_what_fills_a_row_has_no_say() -> None:
    _, _, log_ref, advantage, mask = made_case()
    log_p = torch.full((4, 5), -1.0, dtype=torch.float64)
    clean = grpo.token_loss(log_p, log_ref, advantage, mask)
    for odd in (float("nan"), float("-inf"), 1e300):
        spoilt = log_p.masked_fill(~mask, odd).requires_grad_()
        found = grpo.token_loss(spoilt, log_ref.masked_fill(~mask, odd), advantage, mask)
        found.backward()
        assert found.item() == pytest.approx(clean.item())
        assert spoilt.grad is not None and spoilt.grad[~mask].eq(0).all()


def test_an_all_wrong_group_moves_the_model_only_with_the_truth_in_it() -> None:
    truth = [30.0, 10.0]
    wrong = '<think></think><answer>[{"image_id": 1, "value": 90}, {"image_id": 2, "value": 99}]'
    group = [rewards(wrong + "</answer>", truth, 10.0, BOTH) for _ in range(8)]
    totals = [found.total for found in group]
    assert grpo.advantages(torch.tensor(totals)).eq(0).all()
    assert grpo.should_mutate([found.task for found in group], truth_task(2, BOTH), draw=0.3)
    totals[grpo.worst(totals)] = rewards(truth_answer(truth), truth, 10.0, BOTH).total
    assert grpo.advantages(torch.tensor(totals)).sign().tolist() == [1] + [-1] * 7


def trigger_rate(n: int, near: bool, groups: int = 300, size: int = 8) -> float:
    """The share of groups that set off the mutation, of well-formed answers that rise by their own
    values and list the images in random order. Truths and values are whole ages of 0..100.

    near: values are random ages, some of which are right by chance; else all are off by delta or
    more, so that the order alone counts.
    """
    draw, hits = random.Random(n), 0
    for _ in range(groups):
        truth = [float(age) for age in draw.sample(range(101), n)]
        tasks = []
        for _ in range(size):
            ids = draw.sample(range(1, n + 1), n)
            values = sorted(draw.randrange(101) if near else 111 + draw.randrange(9) for _ in ids)
            listed = [{"image_id": i, "value": v} for i, v in zip(ids, values, strict=True)]
            text = f"<think>So.</think><answer>{json.dumps(listed)}</answer>"
            found = rewards(text, truth, 10.0, BOTH)
            assert found.fmt == 1
            tasks.append(found.task)
        hits += grpo.should_mutate(tasks, truth_task(n, BOTH), draw=0.0)
    return hits / groups


@pytest.mark.parametrize("n", [2, 4, 8])
def test_how_often_random_orders_set_off_the_mutation(n: int) -> None:
    """An answer whose values are all off has T = r_acc: half of the truth's only in the one right
    order of n!, so the rate is (1 - 1/n!)^8: .004, .711, .9998."""
    expected = (1 - 1 / math.factorial(n)) ** 8
    spread = math.sqrt(expected * (1 - expected) / 300)
    assert trigger_rate(n, near=False) == pytest.approx(expected, abs=3 * spread + 0.004)


@pytest.mark.parametrize(("n", "low", "high"), [(2, 0.0, 0.02), (4, 0.48, 0.65), (8, 0.91, 0.99)])
def test_values_right_by_chance_set_it_off_less(n: int, low: float, high: float) -> None:
    assert low <= trigger_rate(n, near=True) <= high


def test_equal_rewards_are_rare_where_the_mutation_is_not() -> None:
    """Zero variance, the paper's trigger, would hardly ever fire on the same groups."""
    draw, equal = random.Random(0), 0
    for _ in range(200):
        truth = [float(age) for age in draw.sample(range(101), 4)]
        totals = set()
        for _ in range(8):
            ids = draw.sample(range(1, 5), 4)
            listed = [{"image_id": i, "value": 111 + n} for n, i in enumerate(ids)]
            text = f"<think>So.</think><answer>{json.dumps(listed)}</answer>"
            totals.add(rewards(text, truth, 10.0, BOTH).total)
        equal += len(totals) == 1
    assert equal == 0
