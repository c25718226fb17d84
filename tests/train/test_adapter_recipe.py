"""The adapter recipe on a made-up data set: it learns, resumes bit for bit, draws as it says."""

import json
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor

from imgrank.cli.train import train
from imgrank.data.features import TokenCache, TokenLayout, TokenSet, fill, open_cache
from imgrank.errors import CheckpointError, MissingExtra, UsageError
from imgrank.evaluate.scoring import score_rows, tokens_of
from imgrank.models.adapter import Adapter, AdapterConfig
from imgrank.models.checkpoint import CARD, read_config
from imgrank.models.checkpoint import CONFIG as CONFIG_FILE
from imgrank.train import adapter as recipe
from imgrank.train import run
from imgrank.train.warm_start import warm_start

N = 60
TARGETS = (np.arange(N) % 5).astype(np.float32)


class Encoder:
    """Tokens of noise; the first of the statistics is the picture's first pixel, give or take."""

    def encode_images(
        self, pixels: Sequence[npt.NDArray[np.uint8]]
    ) -> list[dict[str, npt.NDArray[np.float16]]]:
        out = []
        for p in pixels:
            draw = np.random.default_rng(int(p[0, 0, 1]))
            grid, statistics = draw.normal(size=(4, 6)), 0.3 * draw.normal(size=5)
            statistics[:2] += p[0, 0, 0], 3  # the second shows the scale through the LayerNorm
            out.append({"grid": grid.astype("f2"), "statistics": statistics.astype("f2")})
        return out


def picture(index: int) -> npt.NDArray[np.uint8]:
    return np.full((2, 2, 3), (TARGETS[index], index, 0), dtype=np.uint8)


def toy_cache(folder: Path) -> TokenCache:
    layout = TokenLayout((("grid", 4, 6), ("statistics", 1, 5)), mirrored=True)
    cache = open_cache(folder, "tower", [str(n) for n in range(N)], layout)
    fill(cache, Encoder(), picture)
    return cache


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small only lose by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path) -> TokenSet:
    parts = tuple("validation" if n >= 50 else "train" for n in range(N))
    groups = tuple(f"photo {n // 5}" for n in range(N))
    return TokenSet("toy", toy_cache(tmp_path / "tokens"), TARGETS, groups, parts)  # type: ignore[arg-type]


TEXT = torch.linspace(-1, 1, 12).reshape(3, 4)
CONFIG = recipe.Config(
    name="toy",
    task="quality",
    prompt="sort",
    unit="",
    range=(0, 4),
    licence="none",
    sources=(recipe.Source("toy", 0.5), recipe.Source("toy", 0.5, groups=3, within=True)),
    model={
        "image_widths": {"grid": 6, "statistics": 5},
        "text_width": 4,
        "width": 16,
        "layers": 1,
        "encoder_layers": 1,
        "heads": 2,
        "encoder_heads": 2,
        "rank_heads": 2,
        "learnable_text_tokens": 2,
        "relational_tokens": 3,
    },
    batch=16,
    steps=6,
    warmup=2,
    average=0.5,
    evaluate_every=3,
    save_every=2,
)


def trained(config: recipe.Config, data: TokenSet, out: Path) -> Adapter:
    found = recipe.train(config, {"toy": data}, TEXT, out, lambda line: None)
    assert found is not None
    return found.adapter


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns(data: TokenSet, tmp_path: Path) -> None:
    config = replace(
        CONFIG, steps=50, lr=5e-3, alpha=1.0, average=0.9, evaluate_every=50, save_every=50
    )
    adapter = trained(config, data, tmp_path / "out")
    rows = data.rows("validation")
    scores = score_rows(adapter, data, rows, TEXT)
    # Validation pictures were never trained on; a constant answer has a mean error of 1.2.
    assert np.abs(scores - TARGETS[rows]).mean() < 0.9
    log = (tmp_path / "out" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert lines[-1]["toy srcc"] > 0.6
    assert [line["step"] for line in lines if "total" in line] == list(range(1, 51))


def test_resume_is_bit_exact(data: TokenSet, tmp_path: Path) -> None:
    whole = trained(CONFIG, data, tmp_path / "whole")

    def interrupted(step: int) -> None:
        """Train, and press Ctrl-C while the given step runs."""
        before = recipe.batch_loss

        def loss(*args: object) -> dict[str, Tensor]:
            if args[4] == step:
                signal.raise_signal(signal.SIGINT)
            return before(*args)  # type: ignore[arg-type]

        recipe.batch_loss = loss  # type: ignore[assignment]
        said: list[str] = []
        try:
            out = tmp_path / "parts"
            assert recipe.train(CONFIG, {"toy": data}, TEXT, out, said.append) is None
        finally:
            recipe.batch_loss = before
        assert f"stopped after step {step + 1}" in said[-1]

    interrupted(0)
    interrupted(2)
    parts = trained(CONFIG, data, tmp_path / "parts")
    assert same(parts.state_dict(), whole.state_dict())
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]


