"""Does the estimate of `imgrank train rarl --estimate` hold where it can be tried: on this CPU?

time     a random Qwen2.5-VL of about 75 million parameters (float32): answers drawn, a pass by
         the start of the stage, and learning, each measured and predicted. What the CPU
         multiplies and reads a second is measured first (models/throughput.py), and taken as it
         is: `use` and `reads` are 1, and no operation waits to be started.
memory   one of about 8 million in bfloat16: bytes of tensors that are there at once at most in
         drawing and in learning, with and without checkpointing, counted tensor by tensor.

OMP_NUM_THREADS=1 PYTHONPATH=tests python tests/bench/rarl_cost.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from live_bytes import Live
from PIL import Image
from tiny_vlm import tiny_vlm

from imgrank.listwise.prompt import Rule, messages
from imgrank.models.throughput import measured
from imgrank.models.vlm import VisionLanguage
from imgrank.models.vlm_shape import shape_of
from imgrank.train import rarl_cost
from imgrank.train.rarl_cost import Gpu, estimate
from imgrank.train.rarl_policy import Policy
from imgrank.train.rarl_recipe import Config, Stage

CPU = torch.device("cpu")


def recipe(pictures: int, **more: object) -> Config:
    stage = Stage(steps=1, sizes=(pictures,))
    config = Config(prompts=2, group=4, at_once=4, rank=8, stages="first", first=stage)
    return replace(config, max_pixels=4 * 28 * 28, **more)


def made(folder: Path, config: Config, precision: str, pictures: int) -> tuple[Policy, list, list]:
    policy = Policy(VisionLanguage(folder, CPU, precision, None, config.max_pixels), config)
    drawn = [Image.effect_noise((56, 56), 60).convert("RGB") for _ in range(pictures)]
    asked = policy.ask([(messages(Rule("age", 0, 100), pictures), drawn)] * config.prompts)
    tokens = shape_of(folder).picture_tokens(config.max_pixels)
    row = asked["input_ids"].shape[1]
    rarl_cost.TEXT = row - pictures * (rarl_cost.LABEL + tokens)  # of this tokenizer
    rows = [n // config.group for n in range(config.prompts * config.group)]
    return policy, asked, rows


def steps(policy: Policy, asked: list, rows: list, config: Config) -> dict[str, Callable]:
    """What a step does, each as a function; lots of `at_once`."""
    answers: list[torch.Tensor] = []

    def drawing() -> None:
        answers.extend(policy.answers(asked, rows, config.max_new_tokens, 1.0, 0))

    def lots() -> list[tuple[list[int], torch.Tensor]]:
        whole = policy.padded(answers)
        starts = range(0, len(rows), config.at_once)
        return [(rows[n : n + config.at_once], whole[n : n + config.at_once]) for n in starts]

    def comparing() -> None:
        for some, own in lots():
            policy.reference(asked, some, own)

    def learning() -> None:
        for some, own in lots():
            policy.logprobs(asked, some, own)[0].sum().backward()

    return {"drawing": drawing, "comparing": comparing, "learning": learning}


def of_time(folder: Path) -> None:
    torch.set_num_threads(1)
    tiny_vlm(folder, width=768, layers=14)
    speed = measured(CPU, torch.float32)
    # float32 counts as half the speed of bfloat16 in the estimate.
    cpu = Gpu("this CPU", 1e12, 2 * speed.flops, speed.bytes, use=1, reads=1, start=0)
    print(f"{shape_of(folder).parameters / 1e6:.0f} million parameters", end="; ")
    print(f"{speed.flops / 1e9:.0f} GFLOP/s, {speed.bytes / 1e9:.1f} GB/s, a thread")
    for pictures, checkpointing in ((1, True), (4, True), (4, False)):
        config = recipe(
            pictures, max_new_tokens=48, checkpointing=checkpointing, precision="float32"
        )
        policy, asked, rows = made(folder, config, "float32", pictures)
        predicted = estimate(config, shape_of(folder), cpu).parts[0].seconds
        for name, run in steps(policy, asked, rows, config).items():
            began = time.process_time()
            run()
            took = time.process_time() - began
            print(
                f" {pictures} picture(s), checkpointing {checkpointing!s:<5} {name:<10} predicted "
                f"{predicted[name]:6.2f} s, took {took:6.2f} s: {predicted[name] / took:.2f}"
            )


def of_memory(folder: Path) -> None:
    tiny_vlm(folder, width=256, layers=8)
    for checkpointing in (False, True):
        config = recipe(4, max_new_tokens=32, checkpointing=checkpointing, precision="bfloat16")
        policy, asked, rows = made(folder, config, "bfloat16", 4)
        predicted = estimate(config, shape_of(folder)).parts[0].memory
        for name, run in steps(policy, asked, rows, config).items():
            with Live() as live:
                run()
            if name in predicted:
                print(
                    f" checkpointing {checkpointing!s:<5} {name:<10} predicted "
                    f"{predicted[name] / 1e6:7.1f} MB, were {live.most / 1e6:7.1f} MB: "
                    f"{predicted[name] / live.most:.2f}"
                )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="imgrank-cost-") as place:
        print("time:", end=" ")
        of_time(Path(place) / "larger")
        print("memory:")
        of_memory(Path(place) / "small")


if __name__ == "__main__":
    main()
