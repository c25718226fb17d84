"""A domain fitted to pictures: what it takes in, what it keeps out, what is too little for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from imgrank.data.labelled import Labelled, Labels, Pixels
from imgrank.data.split import Part
from imgrank.errors import DataError
from imgrank.models.backbone import Backbone
from imgrank.models.registry import EMBEDDED
from imgrank.rankers.domain import Domain, distances
from imgrank.train.domain_fit import DomainConfig, domain_of, fit_domain

N, E = 600, 40


def cloud(seed: int, shift: float = 0.0) -> np.ndarray:
    """Embeddings [N, E] in few directions around a common one; `shift` along another."""
    draw = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(5, E))
    x = 3 + 0.3 * draw.normal(size=(N, 5)) @ mix + 0.1 * draw.normal(size=(N, E))
    x[:, 0] += shift
    return x


GROUPS = [f"sheet {n // 3}" for n in range(N)]


def test_one_in_a_hundred_of_the_right_kind_is_outside_and_all_of_another() -> None:
    table, tensors = fit_domain(cloud(0), GROUPS, config=DomainConfig(axes=5), on="clouds")
    domain = Domain.from_dict(table)
    assert (domain.monochrome, domain.quantile, domain.on) == (False, 0.99, "clouds")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    assert arrays["domain.axes"].shape == (5, E)
    assert domain.distance is not None
    own = (distances(cloud(1), arrays) > domain.distance).mean()
    assert 0.002 < own < 0.03
    assert (distances(cloud(1, shift=6.0), arrays) > domain.distance).all()


def test_the_fit_is_of_the_standardised_embeddings() -> None:
    x = cloud(0)
    _, tensors = fit_domain(x, GROUPS, config=DomainConfig(axes=5))
    z = x / np.sqrt((x**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(tensors["domain.mean"], z.mean(axis=0), rtol=1e-5)
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    values, vectors = np.linalg.eigh(z.T @ z / N)
    np.testing.assert_allclose(tensors["domain.variances"], values[::-1][:5], rtol=1e-4)
    np.testing.assert_allclose(tensors["domain.rest"], [values[::-1][5:].mean()], rtol=1e-4)
    along = np.abs(tensors["domain.axes"].numpy() @ vectors[:, ::-1][:, :5])
    np.testing.assert_allclose(along, np.eye(5), atol=1e-3)


def test_the_limit_is_of_pictures_whose_relatives_were_not_seen() -> None:
    """Copies of one picture on a sheet are no measure of how far an unseen one is."""
    x = np.repeat(cloud(0)[: N // 3], 3, axis=0)
    alone, _ = fit_domain(x, [str(n) for n in range(N)], config=DomainConfig(axes=30))
    together, _ = fit_domain(x, GROUPS, config=DomainConfig(axes=30))
    assert together["distance"] > 1.1 * alone["distance"]


def test_monochrome_is_seen_by_the_pictures() -> None:
    x, low = cloud(0), np.linspace(2, 9, N)
    table, _ = fit_domain(x, GROUPS, low)
    assert table["monochrome"]
    assert table["chroma"] == pytest.approx(2 + 0.99 * 7)
    table, _ = fit_domain(x, GROUPS, low * 5)
    assert not table["monochrome"]
    assert "chroma" not in table
    table, _ = fit_domain(x, GROUPS, low, DomainConfig(monochrome=False))
    assert not table["monochrome"]
    table, tensors = fit_domain(x, GROUPS, low * 5, DomainConfig(monochrome=True, distance=False))
    assert table["chroma"] == pytest.approx(5 * (2 + 0.99 * 7))
    assert tensors == {}
    assert "distance" not in table


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(ValueError, match="more than one group"):
        fit_domain(cloud(0), ["all"] * N)
    with pytest.raises(ValueError, match="cannot be fitted to 2 pictures"):
        fit_domain(cloud(0)[:4], ["a", "a", "c", "c"])


# ---- of a data set -------------------------------------------------------------------------------


def drawn(index: int, size: int) -> Pixels:
    """A grey picture, each another one; those from 14 on are in colour."""
    draw = np.random.default_rng(index)
    grey = np.kron(draw.integers(0, 256, (8, 8)), np.ones((size // 8, size // 8)))
    pixels = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    if index >= 14:
        pixels[:, : size // 2, 0] = 255
    return pixels


def labelled(parts: tuple[Part | None, ...]) -> Labelled:
    keys = tuple(f"drawn/{n}" for n in range(len(parts)))
    years = np.arange(len(parts), dtype=np.float32)
    labels = (Labels("year", "decade", "by year", years),)
    return Labelled("drawn", tuple(map(Path, keys)), keys, parts, keys, labels, drawn)


def test_a_data_set_in_one_call() -> None:
    """Test pictures and those left out are not looked at; a tuned tower is."""
    data = labelled(("train",) * 10 + ("validation",) * 4 + ("test", None))
    tower = Backbone(EMBEDDED / "tiny")
    seen: list[tuple[int, int]] = []
    table, tensors = domain_of(data, tower, progress=lambda *at: seen.append(at))
    assert (table["monochrome"], table["on"]) == (True, "drawn")
    assert table["chroma"] < 1e-6
    assert seen == [(14, 14)]
    found = tower.encode_images([drawn(n, tower.image_size) for n in range(14)])
    again, _ = fit_domain(np.stack([each["pooled"] for each in found]), data.keys[:14])
    assert table["distance"] == pytest.approx(again["distance"], rel=0.02)  # float16, batches
    tensors_of = load_file(EMBEDDED / "tiny" / "open_clip_model.safetensors")
    last = "visual.trunk.conv_head.weight"
    tuned = {last: tensors_of[last].flip(0)}
    other, moved = domain_of(data, tower, overrides=tuned)
    assert not torch.allclose(tensors["domain.mean"], moved["domain.mean"], atol=1e-3)
    assert other["distance"] > 0


def test_too_few_pictures_are_told_by_the_name_of_the_set() -> None:
    data = labelled(("train", "train", "test"))
    with pytest.raises(DataError, match=r"drawn: .*train without a domain"):
        domain_of(data, Backbone(EMBEDDED / "tiny"))
