"""Domain of a checkpoint: distances by hand and by a slow formula, limits, damaged files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rank_checkpoints import rank_checkpoint

from imgrank.errors import CheckpointError
from imgrank.rankers.domain import Domain, distances
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.load import load_ranker
from imgrank.settings import load_settings

E = 384  # of `tiny`


def tensors(width: int = E, axes: int = 2) -> dict[str, torch.Tensor]:
    """Around the embedding (1, 0, 0, ...)."""
    mean = torch.zeros(width)
    mean[0] = 1.0
    return {
        "domain.mean": mean,
        "domain.std": torch.full((width,), 0.5),
        "domain.axes": torch.eye(width)[1 : 1 + axes],
        "domain.variances": torch.tensor([4.0, 1.0][:axes]),
        "domain.rest": torch.tensor([0.25]),
    }


def arrays(**options: int) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors(**options).items()}


def ranker_of(folder: Path) -> L2RCLIPRanker:
    found = load_ranker(str(folder), load_settings())
    assert isinstance(found, L2RCLIPRanker)
    return found


def test_a_distance_by_hand() -> None:
    # (3, 4) has the length 5 -> (0.6, 0.8, 0); z = (-0.8, 1.6, 0). Along the axis: 1.6^2 / 4;
    # off it: 0.8^2 / 0.25.
    found = distances(np.array([[3.0, 4.0, 0.0], [7.0, 0.0, 0.0]]), arrays(width=3, axes=1))
    np.testing.assert_allclose(found, [0.64 + 2.56, 0.0])


def test_a_distance_is_that_of_the_gaussian_with_one_variance_off_the_axes() -> None:
    draw = np.random.default_rng(0)
    axes, _ = np.linalg.qr(draw.normal(size=(6, 6)))
    given = {
        "domain.mean": draw.normal(size=6),
        "domain.std": draw.uniform(0.5, 2, size=6),
        "domain.axes": axes[:2],
        "domain.variances": np.array([3.0, 2.0]),
        "domain.rest": np.array([0.7]),
    }
    x = draw.normal(size=(5, 6))
    covariance = axes.T @ np.diag([3.0, 2.0, 0.7, 0.7, 0.7, 0.7]) @ axes
    slow = []
    for row in x:
        z = (row / np.sqrt((row**2).sum()) - given["domain.mean"]) / given["domain.std"]
        slow.append(float(z @ np.linalg.inv(covariance) @ z))
    np.testing.assert_allclose(distances(x, given), slow)


def test_a_picture_at_the_limit_is_inside() -> None:
    features = [{"pooled": np.array([3.0, 4.0, 0.0])}, {"pooled": np.array([1.0, 0.0, 0.0])}]
    limit = float(distances(np.array([[3.0, 4.0, 0.0]]), arrays(width=3, axes=1))[0])
    given = arrays(width=3, axes=1)
    at, below = Domain(distance=limit), Domain(distance=limit - 1e-6)
    assert at.outside(features, [None, None], given) == [None, None]
    assert below.outside(features, [None, None], given) == ["distance", None]


def test_colour_is_looked_at_only_where_training_was_monochrome() -> None:
    domain = Domain(monochrome=True, chroma=9.0)
    features: list[dict[str, Any]] = [{}, {}, {}]
    assert domain.outside(features, [9.0, 9.1, None], {}) == [None, "colour", None]
    assert Domain().outside(features, [99.0, 99.0, 99.0], {}) == [None] * 3


def test_colour_is_named_where_both_are_outside() -> None:
    domain = Domain(monochrome=True, chroma=9.0, distance=0.0)
    far = [{"pooled": np.array([0.0, 1.0, 0.0])}] * 2
    assert domain.outside(far, [1.0, 20.0], arrays(width=3)) == ["distance", "colour"]
    assert domain.outside([], [], {}) == []


@pytest.mark.parametrize(
    "table",
    [
        {"monochrome": True},
        {"chroma": 3.0},
        {"distance": -1.0},
        {"distance": "far"},
        {"radius": 1.0},
        {"monochrome": True, "chroma": None},
    ],
)
def test_what_is_no_domain_is_refused(tmp_path: Path, table: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no domain"):
        Domain.from_dict(table)
    folder = rank_checkpoint(tmp_path / "odd", domain=table)
    with pytest.raises(CheckpointError, match="odd cannot be used: this is no domain"):
        load_ranker(str(folder), load_settings())


def test_a_domain_goes_into_a_config_and_comes_back() -> None:
    domain = Domain(monochrome=True, chroma=9.5, distance=1200.0, on="prints")
    assert Domain.from_dict(domain.to_dict()) == domain
    assert "chroma" not in Domain(distance=3.0).to_dict()


def test_a_checkpoint_tells_what_is_outside(tmp_path: Path) -> None:
    folder = rank_checkpoint(tmp_path / "own", tensors=tensors(), domain={"distance": 3000.0})
    ranker = ranker_of(folder)
    inside, far = np.zeros(E, np.float16), np.zeros(E, np.float16)
    inside[0], far[5] = 2, 1
    # far: z_0 = -2, z_5 = 2, both off the axes: 8 / 0.25 = 32.
    near = rank_checkpoint(tmp_path / "near", tensors=tensors(), domain={"distance": 31.9})
    both = [{"pooled": inside}, {"pooled": far}]
    assert ranker.outside(both, [None, None]) == [None, None]
    assert ranker_of(near).outside(both, [None, None]) == [None, "distance"]
    plain = ranker_of(rank_checkpoint(tmp_path / "plain"))
    assert plain.domain is None
    assert plain.outside(both, [99.0, 99.0]) == [None, None]


def test_a_checkpoint_without_the_tensors_says_so(tmp_path: Path) -> None:
    given = tensors()
    del given["domain.axes"], given["domain.rest"]
    folder = rank_checkpoint(tmp_path / "lacking", tensors=given, domain={"distance": 1.0})
    with pytest.raises(CheckpointError, match=r"lacks the tensors domain\.axes, domain\.rest"):
        ranker_of(folder).outside([{"pooled": np.ones(E)}], [None])
