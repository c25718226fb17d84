"""The table of embedded adapters: ridge in closed form, intervals, what a checkpoint is given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imgrank.data.features import TokenLayout, TokenSet, open_cache
from imgrank.data.labelled import Labelled, Labels
from imgrank.evaluate.embedded import measured_row, record
from imgrank.evaluate.ridge import fit_ridge, pooled_features, strongest_ridge
from imgrank.models.card import model_card, with_measured
from imgrank.models.checkpoint import load_tensors, read_config, save_checkpoint


def token_set(folder: Path, name: str = "distortions") -> TokenSet:
    """90 pictures; the target is linear in the first statistic; groups of three."""
    draw = np.random.default_rng(0)
    cache = open_cache(folder, "t", [str(n) for n in range(90)], LAYOUT)
    statistics = draw.normal(size=(90, 1, 4)).astype(np.float16)
    grid = draw.normal(size=(90, 3, 2)).astype(np.float16)
    rows = [[{"grid": grid[n], "statistics": statistics[n]}] for n in range(90)]
    cache.put(list(range(90)), rows)
    targets = 2 + statistics[:, 0, 0].astype(np.float32)
    less = np.where(np.arange(90) % 5 == 0, np.nan, -targets).astype(np.float32)
    data = Labelled(
        name,
        paths=tuple(Path(f"{n}.png") for n in range(90)),
        keys=tuple(str(n) for n in range(90)),
        parts=("train",) * 60 + ("validation",) * 15 + ("test",) * 15,
        groups=tuple(f"photo {n // 3}" for n in range(90)),
        labels=(Labels("a", "quality", "sort", targets), Labels("less", "quality", "sort", less)),
        mirrored=False,
    )
    return TokenSet(data, cache)


LAYOUT = TokenLayout((("grid", 3, 2), ("statistics", 1, 4)), mirrored=False)


def test_ridge_equals_the_normal_equations() -> None:
    draw = np.random.default_rng(0)
    x, w = draw.normal(size=(50, 3)), np.array([1.0, -2.0, 0.5])
    y = x @ w + 4 + draw.normal(size=50)
    ridge, reached = fit_ridge(x[:40], y[:40], x[40:], y[40:], "toy")
    z = (x[:40] - x[:40].mean(0)) / (x[:40].std(0) + 1e-6)
    expected = np.linalg.solve(z.T @ z + ridge.penalty * np.eye(3), z.T @ (y[:40] - y[:40].mean()))
    np.testing.assert_allclose(ridge.weights, expected, rtol=1e-6)
    assert ridge.predict(x[:40]).mean() == pytest.approx(y[:40].mean())
    assert reached > 0.7


def test_pooled_features_and_the_strongest_ridge(tmp_path: Path) -> None:
    data = token_set(tmp_path)
    features = pooled_features(data, np.array([0, 7]))
    tokens = data.cache.batch([0, 7])
    assert features["statistics"].tolist() == tokens["statistics"][:, 0].tolist()
    both = features["statistics+grid"]
    assert both.shape == (2, 4 + 2 + 2)
    np.testing.assert_allclose(both[:, 4:6], tokens["grid"].astype(float).mean(1))
    ridge = strongest_ridge(data)
    rows = data.rows("test")
    predicted = ridge.predict(pooled_features(data, rows)[ridge.features])
    assert np.corrcoef(predicted, data.targets[rows])[0, 1] > 0.98


def test_ridge_of_another_query_takes_its_labelled_rows(tmp_path: Path) -> None:
    data = token_set(tmp_path)
    labels = data.data.labels[1]
    ridge = strongest_ridge(data, labels)
    rows = data.rows("test", labels)
    predicted = ridge.predict(pooled_features(data, rows)[ridge.features])
    assert np.corrcoef(predicted, labels.values[rows])[0, 1] > 0.98
    assert ridge.intercept == pytest.approx(np.nanmean(labels.values[:60]))


def test_pooled_features_of_a_cache_with_one_kind_of_tokens(tmp_path: Path) -> None:
    whole = token_set(tmp_path)
    for source, name in (("grid", "grid"), ("statistics", "statistics")):
        layout = TokenLayout(tuple(s for s in LAYOUT.sources if s[0] == source), mirrored=False)
        cache = open_cache(tmp_path, "t", [str(n) for n in range(90)], layout)
        tokens = whole.cache.batch(list(range(90)))[source]
        cache.put(list(range(90)), [[{source: tokens[n]}] for n in range(90)])
        found = pooled_features(TokenSet(whole.data, cache), np.array([2, 5]))
        expected = pooled_features(whole, np.array([2, 5]))["statistics+grid"]
        assert list(found) == [name]
        part = slice(4) if source == "statistics" else slice(4, None)
        np.testing.assert_array_equal(found[name], expected[:, part])


def test_measured_row(tmp_path: Path) -> None:
    data = token_set(tmp_path)
    rows = data.rows("test")
    y = data.targets[rows]
    row = measured_row(data, rows, y * 3, -y, rounds=50)
    assert (row["n"], row["srcc"], row["ridge_srcc"]) == (15, 1.0, -1.0)
    assert (row["pairs"], row["pairs_interval"], row["ridge_pairs"]) == (1.0, [1.0, 1.0], 0.0)
    assert row["gain_interval"] == [2.0, 2.0]
    plain = measured_row(token_set(tmp_path, "agiqa3k"), rows, y, y, rounds=50)
    assert "pairs" not in plain  # groups are prompts there, not versions of one picture
    assert (plain["plcc"], plain["mae"], plain["ridge_mae"]) == (1.0, 0.0, 0.0)
    median = np.median(data.targets[:60])
    assert plain["median_mae"] == pytest.approx(np.abs(y - median).mean(), abs=1e-4)


CONFIG: dict[str, Any] = {
    "kind": "adapter",
    "name": "toy",
    "licence": "Apache-2.0; rests on made-up pictures",
    "backbone": {"name": "tiny", "digest": "sha256:00"},
    "model": {"image_widths": {"statistics": 8}},
    "tasks": {
        "quality": {"prompt": "sort", "unit": "MOS", "range": [0, 5], "measured": []},
        "age": {"prompt": "by age", "unit": "years", "range": None, "measured": []},
    },
}
ROW = {
    "data": "made-up",
    "n": 3,
    "srcc": 0.5,
    "srcc_interval": [0.25, 0.75],
    "ridge_srcc": 0.25,
    "gain_interval": [-0.125, 0.5],
}


def test_record_changes_config_and_card_but_no_weight(tmp_path: Path) -> None:
    card = model_card(CONFIG, "Made-up pictures.", ["seed 0"])
    assert card.startswith("---\nlicense: other\n")
    assert "Not measured yet." in card
    written = save_checkpoint(tmp_path, CONFIG, {"a": torch.ones(2).half()}, card)
    for _ in range(2):  # the second time replaces the first table
        record(tmp_path, {"quality": [ROW]})
    config = read_config(tmp_path)
    assert config["tasks"]["quality"]["measured"] == [ROW]
    assert config["tasks"]["age"]["measured"] == []
    assert config["weights"] == written["weights"]
    assert load_tensors(tmp_path, as_stored=True)["a"].dtype == torch.float16
    text = (tmp_path / "README.md").read_text()
    assert "Not measured yet." not in text
    assert text.count("| made-up | 3 | 0.500 [0.250, 0.750] | 0.250 | [-0.125, +0.500] |\n") == 1
    assert text.rstrip().endswith("Made-up pictures.")


def test_figures_of_other_commands_are_kept(tmp_path: Path) -> None:
    found = {"data": "csv, test part", "n": 7, "srcc": 0.75, "by": "imgrank eval --data csv"}
    tasks = {name: {**facts, "measured": [found]} for name, facts in CONFIG["tasks"].items()}
    save_checkpoint(
        tmp_path, CONFIG | {"tasks": tasks}, {"a": torch.ones(2)}, model_card(CONFIG, "", [])
    )
    record(tmp_path, {"quality": [ROW]})
    config = read_config(tmp_path)
    assert config["tasks"]["quality"]["measured"] == [ROW, found]
    assert config["tasks"]["age"]["measured"] == [found]
    text = (tmp_path / "README.md").read_text()
    for line in ("| quality | csv, test part | 7 |", "| age | csv, test part | 7 |", "| made-up |"):
        assert line in text


def test_a_card_without_a_place_for_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="measured"):
        with_measured("# by hand", [], "the command")
