"""The table of embedded adapters: ridge in closed form, intervals, what a checkpoint is given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rank_checkpoints import rank_checkpoint

from imgrank.data.features import TokenLayout, TokenSet, open_cache
from imgrank.data.labelled import Labelled, Labels
from imgrank.data.tokens import Tokens
from imgrank.errors import CheckpointError
from imgrank.evaluate import embedded
from imgrank.evaluate.beside_ridge import as_text, mean_lines, measured_row
from imgrank.evaluate.embedded import Bench, measure, record
from imgrank.evaluate.levels import Levels
from imgrank.evaluate.ridge import Ridge, fit_ridge, pooled_features, strongest_ridge
from imgrank.models.backbone import Backbone
from imgrank.models.card import model_card, with_measured
from imgrank.models.checkpoint import load_tensors, read_config, save_checkpoint
from imgrank.models.ranks import Ranks
from imgrank.models.registry import EMBEDDED
from imgrank.rankers.levels import Calibration


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


THREE = Ranks("a {}", ("a", "b", "c"), (-1.0, 2.0, 5.0), (-9.0, 0.5, 3.5), ("a", "b", "c"))


def test_a_row_of_a_model_with_ranks(tmp_path: Path) -> None:
    data = token_set(tmp_path, "oasis")
    rows = data.rows("test")
    y = data.targets[rows].astype(np.float64)
    true = THREE.of(y)
    p = np.full((15, 3), 0.1)
    p[np.arange(15), true] = 0.8
    p[0] = np.roll(p[0], 1)  # one is wrong
    levels = Levels(p, THREE, Calibration(mass=0.8), np.eye(3, dtype=np.float32), None)
    row = measured_row(data, rows, p @ THREE.values, -y, 50, levels, THREE)
    assert row["accuracy"] == row["set_coverage"] == pytest.approx(14 / 15, abs=1e-4)
    assert row["ridge_accuracy"] == pytest.approx(np.mean(THREE.of(-y) == true), abs=1e-4)
    train = THREE.of(data.targets[data.rows("train")])
    majority = np.bincount(train).argmax()
    assert row["majority_accuracy"] == pytest.approx(np.mean(true == majority), abs=1e-4)
    assert (row["set_size"], row["set_size_interval"]) == (1.0, [1.0, 1.0])
    low, high = row["accuracy_interval"]
    assert low <= row["accuracy"] <= high == 1
    assert row["ece"] == pytest.approx(14 / 15 * 0.2 - 1 / 15 * 0.8, abs=1e-4)
    assert "bands" not in row  # these are no ages
    # Of a model without ranks: how often its estimate is of the right one.
    plain = measured_row(data, rows, y, -y, 50, ranks=THREE)
    assert (plain["accuracy"], plain["ridge_accuracy"]) == (1.0, row["ridge_accuracy"])
    assert "coverage" not in plain
    text = as_text(row | {"ridge": "statistics, penalty 1"}, "l2rclip")
    assert "  accuracy         l2rclip  0.933 [" in text
    assert f"  accuracy         majority {row['majority_accuracy']:.3f}\n" in text


def test_the_table_of_all_models() -> None:
    one = {"data": "made-up", "n": 9, "srcc": 0.5, "mae": 2.0, "ridge_srcc": 0.25, "ridge_mae": 3.0}
    mean = "| 0.500 (0.354) | 2.000 (0.000) | 0.750 (0.354) | 0.800 (0.000) |"
    one |= {"median_mae": 4.0, "majority_accuracy": 0.75}
    ranks = one | {"srcc": 0.25, "accuracy": 0.5, "coverage": 0.8}
    lines = mean_lines(
        [
            *(("l2rclip a", ranks), ("l2rclip b", ranks | {"srcc": 0.75, "accuracy": 1.0})),
            *(("adapter c", one), ("l2rclip a", ranks | {"data": "other"})),
        ]
    )
    assert lines == [
        *("", "made-up, n = 9", "", "| model | SRCC | MAE | accuracy | interval holds |"),
        "| --- | ---: | ---: | ---: | ---: |",
        "| l2rclip a | 0.250 | 2.000 | 0.500 | 0.800 |",
        "| l2rclip b | 0.750 | 2.000 | 1.000 | 0.800 |",
        "| adapter c | 0.500 | 2.000 |  |  |",
        f"| l2rclip, mean (SD) of 2 {mean}",
        "| ridge | 0.250 | 3.000 |  |  |",
        "| median, majority |  | 4.000 | 0.750 |  |",
        *("", "other, n = 9", "", "| model | SRCC | MAE | accuracy | interval holds |"),
        "| --- | ---: | ---: | ---: | ---: |",
        "| l2rclip a | 0.250 | 2.000 | 0.500 | 0.800 |",
        "| ridge | 0.250 | 3.000 |  |  |",
        "| median, majority |  | 4.000 | 0.750 |  |",
    ]


def test_a_model_with_ranks_and_an_adapter_on_the_same_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    paths = tuple(tmp_path / f"{n}.png" for n in range(12))
    for path in paths:
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    names = tuple(path.name for path in paths)
    parts = ("train",) * 5 + ("validation",) * 3 + ("test",) * 4
    ages = np.array([5, 20, 31, 44, 60, 3, 33, 70, 12, 25, 38, 81], np.float32)
    labels = Labels("age", "age", "sort by age", ages, unit="years", range=(0, 116))
    data = Labelled("utkface", paths, names, parts, names, (labels,), mirrored=False)
    monkeypatch.setattr(embedded.catalogue, "read", lambda name, root: data)
    flat = Ridge("statistics", 1.0, np.zeros(992), np.ones(992), np.full(992, 0.01), 30.0)
    monkeypatch.setattr(embedded, "strongest_ridge", lambda data: flat)  # a real one takes long
    tokens = Tokens(tmp_path / "cache", Backbone(EMBEDDED / "tiny"), lambda *_: None)
    bench = Bench(tmp_path, tokens)
    (of_ranks,) = measure(rank_checkpoint(tmp_path / "years", "age"), bench)["age"]
    (of_adapter,) = measure(EMBEDDED / "tiny-age", bench)["age"]
    assert of_ranks["ridge_mae"] == of_adapter["ridge_mae"]
    assert of_ranks["ridge_accuracy"] == of_adapter["ridge_accuracy"]  # by the ranks of the first
    assert [band["band"] for band in of_adapter["bands"]] == ["10-19", "20-29", "30-39", "80+"]
    assert 0 <= of_ranks["coverage"] <= 1
    assert "coverage" not in of_adapter
    bench.ranks.clear()
    assert "accuracy" not in measure(EMBEDDED / "tiny-age", bench)["age"][0]
    with pytest.raises(CheckpointError, match="is of kind linear, which is not measured here"):
        folder = tmp_path / "head"
        save_checkpoint(folder, CONFIG | {"kind": "linear"}, {"a": torch.ones(2)}, "# head\n")
        measure(folder, bench)


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
