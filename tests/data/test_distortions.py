"""Graded distortions: deterministic, monotone, and split by photograph."""

import io
import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from imgrank.data.distortions import (
    KINDS,
    Kind,
    Version,
    find_photographs,
    plan_versions,
    render,
    strength_of,
)
from imgrank.data.split import split_by_group
from imgrank.errors import DataError


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A scene with edges, gradients and colours, 300 x 260."""
    y, x = np.mgrid[0:260, 0:300]
    scene = np.stack(
        (60 + x // 3, 40 + y // 2, 128 + 90 * np.sign(np.sin(x / 7) * np.sin(y / 9))), axis=-1
    )
    path = tmp_path / "set" / "images" / "scene.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(scene.astype(np.uint8)).save(path)
    return path


def pixels(version: Version) -> npt.NDArray[np.float64]:
    image = Image.open(io.BytesIO(render(version))).convert("RGB")
    return np.asarray(image.resize((300, 260), Image.Resampling.BICUBIC), dtype=np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_each_grade_is_further_from_the_photograph(photograph: Path, kind: Kind) -> None:
    original = pixels(Version(photograph, kind, 0))
    with Image.open(photograph) as image:
        assert np.array_equal(original, np.asarray(image))
    errors = [
        float(np.abs(pixels(Version(photograph, kind, g)) - original).mean()) for g in range(6)
    ]
    assert errors[0] == 0
    assert all(a < b for a, b in itertools.pairwise(errors))


def test_directions_and_formats(photograph: Path) -> None:
    original = pixels(Version(photograph, "under", 0)).mean()
    assert pixels(Version(photograph, "under", 3)).mean() < original - 20
    assert pixels(Version(photograph, "over", 3)).mean() > original + 20
    small = Image.open(io.BytesIO(render(Version(photograph, "downscale", 5))))
    assert small.size == (46, 40)
    assert Image.open(io.BytesIO(render(Version(photograph, "jpeg", 1)))).format == "JPEG"


def test_strengths_run_through_the_levels() -> None:
    assert strength_of("noise", 1) == pytest.approx(6)
    assert strength_of("noise", 5) == pytest.approx(55)
    assert strength_of("noise", 1.5) == pytest.approx((6 * 11) ** 0.5)
    assert 0.6 * 0.6 / 1.0 <= strength_of("blur", 0.001) < 0.6


def test_same_version_same_bytes(photograph: Path) -> None:
    for version in plan_versions([photograph], 1, seed=3, augment=True):
        assert render(version) == render(version)
    other = [Version(photograph, "noise", 3, noise=n) for n in (1, 2)]
    assert render(other[0]) != render(other[1])


def test_plan(photograph: Path) -> None:
    every = plan_versions([photograph], 5, seed=0, augment=False)
    assert len(every) == 1 + 6 * 5
    assert [v.grade for v in every if v.kind == "jpeg"] == [1, 2, 3, 4, 5]
    assert every[0] == Version(photograph, "blur", 0.0)
    drawn = plan_versions([photograph], 2, seed=0, augment=True)
    assert drawn == plan_versions([photograph], 2, seed=0, augment=True)
    assert drawn != plan_versions([photograph], 2, seed=1, augment=True)
    assert len({v.frame for v in drawn}) == 1  # one crop for all versions of a photograph
    assert len({v.key for v in drawn}) == len(drawn)
    assert str(photograph.parents[2]) not in drawn[0].key


def test_find_photographs(photograph: Path) -> None:
    assert find_photographs([photograph.parents[1]]) == [photograph]
    empty = photograph.parents[1] / "none"
    empty.mkdir()
    with pytest.raises(DataError, match="no JPEG or PNG"):
        find_photographs([empty])


def test_hidden_files_do_not_count_and_unreadable_ones_are_told(photograph: Path) -> None:
    folder = photograph.parent
    (folder / "._scene.png").write_bytes(b"\0\5\x16\7")
    (folder / ".thumbs").mkdir()
    (folder / ".thumbs" / "a.png").write_bytes(photograph.read_bytes())
    broken = folder / "a.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    told: list[tuple[Path, str]] = []
    assert find_photographs([folder], lambda *one: told.append(one)) == [photograph]
    assert [path for path, _ in told] == [broken]
    assert find_photographs([folder]) == [broken, photograph]  # not opened yet
    with pytest.raises(DataError, match=r"a\.jpg"):
        render(Version(broken, "blur", 1))
    photograph.unlink()
    with pytest.raises(DataError, match="no JPEG or PNG"):
        find_photographs([folder], lambda *one: None)
    with pytest.raises(DataError, match="no JPEG or PNG"):
        find_photographs([folder / "nowhere"])


def test_photographs_come_in_the_order_of_their_paths(photograph: Path) -> None:
    """The cached tokens of the published recipe are in this order."""
    folder = photograph.parent
    for name in ("z.png", "B.jpg", "scene/a.png", "b.jpeg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(photograph.read_bytes())
    found = [path.relative_to(folder).as_posix() for path in find_photographs([folder])]
    assert found == ["B.jpg", "b.jpeg", "scene/a.png", "scene.png", "z.png"]


def test_split_keeps_groups_together_and_is_stable() -> None:
    groups = [f"g{n % 50}" for n in range(500)]
    parts = split_by_group(groups, seed=1)
    by_group = {g: {p for h, p in zip(groups, parts, strict=True) if h == g} for g in groups}
    assert all(len(found) == 1 for found in by_group.values())
    assert (parts.count("train"), parts.count("validation"), parts.count("test")) == (400, 50, 50)
    assert split_by_group(groups[::-1], seed=1) == parts[::-1]
    assert split_by_group(groups, seed=2) != parts