def test_a_state_of_other_settings_is_refused(data: TokenSet, tmp_path: Path) -> None:
    trained(replace(CONFIG, steps=2), data, tmp_path / "out")
    with pytest.raises(CheckpointError, match="other settings"):
        trained(CONFIG, data, tmp_path / "out")


def test_seed_decides(data: TokenSet, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=3)
    first = trained(config, data, tmp_path / "a").state_dict()
    assert same(first, trained(config, data, tmp_path / "b").state_dict())
    assert not same(first, trained(replace(config, seed=1), data, tmp_path / "c").state_dict())


def test_values_are_drawn_uniformly(data: TokenSet) -> None:
    """Half of the training rows have value 0 here; a batch still holds as many of each."""
    targets = TARGETS.copy()
    targets[::2] = 0
    skewed = replace(data, targets=targets)
    counts = np.zeros(5)
    for step in range(400):
        rows = recipe.draw_batch(recipe.Source("toy", value_step=1), skewed, 5, (0, step))
        assert set(rows) <= set(range(50))
        counts += np.bincount(targets[rows].astype(int), minlength=5)
    assert counts / counts.sum() == pytest.approx(np.full(5, 0.2), abs=0.04)


def test_whole_groups_are_drawn(data: TokenSet) -> None:
    rows = recipe.draw_batch(recipe.Source("toy", groups=3), data, 16, (0, 7))
    assert len(rows) == 15
    assert sorted(np.unique(rows // 5, return_counts=True)[1]) == [5, 5, 5]


def test_weight_decay_spares_biases_and_norms() -> None:
    adapter = Adapter(AdapterConfig.from_dict(CONFIG.model))
    decayed, spared = recipe.optimiser(CONFIG, adapter).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (CONFIG.weight_decay, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"])
    count = len(decayed["params"]) + len(spared["params"])
    assert count == len(list(adapter.parameters()))


def test_schedule() -> None:
    rates = [run.cosine_with_warmup(step, 10, 2) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(0.5 * (1 + np.cos(np.pi * 7 / 8)))


def test_embedded_recipe_and_wrong_ones(tmp_path: Path) -> None:
    config = recipe.load_recipe("adapter-tiny-quality.toml")
    assert config.name == "tiny-quality"
    assert [source.data for source in config.sources] == ["agiqa3k", "agiqa3k-views", "distortions"]
    assert set(config.model) <= set(AdapterConfig().to_dict())
    with pytest.raises(UsageError, match="no recipe nowhere"):
        recipe.load_recipe("nowhere.toml")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("range = [0, 1]\ntokens = []\nstepps = 3\n")
    with pytest.raises(UsageError, match="stepps"):
        recipe.load_recipe(wrong)
    with pytest.raises(UsageError, match="toy; there are agiqa3k, agiqa3k-views"):
        recipe.run(CONFIG, tmp_path, tmp_path / "out", tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": "abc"}, "steps = 'abc'"),
        ({"steps": 0}, "steps = 0 must be above 0"),
        ({"steps": True}, "steps = True"),
        ({"reg_loss": "abc"}, "reg_loss = 'abc'.*reg_smooth_l1"),
        ({"model": 3}, "model = 3"),
        ({"model": {"layerz": 3}}, "model.layerz"),
        ({"model": {"rank_head": "abc"}}, "model.rank_head = 'abc'"),
        ({"sources": 3}, "sources = 3"),
        ({"sources": [{"data": "toy", "shares": 1}]}, "shares"),
        ({"sources": [{"data": "toy", "share": -1}]}, "share = -1"),
        ({"sources": []}, "at least one"),
        ({"range": [5, 0]}, "must rise"),
        ({"lr": float("nan")}, "lr = nan"),
        ({"average": 1}, "below 1"),
        ({"name": "../up"}, "name of a folder"),
        ({"stepps": 1}, "no field stepps"),
    ],
)
def test_impossible_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe.override(CONFIG, values)


def test_other_data_do_not_inherit_licence_and_notes() -> None:
    own = recipe.load_recipe("adapter-tiny-quality.toml")
    assert recipe.override(own, {}) == own
    other = recipe.override(own, {"sources": [{"data": "photographs"}]})
    assert other.licence.startswith("unknown: ")
    assert "photographs" in other.notes
    assert "AGIQA" not in other.notes
    told = recipe.override(own, {"sources": [{"data": "photographs"}], "licence": "CC0-1.0"})
    assert told.licence == "CC0-1.0"
    longer = recipe.override(own, {"steps": 7})
    assert longer.licence == own.licence
    assert longer.notes.startswith(own.notes)
    assert "steps: 7, in the recipe 2500" in longer.notes


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    folder = tmp_path / "mine"
    folder.mkdir()
    for n in range(10):
        pixels = draw.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    return folder


SMALL = ["--data", "photographs", "--threads", "1", "--steps", "2", "--set", "batch=8"]


def trains(folder: Path, out: Path, *more: str) -> Result:
    line = ["adapter", "--root", str(folder), "--out", str(out), *SMALL, *more]
    return CliRunner().invoke(train, line)


def test_a_checkpoint_tells_how_it_was_made_and_is_made_once(
    photographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "demo"
    (photographs / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    first = trains(photographs, out)
    assert first.exit_code == 0, first.output
    assert f"left out: {photographs / 'broken.jpg'}" in first.output
    config = read_config(out / "demo", "adapter")
    assert (config["name"], config["licence"][:8]) == ("demo", "unknown:")
    words = ["--data", "photographs", "--root", str(photographs), "--out", str(out)]
    words += ["--steps", "2", "--set", "batch=8", "--threads", "1"]
    assert config["made_by"] == "imgrank train adapter " + shlex.join(words)
    card = (out / "demo" / CARD).read_text()
    assert card.startswith("---\nlicense: other\n")
    assert f"command: `{config['made_by']}`" in card
    assert "AGIQA" not in card

    (out / "demo" / CARD).write_text(card + "measured since")
    again = trains(photographs, out)
    assert "left as it is" in again.output
    assert (out / "demo" / CARD).read_text() == card + "measured since"
    (out / "demo" / CONFIG_FILE).unlink()
    assert "wrote" in trains(photographs, out).output
    assert (out / "demo" / CARD).read_text() == card  # the minutes too: the state knows them


def test_bad_settings_end_before_any_work(photographs: Path, tmp_path: Path) -> None:
    for assignment in ("lr=abc", "reg_loss=abc", "model=3", "model={width=7}", "tokens=['abc']"):
        result = trains(photographs, tmp_path / "out", "--set", assignment)
        assert isinstance(result.exception, UsageError), assignment
        assert not (tmp_path / "out").exists()


def test_without_scipy_nothing_is_begun(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    result = trains(photographs, tmp_path / "out")
    assert isinstance(result.exception, MissingExtra)
    assert "imgrank[train]" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_what_measuring_meets_costs_no_step(
    data: TokenSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> dict[str, float]:
        raise RuntimeError("measuring")

    whole = trained(CONFIG, data, tmp_path / "whole")
    config = replace(CONFIG, save_every=100)
    monkeypatch.setattr(recipe, "validate", fails)
    with pytest.raises(RuntimeError, match="measuring"):
        trained(config, data, tmp_path / "out")
    monkeypatch.undo()
    said: list[str] = []
    found = recipe.train(config, {"toy": data}, TEXT, tmp_path / "out", said.append)
    assert "resumed at step 3" in said
    assert found is not None
    assert found.steps == 3
    assert same(found.adapter.state_dict(), whole.state_dict())


def test_warm_start_holds_ridge_solutions(data: TokenSet) -> None:
    adapter = Adapter(AdapterConfig.from_dict(CONFIG.model)).eval()
    before = adapter.image_sources["statistics"].linear.weight[3:].clone()
    warm_start(adapter, {"toy": data})
    source = adapter.image_sources["statistics"]
    tokens = tokens_of(data, data.rows("train"))["statistics"]
    normed = source.norm(tokens)[:, 0]
    torch.testing.assert_close(normed.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(normed.std(0, correction=0), torch.ones(5), atol=1e-2, rtol=0)
    # By the normal equations, for the middle one of the three penalties.
    x, y = normed.double(), torch.from_numpy(TARGETS[:50]).double()
    x = x - x.mean(0)
    solution = torch.linalg.solve(
        x.T @ x + 0.1 * 50 * torch.eye(5, dtype=torch.double), x.T @ (y - y.mean())
    )
    found = source.linear.weight[1].double()
    torch.testing.assert_close(found / found.norm(), solution / solution.norm(), atol=1e-3, rtol=0)
    assert (x @ found).std().item() == pytest.approx(2.0, rel=1e-3)
    assert torch.equal(source.linear.weight[3:], before)
