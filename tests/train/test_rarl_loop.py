"""RARL on a tiny random Qwen2.5-VL: numbers against slow loops, stages, resuming bit for bit."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_vlm import rated
from torch import Tensor
from toy_rarl import CONFIG, begun, interrupted, only, rows_of, trained

from imgrank.errors import CheckpointError, UsageError
from imgrank.listwise.prompt import truth_answer
from imgrank.models.checkpoint import read_config
from imgrank.models.vlm import VisionLanguage
from imgrank.train import rarl, rarl_ready
from imgrank.train import rarl_metrics as metrics
from imgrank.train.plots import panels_figure
from imgrank.train.processes import Processes
from imgrank.train.rarl_data import Problem, draw, opened, problem_of
from imgrank.train.rarl_policy import Learning
from imgrank.train.rarl_recipe import Stage

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
DRAW = metrics.draw_curves
SEVERAL = Stage(steps=1, sizes=(2, 3), beta=1.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rated(tmp_path_factory.mktemp("data") / "csv", 30).parent


@pytest.fixture(scope="module")
def problem(root: Path) -> Problem:
    return problem_of("csv", root)


@pytest.fixture(scope="module")
def done(root: Path, tiny_vlm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "draw_curves", lambda log, png: png.touch())
        assert trained(root, tiny_vlm_folder, out) == out / "toy"
    return out


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of matplotlib each."""
    monkeypatch.setattr(metrics, "draw_curves", lambda log, png: png.touch())


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Gradients stay where a step leaves them, and no weight changes."""
    monkeypatch.setattr(Learning, "advance", lambda learning, processes: 0.0)
    yield


def gradients(learning: Learning) -> dict[str, Tensor]:
    found = {name: p.grad for name, p in learning.policy.trained().items()}
    return {name: grad for name, grad in found.items() if grad is not None}


def weights(out: Path) -> dict[str, Tensor]:
    return load_file(out / "model.safetensors")


def test_the_log_tells_of_each_step_what_was_drawn(done: Path) -> None:
    first, second = rows_of(done, "first"), rows_of(done, "second")
    assert [row["step"] for row in first] == [1, 2]
    assert [row["step"] for row in second] == [1, 2, 3]
    own = {"step", "total", "reward", "R_reg", "R_fmt", "mutated", "group_sd", "flat"}
    own |= {"entropy", "kl", "tokens", "gradient"}
    assert all(row.keys() == own for row in first)
    order = {"r_len", "r_con", "r_acc"}
    assert all(row.keys() in (own, own | order) for row in second)
    assert any(order <= row.keys() for row in second)
    # A random model's answers are all worthless; those that were swapped in are not counted.
    assert all(row["mutated"] == 1 and row["flat"] == 1 for row in first + second)
    assert all(row["R_reg"] == row["R_fmt"] == 0 for row in first + second)
    assert 5.5 < first[0]["entropy"] < 6.5  # of some 600 tokens, a few less likely than others


def test_the_log_has_curves(done: Path, tmp_path: Path) -> None:
    DRAW(done / "second" / "metrics.jsonl", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (1080, 1056)
    rows = rows_of(done, "second")
    reward, order, *_ = panels_figure(rows, dict(metrics.PANELS)).axes
    assert [line.get_label() for line in reward.lines] == ["reward", "R_reg", "R_fmt"]
    assert reward.lines[0].get_ydata().tolist() == [row["reward"] for row in rows]
    steps = [row["step"] for row in rows if "r_acc" in row]
    assert order.lines[2].get_xdata().tolist() == steps


def test_each_stage_begins_without_any_divergence(done: Path) -> None:
    """Of its own start: the second stage's is what the first has learnt."""
    assert rows_of(done, "first")[0]["kl"] == 0 == rows_of(done, "second")[0]["kl"]
    assert rows_of(done, "second")[1]["kl"] > 0


