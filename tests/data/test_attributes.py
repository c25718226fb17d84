"""Labels computed from pixels: numbers by hand, and measured once."""

import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgrank.data import attributes as module
from imgrank.data.attributes import attributes, with_attributes
from imgrank.data.labelled import Labelled, Labels
from imgrank.errors import DataError

GREY, RED = (100, 100, 100), (255, 0, 0)


def picture(path: Path, left: tuple[int, int, int], right: tuple[int, int, int]) -> Path:
    """Two halves of one colour each, 40 x 20, without loss."""
    image = Image.new("RGB", (40, 20), left)
    image.paste(right, (20, 0, 40, 20))
    image.save(path)
    return path


def of(paths: Iterable[Path], name: str = "made-up") -> Labelled:
    paths = tuple(paths)
    values = np.arange(len(paths), dtype=np.float32)
    return Labelled(
        name,
        paths=paths,
        keys=tuple(f"{name}/{path.name}" for path in paths),
        parts=tuple("train" for _ in paths),
        groups=tuple(path.name for path in paths),
        labels=(Labels("quality", "quality", "prompt", values),),
    )


@pytest.fixture
def data(tmp_path: Path) -> Labelled:
    return of(
        (
            picture(tmp_path / "grey.png", GREY, GREY),
            picture(tmp_path / "halves.png", (0, 0, 0), (255, 255, 255)),
            picture(tmp_path / "red.png", RED, RED),
        )
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that were opened, sorted in the end by who asks."""
    opened: list[str] = []
    lock, real = threading.Lock(), module.read_picture

    def counting(path: Path) -> Image.Image:
        with lock:
            opened.append(path.name)
        return real(path)

    monkeypatch.setattr(module, "read_picture", counting)
    return opened


def test_three_queries_by_hand(data: Labelled, tmp_path: Path) -> None:
    made = with_attributes(data, tmp_path / "cache")
    assert made.labels[0] is data.labels[0]
    contrast, colorfulness, brightness = made.labels[1:]
    assert contrast.values.tolist() == pytest.approx([0, 50, 0], abs=1e-5)
    # red: rg = 255, yb = 127.5, both without spread: 0.3 sqrt(255^2 + 127.5^2)
    assert colorfulness.values.tolist() == pytest.approx([0, 0, 85.5296], abs=1e-4)
    # luma of red: 0.2126 of white
    assert brightness.values.tolist() == pytest.approx([100 / 2.55, 50, 21.26], abs=1e-4)
    assert [(labels.key, labels.task, labels.prompt) for labels in made.labels[1:]] == [
        (name, name, f"sort images by the image quality of {name}")
        for name in ("contrast", "colorfulness", "brightness")
    ]
    assert [labels.range for labels in made.labels[1:]] == [(0, 50), None, (0, 100)]
    assert (made.paths, made.parts, made.keys) == (data.paths, data.parts, data.keys)


def test_measured_once_whatever_the_machine(
    data: Labelled, tmp_path: Path, counted: list[str]
) -> None:
    cache, told = tmp_path / "cache", []
    first = attributes(data, cache, lambda *args: told.append(args))
    assert sorted(counted) == ["grey.png", "halves.png", "red.png"]
    assert told == [("made-up: attributes", 0, 3), ("made-up: attributes", 3, 3)]
    again = attributes(data, cache, lambda *args: told.append(args))
    assert (len(counted), len(told)) == (3, 2)
    assert again.tolist() == first.tolist()
    assert [path.suffix for path in cache.iterdir()] == [".npy"]


def test_other_keys_are_other_numbers(data: Labelled, tmp_path: Path, counted: list[str]) -> None:
    attributes(data, tmp_path / "cache")
    attributes(of(data.paths, "another"), tmp_path / "cache")
    assert len(counted) == 6


def test_an_interrupted_run_goes_on_where_it_stopped(
    data: Labelled, tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 1)

    def interrupt(name: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attributes(data, tmp_path / "cache", interrupt)
    assert counted == ["grey.png", "halves.png"]
    table = attributes(data, tmp_path / "cache")
    assert counted == ["grey.png", "halves.png", "red.png"]
    assert table[:, 2].tolist() == pytest.approx([100 / 2.55, 50, 21.26])


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_kept(
    data: Labelled, tmp_path: Path, counted: list[str]
) -> None:
    good = data.paths[2].read_bytes()
    data.paths[2].write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"red\.png of the data set cannot be used: not a picture"):
        with_attributes(data, tmp_path / "cache")
    data.paths[2].write_bytes(good)
    with_attributes(data, tmp_path / "cache")
    assert counted[3:] == ["red.png"]


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"not numbers"])
def test_a_damaged_file_is_made_again(data: Labelled, tmp_path: Path, damage: bytes) -> None:
    first = attributes(data, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(damage)
    assert attributes(data, tmp_path / "cache").tolist() == first.tolist()
    assert np.load(kept).tolist() == first.tolist()


def test_pictures_that_are_made_and_not_read(data: Labelled, tmp_path: Path) -> None:
    def render(index: int, size: int) -> np.ndarray:
        return np.full((size, size, 3), 51 * index, dtype=np.uint8)

    made = Labelled(
        data.name, data.paths, data.keys, data.parts, data.groups, data.labels, render=render
    )
    assert attributes(made, tmp_path / "cache")[:, 2].tolist() == pytest.approx([0, 20, 40])


def test_a_set_that_has_such_a_query_already(data: Labelled, tmp_path: Path) -> None:
    once = with_attributes(data, tmp_path / "cache")
    with pytest.raises(ValueError, match="has the queries contrast, colorfulness, brightness"):
        with_attributes(once, tmp_path / "cache")
