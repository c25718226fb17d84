"""A Qwen2.5-VL's answers and their probabilities, against slow loops over the same model.

The model is random and tiny: what is right here says nothing of quality.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("transformers", reason="needs imgrank[rarl]")

from imgrank.listwise.prompt import Rule, messages
from imgrank.models.vlm import VisionLanguage
from imgrank.models.vlm_inputs import Conversation

CPU = torch.device("cpu")
RULE = Rule("the person's age", 0, 100)
COLOURS = ("red", "green", "blue", "gold", "navy", "pink", "teal", "gray")


def conversation(count: int, size: tuple[int, int] = (56, 56)) -> Conversation:
    return messages(RULE, count), [Image.new("RGB", size, colour) for colour in COLOURS[:count]]


def lively(folder: Path) -> VisionLanguage:
    """Weights twelve times as large as at the start, so that next tokens are not all alike."""
    vlm = VisionLanguage(folder, CPU)
    with torch.no_grad():
        for name, weight in vlm.model.named_parameters():
            if weight.ndim == 2 and "visual" not in name:
                weight.mul_(12 if "embed" not in name else 3)
    return vlm


@pytest.fixture(scope="module")
def loaded(tiny_vlm_folder: Path) -> VisionLanguage:
    return lively(tiny_vlm_folder)


@pytest.fixture
def vlm(loaded: VisionLanguage) -> Iterator[VisionLanguage]:
    before = dict(vars(loaded))
    yield loaded
    vars(loaded).update(before)
    loaded.model.eval()


def logits_after(vlm: VisionLanguage, row: Conversation, ids: Sequence[int]) -> Tensor:
    """[V] of the next token, over all that went before, without a cache and without padding."""
    inputs = vlm.inputs([row])
    more = torch.tensor([list(ids)], dtype=torch.long)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], more], 1)
    for name in {"attention_mask", "mm_token_type_ids"} & inputs.keys():
        fill = torch.full_like(more, int(name == "attention_mask"))
        inputs[name] = torch.cat([inputs[name], fill], 1)
    with torch.no_grad():
        logits = vlm.model(**inputs, use_cache=False).logits[0, -1].float()
    logits[vlm.suppressed] = float("-inf")
    return logits


def test_greedy_answers_are_those_of_a_loop_of_likeliest_tokens(vlm: VisionLanguage) -> None:
    rows = [conversation(2), conversation(1)]
    answers = vlm.generate(vlm.inputs(rows), 8, stop=None)

    for row, answer in zip(rows, answers.tolist(), strict=True):
        slow: list[int] = []
        while len(slow) < 8 and vlm.end not in slow:
            slow.append(int(logits_after(vlm, row, slow).argmax()))
        assert answer == slow + [vlm.pad] * (answers.shape[1] - len(slow))
        assert len(set(slow)) < len(slow), "no repetition: a penalty for it would not be seen"


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampled_answers_are_draws_from_the_distribution_that_logprobs_tells(
    vlm: VisionLanguage, temperature: float
) -> None:
    rows = [conversation(2), conversation(1)]
    drawing = {"sample": True, "temperature": temperature, "seed": 3, "stop": None}
    answers = vlm.generate(vlm.inputs(rows), 6, **drawing)

    drawn: list[list[int]] = [[], []]
    chances = []
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for _ in range(6):
            logits = [logits_after(vlm, row, own) for row, own in zip(rows, drawn, strict=True)]
            chances.append((torch.stack(logits) / temperature).softmax(-1))
            chosen = torch.multinomial(chances[-1], 1)
            for own, token in zip(drawn, chosen.flatten().tolist(), strict=True):
                own.append(token)
    assert all(vlm.end not in own for own in drawn)
    assert answers.tolist() == drawn

    with torch.no_grad():
        logp, entropy = vlm.logprobs(vlm.inputs(rows), answers, vlm.mask(answers), temperature)
    wanted = torch.stack(chances, 1)  # [B, T, V]
    chosen = wanted.gather(-1, answers[..., None])[..., 0]
    torch.testing.assert_close(logp, chosen.log(), atol=1e-4, rtol=0)
    slow = -torch.special.xlogy(wanted, wanted).sum(-1)
    torch.testing.assert_close(entropy, slow, atol=1e-4, rtol=0)


def test_special_tokens_are_never_sampled(vlm: VisionLanguage) -> None:
    """Two of them are made the likeliest by far: a picture's place and the padding."""
    inputs = vlm.inputs([conversation(1)] * 8)
    picture = int(vlm.model.config.image_token_id)
    assert {picture, vlm.pad} <= set(vlm.suppressed.tolist())

    def push(module: Any, given: Any, logits: Tensor) -> Tensor:
        return logits.index_fill(-1, torch.tensor([picture, vlm.pad]), 1e4)

    hook = vlm.model.lm_head.register_forward_hook(push)
    try:
        answers = vlm.generate(inputs, 16, sample=True, seed=0, stop=None)
        logp, entropy = vlm.logprobs(inputs, answers, vlm.mask(answers))
    finally:
        hook.remove()
    assert not torch.isin(answers[vlm.mask(answers)], vlm.suppressed).any()
    assert logp.isfinite().all()
    assert entropy.isfinite().all()


