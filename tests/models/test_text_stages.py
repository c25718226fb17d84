"""A text tower cut in two gives what OpenCLIP gives, and has a gradient where it should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from text_towers import KINDS, random_tower, words_of

from imgrank.errors import UsageError
from imgrank.models.backbone import Backbone
from imgrank.models.registry import EMBEDDED
from imgrank.models.text_stages import split_text

TEXTS = ["a dog", "two dogs on the grass beside a river", ""]
UNKNOWN = ("custom-no-projection", "class-token")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone(EMBEDDED / "tiny")


def ids_of(backbone: Backbone, model: Any) -> torch.Tensor:
    return words_of(backbone, getattr(model, "text", model).context_length)(TEXTS)


@pytest.mark.parametrize("part", ["frozen", "projection", "last", "full"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in UNKNOWN])
def test_front_and_back_are_the_whole_tower(kind: str, part: Any, backbone: Backbone) -> None:
    model = random_tower(kind)
    ids = ids_of(backbone, model)
    cut = split_text(model, part)
    with torch.no_grad():
        wanted = model.encode_text(ids, normalize=True)
        found = cut.back(cut.front(ids))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert cut.short == (part in ("frozen", "projection"))
    state = dict(model.named_parameters())
    assert all(state[name] is value for name, value in cut.names.items())


def test_what_lies_behind_the_cut() -> None:
    model = random_tower("custom")
    names = {part: set(split_text(model, part).names) for part in ("projection", "last", "full")}
    ends = {"text.ln_final.weight", "text.ln_final.bias"}
    ends |= {"text.text_projection.weight", "text.text_projection.bias"}
    assert names["projection"] == ends
    assert {n.split(".")[3] for n in names["last"] - ends} == {"1"}
    assert set(split_text(model, "last", 2).names) == names["full"] - {"text.positional_embedding"}
    every = {name for name, _ in model.text.named_parameters(prefix="text")}
    assert names["full"] == every - {"text.token_embedding.weight"}


def test_only_what_is_behind_the_cut_has_a_gradient(backbone: Backbone) -> None:
    model = random_tower("clip").requires_grad_(False)
    cut = split_text(model, "last")
    for value in cut.names.values():
        value.requires_grad_(True)
    cut.back(cut.front(ids_of(backbone, model)))[:, 0].sum().backward()
    own = set(cut.names)
    assert {n for n, p in model.named_parameters() if p.grad is not None} == own
    assert all(p.grad.abs().max() > 0 for n, p in cut.names.items() if n.endswith("weight"))


def test_texts_are_cut_behind_the_longest_where_that_changes_nothing(backbone: Backbone) -> None:
    lengths = {}
    for kind in ("clip", "custom-no-causal-mask", "last"):
        model = random_tower(kind)
        lengths[kind] = split_text(model, "full").front(ids_of(backbone, model))["ids"].shape[1]
    longest = int(ids_of(backbone, random_tower("clip")).argmax(1).max()) + 1
    assert lengths == {"clip": longest, "custom-no-causal-mask": 24, "last": 24}
    assert longest < 24


@pytest.mark.parametrize("kind", UNKNOWN)
def test_towers_that_cannot_be_cut(kind: str, backbone: Backbone) -> None:
    model = random_tower(kind)
    with pytest.raises(UsageError, match="use text = frozen"):
        split_text(model, "projection")
    ids = ids_of(backbone, model)
    cut = split_text(model, "frozen")
    with torch.no_grad():
        assert torch.equal(cut.back(cut.front(ids)), model.encode_text(ids, normalize=True))


def test_more_layers_than_there_are() -> None:
    with pytest.raises(UsageError, match="number from 1 to 2"):
        split_text(random_tower("clip"), "last", 3)
