"""A checkpoint of RARL is the very model that was trained, whatever it began from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny_vlm import rated
from torch import Tensor
from toy_rarl import CONFIG, SECOND, begun, only, prepared

from imgrank.data.labelled import Labels
from imgrank.errors import CheckpointError
from imgrank.evaluate.answers import trained_fold
from imgrank.listwise.prompt import truth_answer
from imgrank.listwise.rules import kept
from imgrank.models.checkpoint import CARD, read_config
from imgrank.models.origin import Origin
from imgrank.models.vlm import VisionLanguage
from imgrank.models.vlm_spec import read_vlm
from imgrank.rankers.rarl import RARLRanker
from imgrank.train import rarl_keeping
from imgrank.train.rarl_data import Asked, Problem, draw, opened, problem_of
from imgrank.train.rarl_keeping import jobs, licence_of, write_checkpoint
from imgrank.train.rarl_policy import Policy, policy_of
from imgrank.train.rarl_recipe import Config, override, trained_on

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return problem_of("csv", rated(tmp_path_factory.mktemp("data") / "csv", 12).parent)


def changed(policy: Policy) -> Policy:
    """As if it had learnt something."""
    with torch.no_grad():
        for n, weight in enumerate(policy.trained().values()):
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(n))
            weight.add_(noise / 20)
    return policy


def written(
    folder: Path, problem: Problem, backbone: Path, start: Path | None, config: Config
) -> Policy:
    policy = changed(policy_of(config, backbone, start, CPU))
    told, training = ["trained for fun"], {"method": "rarl"}
    write_checkpoint(
        folder, config, problem, policy, backbone, start, told, training, "the command", print
    )
    return policy


@pytest.mark.parametrize("before", ["lora", "full"])
@pytest.mark.parametrize("now", ["lora", "full"])
def test_a_checkpoint_is_what_was_trained(
    problem: Problem, tiny_vlm_folder: Path, tmp_path: Path, before: str, now: str
) -> None:
    """By the model that a sort loads, without peft."""
    first, second = (replace(CONFIG, full=each == "full") for each in (before, now))
    start = tmp_path / "start"
    written(start, problem, tiny_vlm_folder, None, first)
    policy = written(tmp_path / "now", problem, tiny_vlm_folder, start, second)
    prompts = draw(problem, (2, 3), 3, 0, 2, 0)
    inputs = policy.ask(opened(problem, prompts, CONFIG.max_pixels))
    answers = policy.padded([policy.encoded(truth_answer(each.values)) for each in prompts])

    def log_p(checkpoint: Path | None) -> Tensor:
        vlm = VisionLanguage(tiny_vlm_folder, CPU, checkpoint=checkpoint)
        with torch.no_grad():
            return vlm.logprobs(inputs, answers, vlm.mask(answers))[0]

    own = policy.logprobs(inputs, [0, 1, 2], answers)[0].detach()
    assert torch.allclose(log_p(tmp_path / "now"), own, atol=1e-4)
    assert torch.equal(log_p(start), policy.reference(inputs, [0, 1, 2], answers))
    assert not torch.allclose(log_p(start), own, atol=0.05)
    assert not torch.allclose(log_p(start), log_p(None), atol=0.05)
    lora = read_config(tmp_path / "now")["model"]["lora"]
    assert (lora or {}).get("rank") == (8 if before == now == "lora" else None)
    size = len(load_file(tmp_path / "now" / "model.safetensors"))
    assert size == (28 if lora else len([n for n in _all(policy) if ".visual." not in n]))


def test_a_start_that_was_exchanged_meanwhile_is_not_added_to(
    problem: Problem, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    written(start, problem, tiny_vlm_folder, None, CONFIG)
    policy = policy_of(CONFIG, tiny_vlm_folder, start, CPU)
    written(start, problem, tiny_vlm_folder, None, replace(CONFIG, rank=CONFIG.rank + 1))
    given = CONFIG, problem, policy, tiny_vlm_folder, start, [], {}, "the command", print
    with pytest.raises(CheckpointError, match="start is not the checkpoint any more"):
        write_checkpoint(tmp_path / "now", *given)
    assert not (tmp_path / "now").exists()


def _all(policy: Policy) -> list[str]:
    return [n for n, _ in policy.vlm.model.named_parameters() if "lora" not in n]


def test_the_config_and_the_card_say_how(
    problem: Problem, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    config = trained_on(replace(CONFIG, max_pixels=3136), "csv", "tiny")
    written(tmp_path / "start", problem, tiny_vlm_folder, None, config)
    third = replace(problem, fold=2)
    written(tmp_path / "now", third, tiny_vlm_folder, tmp_path / "start", config)
    ranker = RARLRanker(tmp_path / "now", tiny_vlm_folder, "cpu")
    assert trained_fold([SimpleNamespace(ranker=ranker)], "csv", folds=5) == 2  # its test part
    facts = read_config(tmp_path / "now", "rarl")
    assert facts["name"] == "toy" and facts["made_by"] == "the command"
    assert facts["backbone"]["digest"] == f"sha256:{read_vlm(tiny_vlm_folder).identity}"
    assert facts["model"]["max_pixels"] == 3136 and facts["model"]["max_new_tokens"] == 6
    assert facts["tasks"] == {
        "age": {
            "prompt": "the person's age",
            "unit": "years",
            "range": [0, 100],
            "order": "descending",
            "measured": [],
        }
    }
    training = facts["training"]
    assert training["method"] == "rarl" and training["second"]["mutation"] == 1.0
    assert training["data"] == {"csv": {"fold": 2}} and training["group"] == 3
    card = (tmp_path / "now" / CARD).read_text()
    assert "- trained for fun\n" in card and f"{tmp_path.name}/start\n" in card
    assert f"- csv: {len(problem.asked[0].rows)} pictures to train on" in card
    assert "## Data and their terms" in card


def test_counts_are_one_task_with_several_subjects(problem: Problem) -> None:
    def asked(subject: str, task: str = "count", **more: str) -> Asked:
        values = problem.asked[0].values
        own = Labels("key", task, "how cosy it looks", values, subject=subject, **more)
        rule = problem.asked[0].rule
        return Asked(own, rule, problem.asked[0].rows, values)

    several = (
        asked("dogs"),
        asked("wine glasses"),
        asked("", "cosy"),
        asked("", "age", unit="decades"),
    )
    found = rarl_keeping._tasks(replace(problem, asked=several))
    assert found["count"]["prompt"] == "the number of {}"
    assert found["count"]["subjects"] == ["dogs", "wine glasses"]
    assert (
        kept(found["count"]["prompt"], found["count"]["range"], "dogs").text == "the number of dogs"
    )
    assert found["cosy"]["prompt"] == 'the degree to which the image shows "cosy"'
    assert found["age"]["prompt"] == "the person's age (decades)"
    assert "subjects" not in found["cosy"]


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("apache-2.0", "mine"),
        ("", "mine"),
        ("cc-by-nc-4.0", "cc-by-nc-4.0; rests on tiny-vlm (cc-by-nc-4.0) and on its data (mine)"),
        (
            "qwen-research",
            "research only; rests on tiny-vlm (qwen-research) and on its data (mine)",
        ),
    ],
)
def test_the_models_licence_goes_on(
    tiny_vlm_folder: Path, monkeypatch: pytest.MonkeyPatch, licence: str, said: str
) -> None:
    origin = Origin("hf:a/b", "a/b", "0" * 40, "main", {}, licence=licence)
    monkeypatch.setattr(rarl_keeping, "read_origin", lambda folder: origin)
    assert licence_of(Config(licence="mine"), read_vlm(tiny_vlm_folder)) == said


@pytest.mark.parametrize("origin", [None, Origin("hf:a/b", "a/b", "0" * 40, "main", {}, "other")])
def test_a_copy_tells_its_terms_by_its_own_files(
    tiny_vlm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: Origin | None
) -> None:
    """Nobody says where it is from, or the Hub has no name for its licence."""
    copy = shutil.copytree(tiny_vlm_folder, tmp_path / "copy")
    monkeypatch.setattr(rarl_keeping, "read_origin", lambda folder: origin)
    assert licence_of(Config(licence="mine"), read_vlm(copy)) == "mine"
    (copy / "LICENSE").write_text("Qwen RESEARCH LICENSE AGREEMENT\n\nTerms.\n")
    base = "copy (Qwen RESEARCH LICENSE AGREEMENT)"
    expected = f"research only; rests on {base} and on its data (mine)"
    assert licence_of(Config(licence="mine"), read_vlm(copy)) == expected


def test_where_a_stage_begins(problem: Problem, tiny_vlm_folder: Path, tmp_path: Path) -> None:
    """The second from the first's result; alone from what it is given, or else from that."""
    first, given = tmp_path / "first" / "toy", tmp_path / "given"
    written(given, problem, tiny_vlm_folder, None, CONFIG)

    def starts(config: Config, start: Path | None) -> list[Path | None]:
        return [
            job.start for job in jobs(prepared(config, problem, tiny_vlm_folder), start, tmp_path)
        ]

    assert starts(only(SECOND), None) == [None]
    assert starts(replace(CONFIG, stages="first"), given) == [given]
    written(first, problem, tiny_vlm_folder, None, CONFIG)
    assert starts(only(SECOND), None) == [first]
    assert starts(only(SECOND), given) == [given]
    assert starts(CONFIG, None) == [None, first]
    assert starts(CONFIG, given) == [given, first]


def test_what_a_run_may_change_before_it_goes_on(
    problem: Problem, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    def settings(config: Config, data: Problem = problem) -> dict:
        return begun(data, tiny_vlm_folder, tmp_path, config)[0].settings

    own = settings(CONFIG)
    free = replace(CONFIG, at_once=1, checkpointing=True, save_every=3, report_every=2, name="b")
    assert settings(replace(free, second=replace(SECOND, steps=9))) == own  # it is the first's turn
    for other in (
        replace(CONFIG, lr=1e-3),
        override(CONFIG, {"generate_at_once": 3}),  # other random numbers
        replace(CONFIG, first=replace(CONFIG.first, gamma=0.1)),
        only(CONFIG.first),
    ):
        assert settings(other) != own
    fewer = replace(problem, digest="another")
    assert settings(CONFIG, fewer) != own


def test_a_folder_that_cannot_be_written(
    problem: Problem, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        written(tmp_path / "taken", problem, tiny_vlm_folder, None, CONFIG)
