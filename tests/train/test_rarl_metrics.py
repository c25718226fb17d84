"""What the log of RARL says of a step, worked by hand."""

from __future__ import annotations

import pytest
import torch

from imgrank.listwise.prompt import Rule
from imgrank.train.rarl_data import Prompt
from imgrank.train.rarl_metrics import cells, figures, row, told
from imgrank.train.rarl_rewards import Rewards

RULE = Rule("age", 0, 100)
ALONE, PAIR = Prompt(RULE, (3,), (30.0,)), Prompt(RULE, (3, 5), (30.0, 20.0))
WRONG = Rewards(fmt=1, reg=0, length=0, con=0, acc=0, total=0.5, task=0)
RIGHT = Rewards(fmt=1, reg=1, length=1, con=1, acc=-0.5, total=2.5, task=0.5)


def test_figures_of_a_step() -> None:
    earned = [WRONG, WRONG, RIGHT, WRONG]
    swapped = torch.tensor([True, False, False, False])
    # tokens, KL and entropy, summed over an answer; those of the swapped one are not its own.
    traces = torch.tensor([[50.0, 9.0, 9.0], [10.0, 1.0, 20.0], [20.0, 0.5, 10.0], [30.0, 0, 0]])
    found = figures(cells([ALONE, PAIR], earned, swapped, traces))
    assert found == pytest.approx(
        {
            "reward": 1.0,
            "R_reg": 0.25,
            "R_fmt": 1.0,
            "r_len": 0.5,  # of the pair's two answers alone
            "r_con": 0.5,
            "r_acc": -0.25,
            "mutated": 0.5,
            "group_sd": 2**0.5 / 2,  # 0 and sqrt(2)
            "flat": 0.5,
            "entropy": 30 / 60,
            "kl": 1.5 / 60,
            "tokens": 20.0,
        }
    )
    assert told(found) == (
        "reward 1, R_reg 0.25, r_acc -0.25, mutated 0.5, flat 0.5, kl 0.025, tokens 20"
    )
    assert row(7, {"total": 1 / 3}, 2.0) == {"step": 7, "total": 0.333333, "seconds": 2.0}


def test_without_windows_there_is_no_order() -> None:
    zeros = torch.zeros(2, dtype=torch.bool), torch.ones(2, 3)
    found = figures(cells([ALONE], [WRONG, RIGHT], *zeros))
    assert not {"r_len", "r_con", "r_acc"} & found.keys()
    assert "r_acc" not in told(found)
