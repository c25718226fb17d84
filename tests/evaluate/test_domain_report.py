"""What a checkpoint refuses, counted over made-up folders of the published sets' names."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rank_checkpoints import rank_checkpoint

import imgrank.evaluate.domain as domain
from imgrank.errors import UsageError
from imgrank.evaluate.domain import VERSIONS, Refused, measure, refused
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.load import load_ranker

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def ranker_of(folder: Path) -> L2RCLIPRanker:
    found = load_ranker(str(folder))
    assert isinstance(found, L2RCLIPRanker)
    return found


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> L2RCLIPRanker:
    folder = tmp_path_factory.mktemp("models") / "old"
    return ranker_of(rank_checkpoint(folder, domain={"monochrome": True, "chroma": 9.5}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """OldNYC: 20 grey prints. COCO: two colour photographs and a grey one; the others: one each."""
    prints = tmp_path / "oldnyc" / "images"
    prints.mkdir(parents=True)
    with (tmp_path / "oldnyc" / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filepath", "year"])
        for n in range(20):
            name = f"images/70{n:02d}15f-a.jpg"
            table.writerow([name, 1930])
            grey = np.random.default_rng(n).integers(0, 256, (24, 24), np.uint8)
            Image.fromarray(grey).resize((96, 96)).save(tmp_path / "oldnyc" / name)
    for name in domain.MODERN:
        (tmp_path / name / "images").mkdir(parents=True)
        photo = Image.open(PHOTOS / "coffee.jpg").resize((300, 200))
        photo.save(tmp_path / name / "images" / "a.jpg")
        if name == "coco":
            Image.open(PHOTOS / "cat.jpg").resize((300, 200)).save(tmp_path / name / "images/b.jpg")
            photo.convert("L").save(tmp_path / name / "images" / "c.jpg")
    return tmp_path


def test_colour_and_distance_are_counted_apart(ranker: L2RCLIPRanker) -> None:
    names = ("cat.jpg", "photographer.jpg", "coffee.jpg")
    found = refused(ranker, ((PHOTOS / name).read_bytes() for name in names))
    assert found == Refused(3, colour=2, distance=0)
    assert found.share == pytest.approx(2 / 3)
    assert found.line("three").split() == ["three", "3", "2", "(", "66.7%)", "2", "0"]


def test_versions_of_a_picture() -> None:
    image = Image.new("RGB", (1000, 600), (250, 200, 90))
    image.paste((10, 20, 30), (150, 90, 850, 510))
    assert VERSIONS["cropped"](image).size == (700, 420)
    assert VERSIONS["cropped"](image).getcolors() == [(700 * 420, (10, 20, 30))]
    assert {len(set(pixel)) for _, pixel in VERSIONS["grey"](image).getcolors()} == {1}
    anew = VERSIONS["scanned anew"](image)
    assert (anew.size, anew.mode) == ((400, 240), "RGB")
    assert max(abs(a - b) for a, _, b in [anew.getpixel((200, 120))]) <= 1


def test_all_kinds_of_pictures_are_reported(ranker: L2RCLIPRanker, root: Path) -> None:
    lines: list[str] = []
    found = measure(ranker, root, "oldnyc", 0, lines.append)
    held = found["oldnyc, test"].count
    assert 0 < held < 10
    for version in VERSIONS:
        assert found[f"oldnyc, test, {version}"] == Refused(held, 0, 0)
    assert found["coco, in colour"] == Refused(2, 2, 0)
    assert found["coco, those made grey"] == Refused(2, 0, 0)
    assert found["coco, monochrome already"] == Refused(1, 0, 0)
    assert found["oasis, in colour"] == found["flickr8k, in colour"] == Refused(1, 1, 0)
    assert "oasis, monochrome already" not in found
    assert len(lines) == 1 + len(found)


def test_fewer_pictures_are_chosen_evenly(
    ranker: L2RCLIPRanker, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "VERSIONS", {})
    monkeypatch.setattr(domain, "MODERN", ("coco",))
    few = measure(ranker, root, "oldnyc", 2, lambda line: None)
    # Of a.jpg, b.jpg and c.jpg the first and the third.
    counts = {title: found.count for title, found in few.items()}
    assert counts.pop("oldnyc, test") <= 2
    assert counts == {
        "coco, in colour": 1,
        "coco, those made grey": 1,
        "coco, monochrome already": 1,
    }


def test_an_unreadable_picture_is_reported_and_left_out(
    ranker: L2RCLIPRanker, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "MODERN", ("coco",))
    monkeypatch.setattr(domain, "VERSIONS", {"cropped": VERSIONS["cropped"]})
    lines: list[str] = []
    held = measure(ranker, root, "oldnyc", 0, lambda line: None)["oldnyc, test"].count
    for file in (root / "oldnyc" / "images").iterdir():
        file.write_bytes(file.read_bytes()[:200])
    (root / "coco" / "images" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    found = measure(ranker, root, "oldnyc", 0, lines.append)
    assert found["oldnyc, test"] == found["oldnyc, test, cropped"] == Refused(0, 0, 0)
    assert found["coco, in colour"] == Refused(1, 1, 0)
    gone = [line for line in lines if line.startswith("left out: ")]
    assert len(gone) == held + 1
    assert gone[-1].startswith(f"left out: {root}/coco/images/a.jpg: ")


def test_a_model_that_says_nothing_is_refused(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = rank_checkpoint(tmp_path / "plain")
    with pytest.raises(UsageError, match="plain does not say what it was trained on"):
        measure(ranker_of(plain), root, "oldnyc", 0, print)
    monkeypatch.setattr(sys, "argv", ["domain", "--root", str(root), "--model", "tiny-age"])
    with pytest.raises(UsageError, match="no l2rclip checkpoint"):
        domain.main()
