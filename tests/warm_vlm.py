"""A tiny Qwen2.5-VL that already answers the made-up task of `tiny_vlm.py` (a hue's "age"), or is
on its way to: what a training by answers begins with, and what a sort can be tried with.

    folder = warm_vlm(tmp_path / "warm", sizes=(1, 2, 4), steps=200)   # half a minute on one core
    folder = warm_vlm(tmp_path / "quick", sizes=(1,), steps=100)       # single pictures: 8 s

Such a model learns some ten times as fast as that of `tiny_vlm.py`. Its weights begin four times
as large as transformers draws them, which is made for models a hundred times as wide. And its
chat's template shows the pictures and leaves out the words of the prompt, 155 tokens that say the
same each time: it knows one task.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tiny_vlm import rated, tiny_vlm

LARGER = 4.0
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}<|im_start|>"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif part['text'].startswith('Image ') %}"
    "{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"
)
QUICK: dict[str, Any] = {
    "full": True,
    "lr": 4e-3,
    "prompts": 12,
    "warmup": 20,
    "max_new_tokens": 160,
    "at_once": 0,
    "checkpointing": False,
}
"""What `imgrank train sft` needs of --set to teach such a model in seconds."""


def lively_vlm(folder: Path, *, width: int = 64, layers: int = 3, seed: int = 0) -> Path:
    """A random model folder, as `tiny_vlm` makes it, that learns faster."""
    from safetensors.torch import load_file, save_file

    tiny_vlm(folder, width=width, layers=layers, seed=seed)
    for shard in folder.glob("*.safetensors"):
        larger = {n: t * LARGER if t.ndim > 1 else t for n, t in load_file(shard).items()}
        save_file(larger, shard, metadata={"format": "pt"})
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


def warm_vlm(
    folder: Path,
    *,
    sizes: Sequence[int] = (1, 2, 4),
    steps: int = 200,
    step: int = 20,
    layers: int = 3,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write a plain model folder ("vlm") that was taught by plain fine-tuning.

    sizes: numbers of pictures that it was asked about.   step: of the ages 0..100 it has seen.
    """
    import torch

    from imgrank.train import sft
    from imgrank.train.processes import ALONE
    from imgrank.train.rarl_data import problem_of
    from imgrank.train.rarl_policy import policy_of
    from imgrank.train.sft_recipe import Config

    with tempfile.TemporaryDirectory() as work:
        base = lively_vlm(Path(work) / "base", layers=layers, seed=seed)
        problem = problem_of("csv", rated(Path(work) / "rated", 150, step=step, seed=seed).parent)
        config = Config(**QUICK, sizes=tuple(sizes), steps=steps, seed=seed, save_every=10**9)
        policy = policy_of(config, base, None, torch.device("cpu"), frozen=False)
        sft.train(config, problem, policy, {}, Path(work), report, ALONE)
        shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
        policy.vlm.model.save_pretrained(folder)
    return folder
