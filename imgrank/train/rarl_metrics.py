"""What the log of a RARL training says of a step: of the answers as they were drawn, before any of
them was swapped for the truth. And its curves.

    reward          mean R of all answers; R_reg and R_fmt its parts
    r_len, r_con, r_acc     of answers about several pictures; absent if there are none
    mutated         share of groups in which an answer was swapped
    group_sd        mean over groups of the sample standard deviation of R
    flat            share of groups whose rewards are all the same: their advantages are 0
    entropy, kl     mean over tokens: of what they were drawn from; k3 to the start of the stage
    tokens          mean length of an answer
    gradient        norm before clipping      total: the loss      seconds: of the step
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from imgrank.train.plots import panels
from imgrank.train.rarl_data import Prompt
from imgrank.train.rarl_rewards import Rewards

__all__ = ["cells", "draw_curves", "figures", "row", "told"]

PANELS = (
    ("reward", ("reward", "R_reg", "R_fmt")),
    ("ranking", ("r_len", "r_con", "r_acc")),
    ("share of groups", ("mutated", "flat")),
    ("group sd", ("group_sd",)),
    ("entropy", ("entropy",)),
    ("KL", ("kl",)),
    ("tokens", ("tokens",)),
    ("gradient", ("gradient",)),
)


def cells(
    prompts: Sequence[Prompt], earned: Sequence[Rewards], swapped: Tensor, traces: Tensor
) -> Tensor:
    """[P, G, 11] float32 on the CPU, a row an answer, as `figures` takes them.

    earned: rewards of the B = P G answers before the mutation.   swapped [B] bool.
    traces [B, 3]: tokens, and the sums over them of KL and entropy, of what was trained on.
    """
    P, G = len(prompts), len(earned) // len(prompts)
    told = [(one.total, one.reg, one.fmt, one.length, one.con, one.acc) for one in earned]
    ordered = torch.tensor([len(prompt.rows) > 1 for prompt in prompts]).repeat_interleave(G)
    columns = [torch.tensor(told), ordered[:, None], swapped[:, None], traces.cpu()]
    return torch.cat([column.float() for column in columns], 1).view(P, G, -1)


def figures(cells: Tensor) -> dict[str, float]:
    """The metrics above of the cells [P, G, 11] of a step, without those that need no cell."""
    R, swapped = cells[..., 0], cells[..., 7] > 0
    flat = R.amax(1) == R.amin(1)
    means = cells.flatten(0, 1).mean(0).tolist()
    found = {"reward": means[0], "R_reg": means[1], "R_fmt": means[2]}
    ordered = cells[cells[..., 6] > 0]
    if len(ordered):
        found |= dict(zip(("r_len", "r_con", "r_acc"), ordered.mean(0)[3:6].tolist(), strict=True))
    found |= {"mutated": float(swapped.any(1).float().mean())}
    found |= {"group_sd": float(R.std(1).mean()), "flat": float(flat.float().mean())}
    drawn = cells[~swapped]
    tokens = float(drawn[:, 8].sum())
    found |= {
        "entropy": float(drawn[:, 10].sum()) / tokens,
        "kl": float(drawn[:, 9].sum()) / tokens,
    }
    return {**found, "tokens": tokens / len(drawn)}


def row(step: int, found: Mapping[str, float], seconds: float) -> dict[str, float]:
    """A line of the log."""
    whole = {**found, "seconds": seconds}
    return {"step": step, **{name: round(value, 6) for name, value in whole.items()}}


def told(found: Mapping[str, float]) -> str:
    """The few of them that are printed."""
    names = ("reward", "R_reg", "r_acc", "mutated", "flat", "kl", "tokens")
    return ", ".join(f"{name} {found[name]:.3g}" for name in names if name in found)


def draw_curves(metrics_jsonl: Path, out_png: Path) -> None:
    """Writes a PNG of the log. Raises MissingExtra without matplotlib."""
    panels(metrics_jsonl, out_png, dict(PANELS))
