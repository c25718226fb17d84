"""A made-up pool, its preferences and captions, and random towers: search aligned in a second."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from imgrank.train import retrieval as recipe
from imgrank.train.retrieval_recipe import Config

PICTURES, QUERIES, ROWS, COLUMNS = 24, 12, 2, 3
WORDS = ("dog", "cat", "boat", "tree", "car", "house")
CONFIG = Config(
    name="toy",
    licence="none",
    policy="logit",
    beta=1.0,
    weight=0.1,
    image="last",
    text="last",
    batch=4,
    captions=5,
    steps=12,
    lr=3e-3,
    warmup=2,
    held_out=0.2,
    evaluate_every=6,
    save_every=5,
)
TEXT = {"context_length": 10, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VISIONS: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "convnext": {"timm_model_name": "test_convnext", "image_size": 32},
    "efficientnet": {"timm_model_name": "test_efficientnet", "image_size": 32},
}


def model_folder(folder: Path, vision: str = "vit") -> Path:
    """An OpenCLIP folder with random weights; pictures are cut to a square, as CLIP does."""
    vision_cfg = VISIONS[vision]
    if vision != "vit":
        vision_cfg = {**vision_cfg, "timm_pool": "avg", "timm_proj": "linear"}
    model = {"embed_dim": 16, "vision_cfg": vision_cfg, "text_cfg": TEXT}
    folder.mkdir(parents=True)
    content = {"model_cfg": model, "preprocess_cfg": {"resize_mode": "shortest"}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**model).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def make_data(root: Path) -> Path:
    """ROOT/own with pictures, the later the brighter, ROOT/captions, and the preferences' file."""
    (root / "own").mkdir(parents=True)
    (root / "captions").mkdir()
    draw = np.random.default_rng(0)
    for n in range(PICTURES):
        pixels = draw.integers(0, 60, (30, 45, 3)) + 8 * n
        Image.fromarray(pixels.astype(np.uint8)).save(root / "own" / f"{n:02}.png")
    with (root / "captions" / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filepath", "caption", "split"])
        for n in range(PICTURES):
            for view in range(1 + n % 2):
                text = f"{WORDS[n % 6]} {n // 6} seen {view}"
                table.writerow([f"../own/{n:02}.png", text, "test" if n < 4 else "train"])
    return preferences(root)


def preferences(root: Path) -> Path:
    """Each query prefers bright pictures; rows are told apart by made-up cosines."""
    path = root / "preferences.jsonl"
    keys = [f"own/{n:02}.png" for n in range(PICTURES)]
    head = {"format": 1, "kind": "preferences", "queries": QUERIES, "pictures": PICTURES}
    head |= {"model": {"name": "tiny"}, "rerank": {"name": "by-hand"}}
    head |= {"rows": ROWS, "columns": COLUMNS, "pool": [{"name": "own", "folder": True}]}
    lines: list[dict[str, Any]] = [head]
    for key in keys:
        digest = hashlib.sha256((root / key).read_bytes()).hexdigest()
        lines.append({"picture": key, "sha256": digest})
    draw = np.random.default_rng(1)
    for q in range(QUERIES):
        chosen = np.sort(draw.permutation(PICTURES)[: ROWS * COLUMNS])[::-1]
        matrix = chosen.reshape(ROWS, COLUMNS)
        lines.append({
            "query": f"a {WORDS[q % 6]} {q // 6}",
            "rephrased": f"REPHRASED {q}",
            "pictures": [[keys[n] for n in row] for row in matrix],
            "cosine": [[0.5 - 0.1 * row] * COLUMNS for row in range(ROWS)],
            "score": matrix.tolist(),
        })  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def trained(
    root: Path,
    backbone: Path,
    out: Path,
    config: Config = CONFIG,
    captions: tuple[str, ...] = ("captions",),
    report: Callable[[str], None] = lambda line: None,
) -> Path | None:
    found: Path | None = recipe.run(
        config,
        root / "preferences.jsonl",
        captions,
        root,
        out,
        backbone,
        root / "kept",
        report,
        "the command",
    )
    return found


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The steps in the log."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "total" in row]


def delta(out: Path) -> dict[str, Tensor]:
    return load_file(out / "toy-delta" / "model.safetensors")


def interrupted(
    root: Path, backbone: Path, out: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Train, and press Ctrl-C while a step runs; what was reported."""
    before = recipe.update

    def update(config: Config, problem: Any, learner: Any, *rest: Any) -> Any:
        if learner.step == step:
            signal.raise_signal(signal.SIGINT)
        return before(config, problem, learner, *rest)

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(recipe, "update", update)
        assert trained(root, backbone, out, report=said.append) is None
    return said


def alike() -> Config:
    """What several processes train to float tolerance, with batches that two cannot halve."""
    return replace(CONFIG, batch=3, steps=3, lr=1e-3, held_out=0.0)