def test_a_row_gives_the_same_alone_as_beside_longer_ones(vlm: VisionLanguage) -> None:
    rows = [conversation(1), conversation(8), conversation(2, size=(28, 84))]
    inputs = vlm.inputs(rows)
    answers = vlm.generate(inputs, 6, sample=True, seed=0, stop=None)
    mask = vlm.mask(answers)
    with torch.no_grad():
        logp, entropy = vlm.logprobs(inputs, answers, mask)
        for n, row in enumerate(rows):
            alone = vlm.logprobs(vlm.inputs([row]), answers[n : n + 1], mask[n : n + 1])
            torch.testing.assert_close(logp[n : n + 1], alone[0], atol=1e-4, rtol=0)
            torch.testing.assert_close(entropy[n : n + 1], alone[1], atol=1e-4, rtol=0)


def test_rows_are_taken_with_their_own_pictures(vlm: VisionLanguage) -> None:
    rows = [conversation(1), conversation(3), conversation(2, size=(28, 84))]
    for wanted in ([2], [1, 1, 0], [0, 2, 0]):
        found = vlm.take(vlm.inputs(rows), wanted)
        again = vlm.inputs([rows[row] for row in wanted])
        assert found.keys() == again.keys()
        for name in found:
            assert torch.equal(found[name], again[name]), name


def test_an_answer_ends_at_a_text_that_the_prompt_may_have_too(vlm: VisionLanguage) -> None:
    rows = [conversation(1), conversation(2)]
    inputs = vlm.inputs(rows)
    whole = vlm.generate(inputs, 10, sample=True, seed=1, stop=None)
    said = [vlm.processor.tokenizer.decode([token]) for token in whole[0].tolist()]
    prompt = vlm.processor.tokenizer.decode(inputs["input_ids"][0])
    new = [(n, each) for n in range(2, 10) for each in said[n] if each not in "".join(said[:n])]
    at, stop = next((n, each) for n, each in new if each.isalpha() and each in prompt)

    answers = vlm.generate(inputs, 10, sample=True, seed=1, stop=stop)

    assert answers[0, : at + 1].tolist() == whole[0, : at + 1].tolist()
    assert set(answers[0, at + 1 :].tolist()) <= {vlm.pad}
    assert vlm.mask(answers)[0].sum() == at + 1
    assert stop in vlm.texts(answers)[0]


def test_an_answer_ends_at_its_end_of_text_which_is_part_of_it(vlm: VisionLanguage) -> None:
    inputs = vlm.inputs([conversation(1), conversation(2)])
    whole = vlm.generate(inputs, 8, sample=True, seed=1, stop=None)
    vlm.end = int(whole[0, 3])
    at = whole[0].tolist().index(vlm.end)

    answers = vlm.generate(inputs, 8, sample=True, seed=1, stop=None)

    assert answers[0, : at + 1].tolist() == whole[0, : at + 1].tolist()
    assert answers[0, at + 1 :].tolist() == [vlm.pad] * (answers.shape[1] - at - 1)
    assert vlm.mask(answers)[0].tolist() == [n <= at for n in range(answers.shape[1])]


def test_a_given_answer_is_read_back_and_ends(vlm: VisionLanguage) -> None:
    text = '<think>I looked.</think><answer>[{"image_id": 1, "value": 31}]</answer>'
    ids = vlm.encode(text)
    assert int(ids[-1]) == vlm.end
    assert (ids == vlm.end).sum() == 1
    assert vlm.texts(ids[None]) == [text]


