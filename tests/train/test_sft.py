"""Plain fine-tuning on true answers: its loss is transformers' own, pieces and stops change
nothing, and what it keeps is a checkpoint."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_vlm import rated

from imgrank.errors import CheckpointError, DataError, UsageError
from imgrank.listwise.prompt import truth_answer
from imgrank.train import plots, rarl, rarl_ready, rarl_recipe, sft
from imgrank.train.processes import ALONE
from imgrank.train.rarl_data import Problem, draw, opened, problem_of
from imgrank.train.rarl_policy import Learning, policy_of
from imgrank.train.sft_recipe import Config, load_recipe, override

pytest.importorskip("transformers", reason="needs imgrank[rarl]")
CPU = torch.device("cpu")
CONFIG = Config(
    name="toy",
    licence="none",
    rank=4,
    lora_alpha=8.0,
    prompts=3,
    sizes=(1, 2),
    steps=4,
    lr=1e-3,
    warmup=1,
    max_pixels=3136,
    precision="float32",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rated(tmp_path_factory.mktemp("rated"), 12, step=10).parent


@pytest.fixture(scope="module")
def problem(root: Path) -> Problem:
    return problem_of("csv", root)


def learning(config: Config, backbone: Path) -> Learning:
    return Learning(policy_of(config, backbone, None, CPU, frozen=False), config)


def ran(config: Config, root: Path, out: Path, backbone: Path, said: list[str]) -> Path | None:
    return sft.run(config, "csv", root, out, backbone, None, said.append, "the command")


def test_the_loss_is_the_cross_entropy_of_the_true_answers(
    problem: Problem, tiny_vlm_folder: Path
) -> None:
    """By transformers, a conversation at a time, of which only the answer has labels. It has all
    words to choose from; ours leaves special tokens out, which are next to nothing of 400."""
    own = learning(CONFIG, tiny_vlm_folder)
    vlm, summed, tokens = own.policy.vlm, 0.0, 0
    for prompt in draw(problem, CONFIG.sizes, CONFIG.prompts, CONFIG.seed, sft.STAGE, 0):
        inputs = vlm.inputs(opened(problem, [prompt], CONFIG.max_pixels))
        answer = vlm.encode(truth_answer(prompt.values))
        assert int(answer[-1]) == vlm.end
        ids = torch.cat([inputs["input_ids"][0], answer])[None]
        labels = ids.clone()
        labels[0, : -len(answer)] = -100
        given = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if "mm_token_type_ids" in inputs:  # not of the first transformers 5
            types = torch.cat([inputs["mm_token_type_ids"][0], torch.zeros_like(answer)])
            given["mm_token_type_ids"] = types[None]
        with torch.no_grad():
            logits = vlm.model(**given).logits.float()
        logits[..., vlm.suppressed] = -torch.inf
        loss = torch.nn.functional.cross_entropy(
            logits[0, :-1], labels[0, 1:], ignore_index=-100, reduction="sum"
        )
        summed, tokens = summed + float(loss), tokens + len(answer)
    row = sft.update(CONFIG, problem, own, ALONE)
    assert row["total"] == pytest.approx(summed / tokens, abs=2e-5)
    assert row["gradient"] > 0


def test_pieces_give_the_same_step(problem: Problem, tiny_vlm_folder: Path) -> None:
    whole, pieces = (learning(CONFIG, tiny_vlm_folder) for _ in range(2))
    one = sft.update(CONFIG, problem, whole, ALONE)
    two = sft.update(replace(CONFIG, at_once=2, checkpointing=True), problem, pieces, ALONE)
    assert two["total"] == pytest.approx(one["total"], abs=1e-5)
    assert two["gradient"] == pytest.approx(one["gradient"], rel=1e-4)


def test_the_vision_tower_stays_as_it_is(tiny_vlm_folder: Path) -> None:
    full = learning(replace(CONFIG, full=True), tiny_vlm_folder).policy.trained()
    assert full
    assert not any("visual" in name for name in full)
    lora = learning(CONFIG, tiny_vlm_folder).policy.trained()
    assert lora
    assert all("lora_" in name and "visual" not in name for name in lora)


def test_a_stop_changes_nothing(
    root: Path, tiny_vlm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    whole = ran(CONFIG, root, tmp_path / "whole", tiny_vlm_folder, said)
    assert whole == tmp_path / "whole" / "toy"
    before = sft.update

    def update(config: Config, problem: Problem, own: Learning, *rest: Any) -> Any:
        if own.step == 1:
            signal.raise_signal(signal.SIGINT)
        return before(config, problem, own, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(sft, "update", update)
        assert ran(CONFIG, root, tmp_path / "parts", tiny_vlm_folder, said) is None
    assert said[-1] == "stopped after step 2; run the same line to go on"
    parts = ran(CONFIG, root, tmp_path / "parts", tiny_vlm_folder, said)
    assert parts is not None
    assert "resumed at step 2 of 4" in said
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, parts))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    logs = [(folder.parent / "metrics.jsonl").read_text() for folder in (whole, parts)]
    assert logs[0] == logs[1]
    facts = json.loads((whole / "config.json").read_text())
    assert (facts["kind"], facts["model"]["lora"]["rank"]) == ("rarl", 4)
    assert facts["training"]["method"] == "sft"
    assert "4 steps of 3 conversations, seed 0" in (whole / "README.md").read_text()
    with pytest.raises(CheckpointError, match=r"of a run with other settings \(lr\)"):
        ran(replace(CONFIG, lr=2e-3), root, tmp_path / "whole", tiny_vlm_folder, said)


def test_more_processes_than_conversations(
    root: Path, tiny_vlm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rarl_ready, "join", lambda device: replace(ALONE, count=4))
    with pytest.raises(UsageError, match="4 processes are too many for prompts = 3"):
        ran(CONFIG, root, tmp_path, tiny_vlm_folder, [])


def test_neither_method_writes_where_the_other_is_at_work(
    root: Path, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    for name in ("sft/state.pt", "rarl/second/state.pt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match="rarl is of a run of `imgrank train rarl`"):
        ran(CONFIG, root, tmp_path / "rarl", tiny_vlm_folder, [])
    with pytest.raises(UsageError, match="sft is of a run of `imgrank train sft`"):
        rarl.run(rarl_recipe.Config(), "csv", root, tmp_path / "sft", tiny_vlm_folder)


def test_curves_that_find_no_room_say_so(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"step": 1, "total": 1.0}\n')
    with pytest.raises(DataError, match=r"curves\.png cannot be written: No such file"):
        plots.curves(tmp_path / "log", tmp_path / "gone" / "curves.png")


def test_our_recipe_and_what_changes_it() -> None:
    config = load_recipe()
    assert (config.sizes, config.steps, config.warmup) == ((1, 2, 4, 8), 500, 20)
    assert config.rate(0) == pytest.approx(1e-4 / 20)
    assert config.rate(19) == 1e-4
    shorter = override(config, {"steps": 50, "sizes": [1, 4]})
    assert (shorter.warmup, shorter.sizes) == (2, (1, 4))
    for wrong, said in (
        ({"sizes": [1, 9]}, r"sizes = \[1, 9\]: numbers from 1 to 8"),
        ({"sizes": []}, "numbers from 1 to 8"),
        ({"steps": 0}, "steps = 0 must be above 0"),
        ({"group": 8}, "the recipe has no field group"),
    ):
        with pytest.raises(UsageError, match=said):
            override(config, wrong)
