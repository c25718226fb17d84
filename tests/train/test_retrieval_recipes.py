"""Recipes of aligned retrieval, and what a training draws of preferences and captions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_retrieval import CONFIG, PICTURES, QUERIES, make_data, model_folder

from imgrank.data.captions import read_captioned
from imgrank.data.preferences import order_pairs, read_preferences
from imgrank.errors import DataError, UsageError
from imgrank.models.spec import read_spec
from imgrank.rankers.source import BackboneSource
from imgrank.train.recipe_file import UNKNOWN_LICENCE
from imgrank.train.retrieval_data import (
    Problem,
    check_source,
    draw_captions,
    draw_queries,
    problem_of,
)
from imgrank.train.retrieval_recipe import Config, load_recipe, override, trained_on


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "root").parent


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("vit") / "random")


@pytest.fixture(scope="module")
def problem(root: Path, vit: Path) -> Problem:
    found = read_preferences(root / "preferences.jsonl", root)
    captioned = [read_captioned("captions", root)]
    return problem_of(CONFIG, found, captioned, read_spec(vit), torch.device("cpu"))


# ---- recipe --------------------------------------------------------------------------------------


def test_the_papers_values() -> None:
    config = load_recipe()
    assert (config.loss, config.beta, config.policy) == ("dpo", 0.05, "cosine_clamped")
    assert (config.lr, config.warmup, config.steps, config.batch) == (5e-5, 200, 650, 128)
    assert (config.decay, config.weight_decay, config.clip) == (0.9, 0.0, 3.0)
    assert (config.weight, config.smoothing, config.precision) == (1.0, 0.1, "bfloat16")
    assert (config.image, config.text, config.most_clamped) == ("full", "full", 0.05)


def test_the_embedded_backbone_has_values_of_its_own() -> None:
    config = load_recipe(backbone="tiny")
    assert (config.name, config.policy, config.precision) == ("tiny-aligned", "logit", "float32")
    assert (config.decay, config.clip, config.smoothing) == (0.9, 3.0, 0.1)


def test_the_learning_rate() -> None:
    config = replace(load_recipe(), steps=10, warmup=4)
    rates = [config.rate(step) / config.lr for step in range(10)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert rates[4] == 1
    assert rates[7] == pytest.approx(0.5)
    assert all(a > b for a, b in pairwise(rates[4:]))


def test_a_shorter_run_has_its_share_of_the_warm_up() -> None:
    config = load_recipe()
    assert override(config, {"steps": 65}).warmup == 20
    assert override(config, {"steps": 65, "warmup": 3}).warmup == 3
    assert override(config, {"steps": 6500}).warmup == 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "frozen", "text": "frozen"}, "nothing is trained"),
        ({"policy": "cosine"}, "policy = 'cosine' is not possible"),
        ({"beta": 0.0}, "beta = 0.0 must be above 0"),
        ({"decay": 1.1}, "decay = 1.1 must be at most 1"),
        ({"held_out": 1.0}, "held_out = 1.0 must be below 1"),
        ({"learning_rate": 1}, "no field learning_rate"),
        ({"name": "a/b"}, "cannot be the name"),
    ],
)
def test_impossible_values(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        override(load_recipe(), change)


def test_licence_and_notes_are_for_the_recipes_own_data() -> None:
    config = replace(Config(), data=("coco", "oasis"), licence="mine", notes="Of these.")
    same = trained_on(config, ["oasis", "coco", "oasis"])
    assert (same.data, same.licence, same.notes) == (("coco", "oasis"), "mine", "Of these.")
    other = trained_on(config, ["oasis"])
    assert (other.data, other.licence, other.notes) == (("oasis",), UNKNOWN_LICENCE, "")


# ---- data ----------------------------------------------------------------------------------------


def test_the_original_query_is_encoded(problem: Problem) -> None:
    assert problem.texts[0] == "a dog 0"
    assert not any("REPHRASED" in text for text in problem.texts)


def test_queries_and_their_pictures(problem: Problem, root: Path) -> None:
    found = read_preferences(root / "preferences.jsonl")
    assert problem.own.shape == (QUERIES, 6)
    for q in range(QUERIES):
        keys = [found.keys[n] for n in found.matrix[q].ravel()]
        assert [problem.pictures.groups[n] for n in problem.own[q]] == keys
    assert problem.pairs.tolist() == order_pairs(2, 3).tolist()
    assert sorted([*problem.trained, *problem.watched]) == list(range(QUERIES))
    assert len(problem.watched) == 2  # a fifth of 12, rounded down


def test_captions_are_those_of_the_training_part(problem: Problem, root: Path) -> None:
    data = read_captioned("captions", root)
    assert len(problem.captioned) == PICTURES - 4
    for place, row in zip(problem.captioned, data.rows("train"), strict=True):
        assert problem.pictures.groups[place] == data.keys[row]
    seen = set()
    for step in range(40):
        pictures, texts = draw_captions(problem, CONFIG, step)
        assert len(set(pictures.tolist())) == CONFIG.captions
        for picture, text in zip(pictures, texts, strict=True):
            name = problem.pictures.groups[picture]
            row = data.keys.index(name)
            assert problem.texts[text] in data.captions[row]
            seen.add(problem.texts[text])
    assert seen == {text for row in data.rows("train") for text in data.captions[row]}


def test_batches_of_queries(problem: Problem) -> None:
    """Each query once an epoch, but for what does not fill a batch; by seed and step alone."""
    batches = [draw_queries(problem, CONFIG, step) for step in range(10)]  # an epoch has 2
    for start in range(0, 10, 2):
        both = np.concatenate([batches[start].queries, batches[start + 1].queries])
        assert len(set(both.tolist())) == 8
    counts = Counter(q for batch in batches for q in batch.queries.tolist())
    assert set(counts) == set(problem.trained.tolist())
    again = draw_queries(problem, CONFIG, 7)
    assert again.queries.tolist() == batches[7].queries.tolist()
    other = draw_queries(problem, replace(CONFIG, seed=1), 7)
    assert other.queries.tolist() != again.queries.tolist()
    for batch in batches:
        assert sorted(set(batch.pictures.tolist())) == batch.pictures.tolist()
        places = batch.pictures[batch.own.numpy()]
        assert places.tolist() == problem.own[batch.queries].tolist()


def test_pictures_are_seen_as_a_search_sees_them(problem: Problem, vit: Path) -> None:
    source = BackboneSource(read_spec(vit))
    path = problem.pictures.paths[3]
    assert np.array_equal(problem.pictures.pixels(3, 32), source.prepare(path.read_bytes()))
    assert problem.pictures.keys[3].endswith("|shortest-bicubic-0")  # arrays are kept by this


def test_what_is_measured_on_is_not_trained_on(root: Path, vit: Path) -> None:
    found = read_preferences(root / "preferences.jsonl")
    pool = [{"name": "coco", "part": "train"}, {"name": "oasis", "part": "test"}]
    other = replace(found, facts={**found.facts, "pool": pool})
    with pytest.raises(DataError, match="has the test part of oasis, on which models are measured"):
        check_source(other, read_spec(vit), root / "preferences.jsonl", lambda line: None)


def test_another_model_s_searches_are_told_of(root: Path, vit: Path) -> None:
    found, spec = read_preferences(root / "preferences.jsonl"), read_spec(vit)
    own = {"name": "random", "digest": f"sha256:{spec.identity}", "checkpoint": None}
    for model, told in (
        (own, []),
        ({**own, "name": "tiny", "digest": "sha256:0"}, ["made with tiny, and random is trained"]),
        ({**own, "name": "tuned", "checkpoint": "sha256:1"}, ["made with tuned, and random is"]),
    ):
        said: list[str] = []
        other = replace(found, facts={**found.facts, "model": model})
        check_source(other, spec, Path("p.jsonl"), said.append)
        assert len(said) == len(told)
        assert all(want in line for want, line in zip(told, said, strict=True))


def test_few_of_many_queries_are_watched(
    root: Path, vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgrank.train.retrieval_data.MOST_WATCHED", 3)
    found = read_preferences(root / "preferences.jsonl", root)
    config = replace(CONFIG, held_out=0.5)
    few = problem_of(config, found, [], read_spec(vit), torch.device("cpu"))
    assert (len(few.watched), len(few.trained)) == (3, QUERIES - 3)


def test_the_digest_of_a_problem(problem: Problem) -> None:
    texts = ("another", *problem.texts[1:])
    others = [replace(problem, texts=texts), replace(problem, backbone="other")]
    others.append(replace(problem, own=problem.own[:, ::-1]))
    assert len({each.digest for each in [problem, *others]}) == 4
    assert replace(problem, texts=tuple(problem.texts)).digest == problem.digest
