"""Group Relative Policy Optimization with the Response Mutation Operation (paper 002, sections 2
and 3.2; spec/rarl.md): pure functions, one equation each.

G: answers of a group, all to one prompt.   B: answers of a batch, of one group or several.
T: tokens of the longest answer.   log_p, log_ref [B, T]: log-probabilities of the sampled tokens,
of the model in training and of the frozen start of the stage.   mask [B, T]: True for an answer's
tokens up to and with its end-of-text, False for what fills the row.

There is one update per roll-out, so the ratio to the model that wrote the answers is 1 and is never
clipped; its gradient is that of log_p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

__all__ = ["Loss", "advantages", "k3", "should_mutate", "token_loss", "units", "worst"]

Loss = Literal["dapo", "grpo"]
FARTHEST = 20.0  # of log_ref - log_p; exp of more tells nothing and ends in infinity


def advantages(rewards: Tensor, scaled: bool = True) -> Tensor:
    """A = (R - mean) / (sd + 1e-4) within each group, sample sd (eq. 2).

    rewards [..., G] -> [..., G]. scaled: False leaves the division out. Exactly 0 where a group's
    rewards are all the same, which rounding would spoil, and for a group of one.
    """
    centred = rewards - rewards.mean(-1, keepdim=True)
    if scaled and rewards.shape[-1] > 1:
        centred = centred / (rewards.std(-1, keepdim=True) + 1e-4)
    same = rewards.amax(-1, keepdim=True) == rewards.amin(-1, keepdim=True)
    return centred.masked_fill(same, 0.0)


def should_mutate(
    task_rewards: Sequence[float], best_of_truth: float, draw: float, p: float = 0.5
) -> bool:
    """Whether a group's worst answer is to be replaced by the truth.

    Yes if no answer has half of the truth's T, and `draw`, uniform in [0, 1), is below p.
    task_rewards: T of the G answers.   best_of_truth: T of the truth, `rarl_rewards.truth_task`.
    """
    return max(task_rewards) < best_of_truth / 2 and draw < p


def worst(rewards: Sequence[float]) -> int:
    """Index of the answer with the lowest R, the first of several."""
    return min(range(len(rewards)), key=lambda i: (rewards[i], i))


def k3(log_p: Tensor, log_ref: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = log_ref - log_p: an estimate of KL(p | ref) from p's own samples.

    Any shape, element by element; never negative, 0 where both agree. d is held below 20.
    """
    d = (log_ref - log_p).clamp(max=FARTHEST)
    return d.exp() - d - 1


def units(mask: Tensor, loss: Loss = "dapo") -> int:
    """Over how many things `token_loss` takes its mean: tokens (dapo), answers (grpo)."""
    return int(mask.sum()) if loss == "dapo" else len(mask)


def token_loss(
    log_p: Tensor,
    log_ref: Tensor | None,
    advantage: Tensor,
    mask: Tensor,
    *,
    kl: float = 0.04,
    loss: Loss = "dapo",
    of: float | None = None,
) -> Tensor:
    """mean over tokens of -(A ratio) + kl k3; a scalar. advantage [B]: of each answer.

    dapo: the mean over all tokens of all answers, so that long answers weigh more (DAPO's token
    level, the default of the specification).   grpo: each answer's own mean, then over answers.
    of: over how many `units` the mean goes, if this batch is only a part: the sum of losses of the
    parts is then the loss of the whole. None: over this batch's.   log_ref None: no KL.
    """
    log_p = log_p.masked_fill(~mask, 0.0)  # what fills a row may be -inf
    ratio = (log_p - log_p.detach()).exp()  # 1, with the gradient of log_p
    tokens = -advantage[:, None].detach() * ratio  # [B, T]
    if log_ref is not None and kl:
        tokens = tokens + kl * k3(log_p, log_ref.detach())
    tokens = tokens.masked_fill(~mask, 0.0)
    whole = max(units(mask, loss) if of is None else of, 1)
    if loss == "grpo":
        return (tokens.sum(1) / mask.sum(1).clamp(min=1)).sum() / whole
    return tokens.sum() / whole
