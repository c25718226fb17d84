"""Figures of near-duplicates against counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import imgrank.evaluate.bursts as bursts
from imgrank.evaluate.bursts import Tally, by_cosine, main, tally, wilson


def test_counts_of_an_order() -> None:
    scene = np.array([0, 1, 0, 2, 0, 1, 3, 1])
    best = np.array([0, 1, 0, 3, 0, 1, 0, 7])  # 6 is of another photograph than 0; 7 was missed
    # three made of 0, 1 each; burst 0 has a stranger, burst 1 has two kept
    assert tally(scene, best) == Tally(made=4, left_out=4, right=3, bursts=2, whole=0)
    assert tally(scene, np.array([0, 1, 0, 3, 0, 1, 6, 1])) == Tally(4, 4, 4, 2, 2)
    assert tally(scene, np.arange(8)) == Tally(4, 0, 0, 2, 0)


def test_intervals_of_shares() -> None:
    assert wilson(0, 0) == (0, 1)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_by_the_embedding_alone_there_are_no_chains_either() -> None:
    angles = np.radians([0, 20, 40, 90])
    found = by_cosine(np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32), 0.9)
    assert found.tolist() == [0, 0, 2, 3]


def test_the_whole_table_of_a_few_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = Path(__file__).parents[2] / "examples" / "photos"
    images = tmp_path / "oasis" / "images"
    images.mkdir(parents=True)
    for number, name in enumerate(("cat", "coffee", "rocket", "galaxies")):
        small = Image.open(photos / f"{name}.jpg").convert("RGB").resize((160, 120))
        small.save(images / f"Thing_{number}.jpg")
    monkeypatch.setattr(bursts, "KINDS", ("crop", "half"))
    main(["--root", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "choosing half"
    part = lines[lines.index("reporting half, 2 photographs") :]
    shown = {line[2:30].strip(): line[30:].split() for line in part[1:] if "of" in line[30:]}
    assert shown["crop"] == ["1.000", "[0.207,", "1.000]", "of", "1"]
    assert shown["all recall"] == ["1.000", "[0.342,", "1.000]", "of", "2"]
    assert shown["different left out"][0] == "0.000"
    assert shown["any two photographs"][-1] == "1"
