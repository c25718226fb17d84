"""What `sort --refine pairs` is worth: an adapter's pairwise head against its regression head.

For each data set and query that the checkpoint was trained for, on the rows of its test part:

    all      SRCC over all rows, and the share of pairs with different truths that are in order;
    first K  SRCC and pairs in order within the K rows that the regression head puts first, and
             precision at 10: the share of the first ten rows whose truth is among the ten highest.

Orders: `score`, the regression head; `wins`, the share of expected wins, which `--refine pairs`
uses; `BT`, a Bradley-Terry model fitted to the same pairs, whose order is that of `wins` (see
`imgrank/rankers/refine.py`); `logits`, the mean antisymmetric logit, which is the least-squares
strength. Intervals: 95 %, bootstrap over groups (prompts, photographs); in each round the first K
are found anew. `gain` is paired: the figure of an order less that of `score`.

    python tests/bench/refine.py --root DATA --cache TOKENS [--checkpoint FOLDER] [--data NAME ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from imgrank.data import catalogue
from imgrank.data.features import TokenSet
from imgrank.data.labelled import Labels
from imgrank.data.tokens import Tokens
from imgrank.evaluate.metrics import pair_accuracy, srcc
from imgrank.models.adapter import Adapter, load_adapter
from imgrank.models.backbone import Backbone
from imgrank.models.checkpoint import load_overrides, read_config
from imgrank.models.registry import EMBEDDED
from imgrank.rankers.refine import BLOCK, win_shares

Vector = NDArray[np.float64]
Figures = dict[str, tuple[float, ...]]
AT_TEN = 10


@torch.inference_mode()
def heads(
    adapter: Adapter, data: TokenSet, rows: NDArray[np.intp], text: torch.Tensor
) -> tuple[Vector, Vector, Vector]:
    """Scores [N], win shares [N], antisymmetric logits [N, N] of these rows."""
    scores, summaries = [], []
    for start in range(0, len(rows), 64):
        z = adapter.encode(data.batch(rows[start : start + 64]), text)
        scores.append(adapter.scores(z))
        summaries.append(adapter.summarise(z))
    wins = win_shares(adapter, summaries).numpy()
    joined = tuple(torch.cat(parts) for parts in zip(*summaries, strict=True))
    blocks = [tuple(p[n : n + BLOCK] for p in joined) for n in range(0, len(rows), BLOCK)]
    o = torch.cat([torch.cat([adapter.pair_logits_of(a, b) for b in blocks], 1) for a in blocks])
    return torch.cat(scores).double().numpy(), wins, ((o - o.T) / 2).double().numpy()


def bradley_terry(p: Vector, rounds: int = 2000) -> Vector:
    """Strengths t [N] that make sum_j sigmoid(t_i - t_j) the win sums of p [N, N]; by MM steps."""
    wins = p.sum(1) - np.diag(p)
    t = np.zeros(len(p))
    for _ in range(rounds):
        e = np.exp(t)
        pairs = 1 / (e[:, None] + e[None])
        np.fill_diagonal(pairs, 0)
        new = np.log(wins / pairs.sum(1))
        new -= new.mean()
        if np.abs(new - t).max() < 1e-9:
            break
        t = new
    return t


def orders(scores: Vector, logits: Vector) -> Mapping[str, Vector]:
    """By name, what each order sorts by, over the rows given."""
    p = expit(logits)
    return {"score": scores, "wins": p.sum(1), "logits": logits.sum(1)}


def first(truth: Vector, scores: Vector, logits: Vector, k: int) -> Figures:
    """(SRCC and pair accuracy within the first k by score, precision at ten) of every order."""
    ahead = np.argsort(-scores, kind="stable")[:k]
    best = np.sort(truth)[-AT_TEN]
    found = {}
    for name, key in orders(scores[ahead], logits[np.ix_(ahead, ahead)]).items():
        ten = ahead[np.argsort(-key, kind="stable")[:AT_TEN]]
        right = float((truth[ten] >= best).mean())
        found[name] = srcc(truth[ahead], key), pair_accuracy(truth[ahead], key), right
    return found


def over_all(truth: Vector, scores: Vector, logits: Vector) -> Figures:
    """(SRCC, pair accuracy) of every order over all rows."""
    return {
        name: (srcc(truth, key), pair_accuracy(truth, key))
        for name, key in orders(scores, logits).items()
    }


def table(
    measure: Callable[[NDArray[np.intp]], Figures],
    groups: list[str],
    titles: tuple[str, ...],
    rounds: int,
) -> None:
    """Figures of all rows, with intervals over groups drawn anew `rounds` times."""
    draw = np.random.default_rng(0)
    labels = np.unique(groups, return_inverse=True)[1]
    members = [np.flatnonzero(labels == n) for n in range(labels.max() + 1)]
    found = measure(np.arange(len(groups)))
    drawn = []
    for _ in range(rounds):
        chosen = draw.integers(len(members), size=len(members))
        drawn.append(measure(np.concatenate([members[n] for n in chosen])))
    for which, title in enumerate(titles):
        for name, figures in found.items():
            values = np.array([each[name][which] for each in drawn])
            gains = values - np.array([each["score"][which] for each in drawn])
            low, high = np.nanpercentile(values, [2.5, 97.5])
            line = f"  {title:25} {name:7} {figures[which]:.4f} [{low:.4f}, {high:.4f}]"
            if name != "score":
                low, high = np.nanpercentile(gains, [2.5, 97.5])
                gain = figures[which] - found["score"][which]
                line += f"   gain {gain:+.4f} [{low:+.4f}, {high:+.4f}]"
            print(line, flush=True)


def report(
    adapter: Adapter, data: TokenSet, labels: Labels, text: torch.Tensor, firsts: list[int]
) -> None:
    """One query of one data set."""
    rows = data.rows("test", labels)
    print(f"{data.name}, {labels.prompt!r}, n = {len(rows)}")
    truth = labels.values[rows].astype(np.float64)
    groups = [data.groups[n] for n in rows]
    scores, wins, logits = heads(adapter, data, rows, text)
    fitted = bradley_terry(expit(logits))
    print(f"  SRCC of BT with wins, over all rows: {srcc(wins, fitted):.6f}")

    def whole(some: NDArray[np.intp]) -> Figures:
        return over_all(truth[some], scores[some], logits[np.ix_(some, some)])

    table(whole, groups, ("all: SRCC", "all: pairs in order"), 200)
    for k in firsts:

        def top(some: NDArray[np.intp], k: int = k) -> Figures:
            return first(truth[some], scores[some], logits[np.ix_(some, some)], k)

        figures = ("SRCC", "pairs in order", "precision@10")
        table(top, groups, tuple(f"first {k}: {figure}" for figure in figures), 200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the token caches")
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED / "tiny-quality")
    parser.add_argument("--backbone", type=Path, default=EMBEDDED / "tiny")
    parser.add_argument("--data", nargs="+", default=["agiqa3k", "distortions", "coco-distorted"])
    parser.add_argument("--first", type=int, nargs="+", default=[50, 200], help="K")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = read_config(options.checkpoint, "adapter")
    adapter = load_adapter(options.checkpoint)
    overrides = load_overrides(options.checkpoint)
    backbone = Backbone(options.backbone, torch.device("cpu"), overrides)
    tokens = Tokens(
        options.cache, backbone, lambda *_: None, tuple(config["model"]["image_widths"])
    )
    for name in options.data:
        data = tokens.of(catalogue.read(name, options.root))
        for labels in data.data.labels:
            if (facts := config["tasks"].get(labels.task)) is not None:
                prompt = facts["prompt"].replace("{}", labels.subject)
                text = backbone.text_tokens([prompt])[0].clone()
                report(adapter, data, labels, text, options.first)


if __name__ == "__main__":
    main()
