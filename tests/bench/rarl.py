"""What RARL's parts do on a made-up task: a tiny random Qwen2.5-VL of the real classes, one core.

Pictures have a hue that goes with an "age" of 0..100 (`tests/tiny_vlm.py`). A model of 0.2 million
parameters is first taught by plain fine-tuning (`imgrank/train/sft.py`), not to its end; then each
recipe trains LoRA on it for the same number of steps. Two starts:

    middling   taught the true ages, for a short time
    reversed   taught 100 - age, for longer: well-formed, surely and systematically wrong answers

Figures, of pictures that no training has seen, before and after:

    R, R_reg, r_acc    means over prompts of 1, 2 and 4 pictures, sampled as in training, with the
                       rewards of the second stage whatever the recipe (r_acc: 2 and 4 pictures)
    MAE                greedy answers to single pictures, in years; no answer counts as 50
    tau 2, 4, 8        greedy answers, scipy's tau-b of the values; a picture without one counts as
                       the lowest, and an order that decides nothing as 0. 8 pictures are never
                       trained on here
    mutated            share of groups in which an answer was swapped for the truth

Means over seeds and (lowest to highest). It says what the parts do here, nothing about the paper:
there is no language, no photograph and next to no network.

    OMP_NUM_THREADS=1 python tests/bench/rarl.py [--seeds 3] [--steps 120] [--only NAME]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own helpers

from tiny_vlm import rated
from warm_vlm import QUICK, lively_vlm

from imgrank.listwise.parsing import parse
from imgrank.models.vlm import VisionLanguage
from imgrank.train import rarl, sft
from imgrank.train.rarl_data import Problem, Prompt, draw, opened, problem_of
from imgrank.train.rarl_recipe import Config, override
from imgrank.train.rarl_rewards import Weights, rewards
from imgrank.train.sft_recipe import Config as SftConfig

SIZES = (1, 2, 4)
LONGEST = 144  # tokens of an answer; one about 8 pictures has 113
RECIPE: dict[str, Any] = {
    "rank": 8,
    "lora_alpha": 16.0,
    "prompts": 4,
    "group": 8,
    "lr": 1e-3,
    "max_new_tokens": 72,  # one about 4 pictures has 64
    "at_once": 0,
    "generate_at_once": 0,
    "checkpointing": False,
    "report_every": 10,
    "save_every": 10**6,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "mutation and ranking": {},
    "no mutation": {"second": {"mutation": 0.0}},
    "no ranking reward": {"second": {"beta": 0.0}},
    "regression alone": {"second": {"beta": 0.0, "mutation": 0.0}},
    "two stages": {"stages": "both"},
}
STARTS = {"middling": (False, 1.0), "reversed": (True, 1.5)}  # reversed, times --taught
OF_REVERSED = ("mutation and ranking", "no mutation")
COLUMNS = ("R", "R_reg", "r_acc", "MAE", "tau 2", "tau 4", "tau 8", "mutated", "seconds")


@dataclass(frozen=True)
class Place:
    """A seed's folders.   backbone: the random model.   held: pictures that are only looked at."""

    work: Path
    backbone: Path
    held: Problem


def data(folder: Path, count: int, seed: int, backwards: bool = False) -> Path:
    """FOLDER with a CSV file of ages by 10, or of 100 less them."""
    table = rated(folder, count, step=10, seed=seed)
    if backwards:
        rows = list(csv.DictReader(table.open(encoding="utf-8")))
        lines = [f"{row['path']},{row['instruction']},{100 - int(row['value'])}" for row in rows]
        table.write_text("\n".join(["path,instruction,value", *lines]) + "\n", encoding="utf-8")
    return folder


def prepared(work: Path, seed: int) -> Place:
    data(work / "true", 200, seed)
    data(work / "reversed", 200, seed, backwards=True)
    held = problem_of("csv", data(work / "held", 120, 1000 + seed))
    return Place(work, lively_vlm(work / "model", seed=seed), held)


def taught(place: Place, start: str, seed: int, steps: int) -> Path:
    """The checkpoint of plain fine-tuning that a recipe starts from."""
    backwards, share = STARTS[start]
    settings = {**QUICK, "sizes": SIZES, "steps": round(share * steps), "seed": seed}
    config = SftConfig(name=f"sft-{start}", save_every=10**6, **settings)
    root = place.work / ("reversed" if backwards else "true")
    found = sft.run(config, "csv", root, place.work / f"sft-{start}", place.backbone)
    assert found is not None
    return found


def recipe(name: str, seed: int, steps: int) -> Config:
    """Two stages have half of the steps each."""
    own = VARIANTS[name]
    steps = steps // 2 if own.get("stages") == "both" else steps
    second = {"sizes": list(SIZES), **own.get("second", {})}
    given = {**RECIPE, "stages": "second", **own, "second": second, "steps": steps, "seed": seed}
    return override(Config(), {"name": "rarl", **given})