def test_the_second_stage_is_held_to_the_first_ones_result(
    done: Path, problem: Problem, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    _, learning = begun(problem, tiny_vlm_folder, tmp_path, only(SEVERAL), done / "first" / "toy")
    policy = learning.policy
    with torch.no_grad():
        for name, factor in policy.trained().items():
            factor.add_(0.1 if "lora_B" in name else 0.0)  # it has learnt something
    prompts = draw(problem, (2, 3), 2, seed=0, stage=1, step=0)
    asked = policy.ask(opened(problem, prompts, CONFIG.max_pixels))
    answers = policy.padded([policy.encoded(truth_answer(each.values)) for each in prompts])
    held = policy.reference(asked, [0, 1], answers)
    assert not torch.allclose(held, policy.logprobs(asked, [0, 1], answers)[0].detach(), atol=0.01)

    def plain(checkpoint: Path | None) -> Tensor:
        vlm = VisionLanguage(tiny_vlm_folder, CPU, checkpoint=checkpoint)
        with torch.no_grad():
            return vlm.logprobs(asked, answers, vlm.mask(answers))[0]

    assert torch.equal(held, plain(done / "first" / "toy"))
    assert not torch.allclose(held, plain(None), atol=1e-4)  # which is not where all began


def test_a_group_of_wrong_answers_teaches_something_only_with_the_mutation(
    problem: Problem, tiny_vlm_folder: Path, tmp_path: Path, steady: None
) -> None:
    found = {}
    for p in (0.0, 1.0):
        job, learning = begun(
            problem, tiny_vlm_folder, tmp_path / str(p), only(replace(SEVERAL, mutation=p), kl=0.0)
        )
        rolled = rarl.roll_out(job, learning)
        assert {each.total for each in rolled.earned} in ({-2.0}, {-2.0, -1.0}, {-1.0})
        row = rarl.update(job, rolled, learning)
        assert row["flat"] == 1 and row["mutated"] == p
        found[p] = gradients(learning)
    assert all(not gradient.any() for gradient in found[0.0].values())  # exact zeros
    reached = [name for name, gradient in found[1.0].items() if gradient.any()]
    # At the start every B is 0, and so is the gradient of every A.
    assert reached == [name for name in found[1.0] if ".lora_B." in name]
    assert len(reached) == 14


def test_the_truth_takes_the_place_of_the_worst(
    problem: Problem, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    config = only(replace(SEVERAL, mutation=1.0))
    job, learning = begun(problem, tiny_vlm_folder, tmp_path, config)
    plain, _ = begun(problem, tiny_vlm_folder, tmp_path, only(SEVERAL))
    rolled, before = rarl.roll_out(job, learning), rarl.roll_out(plain, learning)
    texts = learning.policy.texts(rolled.answers)
    for n, prompt in enumerate(rolled.prompts):
        assert texts[3 * n] == truth_answer(prompt.values)  # all are equally bad: the first
        assert rolled.R[n].tolist() == [4.5, *before.R[n, 1:].tolist()]
    assert rolled.swapped.tolist() == [True, False, False] * 2
    assert rolled.earned == before.earned  # as they were drawn
    mask = learning.policy.mask(rolled.answers)
    ends = rolled.answers[0][mask[0]].tolist()
    assert ends.count(learning.policy.vlm.end) == 1 and ends[-1] == learning.policy.vlm.end


@pytest.mark.parametrize(("at_once", "loss", "temperature"), [(4, "dapo", 1.0), (1, "grpo", 0.7)])
def test_a_step_is_the_mean_over_the_whole_batch(
    problem: Problem,
    tiny_vlm_folder: Path,
    tmp_path: Path,
    steady: None,
    at_once: int,
    loss: str,
    temperature: float,
) -> None:
    """Against one answer after another, its tokens one after another, by the formulas."""
    stage, parts = replace(SEVERAL, mutation=1.0), {"at_once": at_once, "loss": loss}
    config = only(stage, **parts, temperature=temperature)
    job, learning = begun(problem, tiny_vlm_folder, tmp_path, config)
    policy = learning.policy
    with torch.no_grad():
        for n, factor in enumerate(policy.trained().values()):
            factor.add_(torch.randn(factor.shape, generator=torch.Generator().manual_seed(n)) / 9)
    rolled = rarl.roll_out(job, learning)
    R = torch.tensor([[0.5, 2.0, -1.0], [1.0, 1.0, 3.0]])
    row = rarl.update(job, replace(rolled, R=R), learning)
    own = gradients(learning)
    for factor in policy.trained().values():
        factor.grad = None

    counts, terms = [], []
    for b, answer in enumerate(rolled.answers):
        group = R[b // 3]
        A = (group[b % 3] - group.mean()) / (group.std() + 1e-4)
        kept = answer[policy.mask(answer)]
        alone = opened(problem, [rolled.prompts[b // 3]], config.max_pixels)
        log_p = _slowly(policy, alone, kept, temperature)
        with torch.no_grad(), policy._wrapped.disable_adapter():
            log_ref = _slowly(policy, alone, kept, temperature)
        d = log_ref - log_p
        tokens = -A * torch.exp(log_p - log_p.detach()) + 0.04 * (torch.exp(d) - d - 1)
        counts.append(len(kept))
        terms.append(tokens.sum())
    if loss == "dapo":
        total = sum(terms) / sum(counts)
    else:
        total = sum(term / count for term, count in zip(terms, counts, strict=True)) / 6
    total.backward()
    assert row["total"] == pytest.approx(total.item(), rel=1e-4, abs=1e-6)
    slow = gradients(learning)
    assert own.keys() == slow.keys() == policy.trained().keys()
    for name in own:
        assert own[name].any()
        torch.testing.assert_close(own[name], slow[name], rtol=2e-3, atol=2e-6)


class OfTwo:
    """A process of two, which are threads here: what one gives is there for both."""

    count, given = 2, [torch.empty(0), torch.empty(0)]

    def __init__(self, rank: int, both: Barrier) -> None:
        self.rank, self.both = rank, both

    def gather(self, own: Tensor, rows: int) -> Tensor:
        assert len(own) == len(range(rows)[Processes(self.rank, 2).share(rows)])
        self.given[self.rank] = own
        self.both.wait(60)
        found = torch.cat(self.given)
        self.both.wait(60)
        return found


@pytest.mark.parametrize("loss", ["dapo", "grpo"])
def test_two_processes_step_as_one(
    problem: Problem, tiny_vlm_folder: Path, tmp_path: Path, steady: None, loss: str
) -> None:
    """One has a prompt, the other two, with answers of other lengths."""
    config = only(replace(SEVERAL, mutation=1.0), loss=loss, prompts=3, at_once=2)
    made = [begun(problem, tiny_vlm_folder, tmp_path, config) for _ in range(3)]
    for _, learning in made:
        with torch.no_grad():
            for n, factor in enumerate(learning.policy.trained().values()):
                factor.add_(torch.randn(factor.shape, generator=torch.Generator().manual_seed(n)))
    job, alone = made[0]
    whole = rarl.roll_out(job, alone)
    row = rarl.update(job, whole, alone)
    both = Barrier(2)

    def half(rank: int) -> dict[str, float]:
        learning, mine = made[1 + rank][1], range(3)[Processes(rank, 2).share(3)]
        own = [b for n in mine for b in range(n * config.group, (n + 1) * config.group)]
        part = rarl.RollOut(
            [whole.prompts[n] for n in mine],
            learning.policy.vlm.take(whole.asked, mine),
            learning.policy.padded(list(whole.answers[own])),
            [whole.earned[b] for b in own],
            whole.swapped[own],
            whole.R[list(mine)],
        )
        return rarl.update(replace(job, processes=OfTwo(rank, both)), part, learning)

    with ThreadPoolExecutor(2) as threads:
        rows = list(threads.map(half, range(2)))
    assert rows[0] == rows[1] == pytest.approx(row, rel=1e-4, abs=1e-5)
    expected, *parts = (gradients(learning) for _, learning in made)
    for name, gradient in expected.items():
        mean = (parts[0][name] + parts[1][name]) / 2
        torch.testing.assert_close(mean, gradient, rtol=2e-3, atol=2e-6)
    assert any(gradient.any() for gradient in expected.values())


def _slowly(policy: object, conversation: list, kept: Tensor, temperature: float) -> Tensor:
    """log p [T] of one answer, without padding: the logits of a plain pass over prompt and answer,
    without the tokens that are never drawn."""
    vlm = policy.vlm
    inputs = vlm.inputs(conversation)
    start = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], kept[None]], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    kinds = inputs.pop("mm_token_type_ids", None)  # not of the first transformers 5
    if kinds is not None:
        inputs["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(kept[None]).to(kinds)], 1)
    logits = vlm.model(**inputs).logits[0, start - 1 : -1].double() / temperature
    found, never = [], set(vlm.suppressed.tolist())
    allowed = [v for v in range(logits.shape[1]) if v not in never]
    for t, token in enumerate(kept):
        found.append(logits[t, token] - torch.logsumexp(logits[t, allowed], 0))
    return torch.stack(found).float()


def test_an_interrupted_run_goes_on_to_the_very_same_numbers(
    done: Path, root: Path, tiny_vlm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within each stage, and within the last step of the first."""
    stopped = "stopped after step {}; run the same line to go on"
    first = tmp_path / "first" / "toy"
    for ends in (stopped.format(1), f"the second stage begins from {first}", stopped.format(1)):
        assert interrupted(root, tiny_vlm_folder, tmp_path, monkeypatch)[-1] == ends
    told: list[str] = []
    assert trained(root, tiny_vlm_folder, tmp_path, report=told.append) == tmp_path / "toy"
    assert f"{first} was finished before and is left as it is" in told
    assert "second stage: resumed at step 1 of 3" in told
    for stage in ("first", "second"):
        assert rows_of(tmp_path, stage) == rows_of(done, stage)
    for name in ("toy", "first/toy"):
        own = (tmp_path / name / "model.safetensors").read_bytes()
        assert own == (done / name / "model.safetensors").read_bytes()


def test_a_second_stage_alone_begins_from_the_first_that_is_there(
    done: Path, root: Path, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(done / "first", tmp_path / "first")
    told: list[str] = []
    config = replace(CONFIG, stages="second")
    assert trained(root, tiny_vlm_folder, tmp_path, config, report=told.append) == tmp_path / "toy"
    assert f"the second stage begins from {tmp_path / 'first' / 'toy'}" in told
    assert rows_of(tmp_path, "second") == rows_of(done, "second")


def test_a_checkpoint_has_the_factors_of_all_stages(
    done: Path, root: Path, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, stages="first", rank=2, first=Stage(steps=1, sizes=(2,)))
    found = trained(root, tiny_vlm_folder, tmp_path, config, done / "toy")
    assert found is not None
    before, after = weights(done / "toy"), weights(found)
    assert read_config(done / "first" / "toy")["model"]["lora"]["rank"] == 4
    assert read_config(done / "toy")["model"]["lora"]["rank"] == 8
    assert read_config(found)["model"]["lora"]["rank"] == 10
    for name, value in before.items():
        kept = after[name][:8] if name.endswith(".A") else after[name][:, :8]
        assert torch.equal(kept, value)


def test_what_was_finished_is_left_as_it_is(
    done: Path, root: Path, tiny_vlm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rarl, "train", None)  # no model is made
    told: list[str] = []
    config = replace(CONFIG, at_once=1, save_every=7)
    assert trained(root, tiny_vlm_folder, done, config, report=told.append) == done / "toy"
    left = [line for line in told if line.endswith("was finished before and is left as it is")]
    assert len(left) == 2


def test_another_recipe_needs_another_folder(done: Path, root: Path, tiny_vlm_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="of a run with other settings"):
        trained(root, tiny_vlm_folder, done, replace(CONFIG, kl=0.1))


def test_full_training_learns_all_but_the_vision_tower(
    root: Path, problem: Problem, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    config = only(Stage(steps=2, sizes=(2,), beta=1.0, mutation=1.0), full=True, lr=1e-3)
    found = trained(root, tiny_vlm_folder, tmp_path, config)
    assert found is not None
    assert rows_of(tmp_path, "second")[0]["kl"] == 0 < rows_of(tmp_path, "second")[1]["kl"]
    assert read_config(found)["model"]["lora"] is None
    kept = weights(found)
    assert all(name.startswith("full.") and ".visual." not in name for name in kept)
    policy = begun(problem, tiny_vlm_folder, tmp_path / "new", config)[1].policy
    assert {f"full.{name}" for name in policy.trained()} == kept.keys()
    after = VisionLanguage(tiny_vlm_folder, CPU, checkpoint=found).model.state_dict()
    changed = [n for n, p in policy.vlm.model.state_dict().items() if not torch.equal(p, after[n])]
    assert len(changed) > 20 and not [name for name in changed if "visual" in name]


def test_a_loss_that_is_no_number_ends_it(
    problem: Problem, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    job, learning = begun(problem, tiny_vlm_folder, tmp_path, only(SEVERAL))
    rolled = rarl.roll_out(job, learning)
    with pytest.raises(CheckpointError, match="the loss of step 1 is no number"):
        rarl.update(job, replace(rolled, R=torch.full((2, 3), math.nan)), learning)


def test_more_processes_than_prompts(
    root: Path, tiny_vlm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rarl_ready, "join", lambda device: Processes(0, 3))
    with pytest.raises(UsageError, match="3 processes are too many for prompts = 2"):
        trained(root, tiny_vlm_folder, tmp_path)