def test_a_seed_settles_the_draws_and_leaves_the_callers_alone(vlm: VisionLanguage) -> None:
    inputs = vlm.inputs([conversation(1)] * 2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (
        vlm.generate(inputs, 6, sample=True, seed=seed, stop=None) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])

    vlm.generate(inputs, 6, sample=True, stop=None)
    assert not torch.equal(torch.get_rng_state(), before), "without a seed: the caller's numbers"


def test_what_is_no_part_of_an_answer_counts_nothing(vlm: VisionLanguage) -> None:
    inputs = vlm.inputs([conversation(1)])
    answer = vlm.encode("<answer>[]</answer>")[None]
    padded = torch.cat([answer, torch.full((1, 5), vlm.pad)], 1)
    want, _ = vlm.logprobs(inputs, answer, vlm.mask(answer))
    logp, entropy = vlm.logprobs(inputs, padded, vlm.mask(padded))
    count = answer.shape[1]
    torch.testing.assert_close(logp[:, :count], want, atol=1e-5, rtol=0)
    assert logp[:, count:].tolist() == [[0.0] * 5]
    assert entropy[:, count:].tolist() == [[0.0] * 5]
    (gradient,) = torch.autograd.grad(logp.sum(), [vlm.model.get_input_embeddings().weight])
    assert gradient.isfinite().all()


def test_gradients_are_those_of_a_plain_pass_with_checkpointing_too(
    tiny_vlm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = lively(tiny_vlm_folder)
    monkeypatch.setattr("imgrank.models.vlm.CHUNK", 5)  # 16 tokens: chunks, and one not full
    inputs = vlm.inputs([conversation(1), conversation(2)])
    answers = vlm.generate(inputs, 8, sample=True, seed=0, stop=None)
    weights = [
        w for n, w in vlm.model.named_parameters() if n.endswith(("q_proj.weight", "qkv.weight"))
    ]

    def gradients() -> tuple[Tensor, ...]:
        logp, entropy = vlm.logprobs(inputs, answers, vlm.mask(answers))
        assert not entropy.requires_grad
        return torch.autograd.grad(logp.sum(), weights)

    plain = gradients()
    vlm.model.train()
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")  # new, old
    next(getattr(vlm.model, name) for name in names if hasattr(vlm.model, name))(
        {"use_reentrant": False}
    )
    again = gradients()
    same = vlm.generate(inputs, 8, sample=True, seed=0, stop=None)  # for evaluation, with a cache
    assert vlm.model.training, "as it was before the answers"
    assert torch.equal(same, answers)
    assert all(float(each.abs().max()) > 0 for each in plain)
    torch.testing.assert_close(again, plain, atol=1e-4, rtol=1e-4)

    ids = torch.cat([inputs["input_ids"], answers], 1)
    more = torch.zeros_like(answers)
    whole = inputs | {"input_ids": ids}
    for name in {"attention_mask", "mm_token_type_ids"} & inputs.keys():
        fill = more + int(name == "attention_mask")
        whole[name] = torch.cat([inputs[name], fill], 1)
    logits = vlm.model.eval()(**whole).logits[:, -9:-1].float()
    logits = logits.index_fill(-1, vlm.suppressed, float("-inf"))
    logp = logits.log_softmax(-1).gather(-1, answers[..., None])
    torch.testing.assert_close(
        torch.autograd.grad(logp.sum(), weights), plain, atol=1e-4, rtol=1e-4
    )


def test_rows_that_do_not_fit_into_memory_are_done_in_halves(
    vlm: VisionLanguage, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [conversation(n) for n in (1, 2, 4, 1, 2)]
    inputs = vlm.inputs(rows)
    answers = vlm.generate(inputs, 6, stop=None)
    with torch.no_grad():
        logp, entropy = vlm.logprobs(inputs, answers, vlm.mask(answers))
    real, sizes = vlm.model.forward, []

    @functools.wraps(real)
    def small(**given: Any) -> Any:
        sizes.append(len(given["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(**given)

    monkeypatch.setattr(vlm.model, "forward", small)
    assert torch.equal(vlm.generate(inputs, 6, stop=None), answers)
    assert set(sizes) == {5, 2, 1}
    with torch.no_grad():
        again = vlm.logprobs(inputs, answers, vlm.mask(answers))
    torch.testing.assert_close(again, (logp, entropy), atol=1e-4, rtol=0)
    with pytest.raises(torch.OutOfMemoryError):
        vlm.logprobs(inputs, answers, vlm.mask(answers))  # a step of training has its own parts