def figures(place: Place, checkpoint: Path) -> dict[str, float]:
    """Of the held-out pictures."""
    vlm = VisionLanguage(place.backbone, torch.device("cpu"), checkpoint=checkpoint)
    found: dict[str, float] = {}
    sampled = [p for n in SIZES for p in draw(place.held, (n,), 24, 0, 7, n)]
    texts = answers(vlm, place.held, sampled, sample=True)
    earned = [
        rewards(text, prompt.values, prompt.rule, Weights())
        for text, prompt in zip(texts, sampled, strict=True)
    ]
    found["R"] = float(np.mean([one.total for one in earned]))
    found["R_reg"] = float(np.mean([one.reg for one in earned]))
    several = zip(earned, sampled, strict=True)
    found["r_acc"] = float(np.mean([one.acc for one, p in several if len(p.values) > 1]))
    for n in (1, 2, 4, 8):
        prompts = draw(place.held, (n,), 48, 0, 8, n)
        texts = answers(vlm, place.held, prompts)
        values = [listed(text, n) for text in texts]
        truths = [np.array(prompt.values) for prompt in prompts]
        if n == 1:
            errors = [
                abs(np.nan_to_num(v, nan=50.0) - y) for v, y in zip(values, truths, strict=True)
            ]
            found["MAE"] = float(np.mean(errors))
        else:
            taus = [tau(v, y) for v, y in zip(values, truths, strict=True)]
            found[f"tau {n}"] = float(np.mean(taus))
    return found


def answers(
    vlm: VisionLanguage, problem: Problem, prompts: Sequence[Prompt], sample: bool = False
) -> list[str]:
    inputs = vlm.inputs(opened(problem, prompts, 10**6))
    return vlm.texts(vlm.generate(inputs, LONGEST, sample=sample, seed=0))


def listed(text: str, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The first value of each picture, NaN without one."""
    found = np.full(n, np.nan)
    for item in reversed(parse(text)):
        if 1 <= item.image_id <= n:
            found[item.image_id - 1] = item.value
    return found


def tau(values: Any, truth: Any) -> float:
    filled = np.where(np.isnan(values), -np.inf, values)
    ranks = np.unique(filled, return_inverse=True)[1]
    found = float(kendalltau(ranks, truth).statistic)
    return 0.0 if np.isnan(found) else found


def measured(place: Place, start: str, name: str, begun: Path, seed: int, steps: int) -> Any:
    """The figures after a recipe, and what its log says."""
    out = place.work / f"{start}-{name.replace(' ', '-')}"
    began = time.process_time()
    config = recipe(name, seed, steps)
    checkpoint = rarl.run(config, "csv", place.work / "true", out, place.backbone, begun)
    assert checkpoint is not None
    seconds = time.process_time() - began
    log = (out / "second" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    mutated = float(np.mean([json.loads(line)["mutated"] for line in log]))
    return {**figures(place, checkpoint), "mutated": mutated, "seconds": seconds}


def runs(work: Path, seed: int, given: argparse.Namespace) -> Iterator[tuple[str, str, Any]]:
    """(start, recipe, figures) of a seed."""
    place = prepared(work, seed)
    for start in STARTS:
        if given.only and start not in given.only:
            continue
        began = time.process_time()
        begun = taught(place, start, seed, given.taught)
        yield start, "before", {**figures(place, begun), "seconds": time.process_time() - began}
        for name in VARIANTS if start == "middling" else OF_REVERSED:
            if name not in given.recipes:
                continue
            yield start, name, measured(place, start, name, begun, seed, given.steps)


def table(found: Mapping[tuple[str, str], Sequence[Mapping[str, float]]]) -> None:
    print(f"| start | recipe | {' | '.join(COLUMNS)} |")
    print("|---" * (2 + len(COLUMNS)) + "|")
    for (start, name), rows in found.items():
        cells = []
        for column in COLUMNS:
            own = [row[column] for row in rows if column in row]
            digits = 0 if column == "seconds" else 1 if column == "MAE" else 2
            text = f"{np.mean(own):.{digits}f}" if own else ""
            if len(own) > 1:
                text += f" ({min(own):.{digits}f} to {max(own):.{digits}f})"
            cells.append(text)
        print(f"| {start} | {name} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="The first seed.")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--taught", type=int, default=130, help="Steps of plain fine-tuning.")
    parser.add_argument("--only", nargs="*", choices=list(STARTS), help="These starts.")
    parser.add_argument("--recipes", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, str], list[Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.first, given.first + given.seeds):
            work = (given.work or Path(folder)) / f"seed-{seed}"
            for start, name, row in runs(work, seed, given):
                found.setdefault((start, name), []).append(row)
                said = ", ".join(f"{key} {value:.3g}" for key, value in row.items())
                print(f"seed {seed}, {start}, {name}: {said}", file=sys.stderr, flush=True)
    table(found)


if __name__ == "__main__":
    main()
