"""Scores, intervals and levels of an L2RCLIP checkpoint, against numbers worked by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rank_checkpoints import DECADES, rank_checkpoint

from imgrank.errors import CheckpointError
from imgrank.instruction import parse
from imgrank.models.ranks import Ranks
from imgrank.models.registry import EMBEDDED
from imgrank.rankers import levels
from imgrank.rankers.adapter import AdapterRanker
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.load import load_ranker, route
from imgrank.rankers.source import backbone_source
from imgrank.settings import load_settings

THREE = Ranks("a {}", ("a", "b", "c"), (0, 10, 20), (0, 5, 15), ("A", "B", "C"))


def test_labels_have_the_last_rank_that_starts_at_or_below_them() -> None:
    assert THREE.of([-3, 0, 4.9, 5, 14, 15, 99]).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert THREE.bounds == (-5, 5, 15, 25)
    assert Ranks.from_dict(THREE.to_dict()) == THREE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [0, 0, 1]}, "values must rise"),
        ({"starts": [0, 5]}, "one length"),
        ({"template": "none"}, "must have one {}"),
        ({"words": ["a", "a", "b"]}, "same word"),
        ({"names": None}, "no ranks"),
    ],
)
def test_what_are_no_ranks_is_said(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ranks.from_dict({**THREE.to_dict(), **change})


def test_estimate_interval_and_set_by_hand() -> None:
    p = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(levels.expected(p, THREE), [11, 0])
    # Cumulative 0, .2, .7, 1 at -5, 5, 15, 25: .25 is reached at 6, .75 at 15 + 10 / 6.
    low, high = levels.interval(p, THREE, 0.25)
    np.testing.assert_allclose(low, [6, 0])  # the second is -2.5, below all values
    np.testing.assert_allclose(high, [15 + 10 / 6, 2.5])
    assert levels.chosen(p, 0.8).tolist() == [[False, True, True], [True, False, False]]
    assert levels.chosen(p, 0.9).tolist() == [[True, True, True], [True, False, False]]


def test_scores_are_those_of_the_formula(tmp_path: Path) -> None:
    calibration = {"temperature": 2.0, "tail": 0.2, "mass": 0.7, "on": "a test"}
    folder = rank_checkpoint(tmp_path / "toy", statistics=True, calibration=calibration)
    ranker = load_ranker(str(folder), load_settings())
    assert isinstance(ranker, L2RCLIPRanker)
    draw = np.random.default_rng(0)
    pooled = draw.normal(size=(3, 384))
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    statistics = draw.normal(size=(3, 992))
    features = [
        {"pooled": x.astype(np.float16), "statistics": s.astype(np.float16)}
        for x, s in zip(pooled, statistics, strict=True)
    ]
    from safetensors.torch import load_file

    tensors = {n: t.double() for n, t in load_file(folder / "model.safetensors").items()}
    x = torch.tensor(np.stack([f["pooled"] for f in features]).astype(np.float64))
    z = torch.tensor(np.stack([f["statistics"] for f in features]).astype(np.float64))
    v = torch.nn.functional.normalize(x + z @ tensors["statistics.weight"].T, dim=1)
    scale = ranker.source.spec.logit_scale() / 2.0
    p = torch.softmax(scale * v @ tensors["ranks"].T, dim=1)
    np.testing.assert_allclose(ranker.distribution(features), p.numpy(), rtol=1e-6)
    query = parse("by decade")
    ((first,), *_) = ranker.score(features, [query])
    assert first is not None and first.low is not None and first.high is not None
    assert first.value == pytest.approx(float(p[0] @ torch.tensor(DECADES.values).double()))
    assert DECADES.values[0] <= first.low <= first.high <= DECADES.values[-1]
    job = route(query, load_settings(), str(folder))
    assert (job.answer.method, job.answer.unit) == ("l2rclip", "year")


def test_a_checkpoint_of_several_tasks_or_without_ranks_is_refused(tmp_path: Path) -> None:
    folder = rank_checkpoint(tmp_path / "toy", ranks={"template": "x"})
    with pytest.raises(CheckpointError, match="cannot be used: these are no ranks"):
        load_ranker(str(folder), load_settings())
    config = json.loads((folder / "config.json").read_text())
    for tasks in ({}, {"age": config["tasks"]["decade"], **config["tasks"]}):
        (folder / "config.json").write_text(json.dumps({**config, "tasks": tasks}))
        with pytest.raises(CheckpointError, match=f"lists {len(tasks)} tasks"):
            load_ranker(str(folder), load_settings())


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.0}, {"tail": 0.5}, {"mass": float("nan")}, {"level": "80 %"}, {"on": 3}],
)
def test_what_is_no_calibration_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no calibration"):
        levels.Calibration.from_dict(change)


@pytest.mark.parametrize("kind", [AdapterRanker, L2RCLIPRanker])
def test_a_checkpoint_for_another_backbone_is_refused(tmp_path: Path, kind: Any) -> None:
    folder = tmp_path / "toy"
    if kind is L2RCLIPRanker:
        rank_checkpoint(folder)
    else:
        shutil.copytree(EMBEDDED / "tiny-age", folder)
    config = json.loads((folder / "config.json").read_text())
    config["backbone"]["digest"] = "sha256:" + "0" * 64
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="made for another tiny backbone"):
        kind(folder, backbone_source(EMBEDDED / "tiny"))
