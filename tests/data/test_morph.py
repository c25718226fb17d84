"""The MORPH II reader on made-up folders: names of pictures alone, and with published folds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from imgrank.data import catalogue
from imgrank.data.labelled import Labelled, ReadOptions
from imgrank.data.morph import read
from imgrank.errors import DataError, UsageError

PEOPLE = [f"{number:06d}" for number in range(100, 180)]


def picture(person: str, number: int, age: int) -> str:
    return f"{person}_{number:02d}{'MF'[number % 2]}{age}.JPG"


def lists(root: Path, folds: list[list[str]], setting: str = "C", folder: str = "") -> None:
    """A list a fold, and the pictures that it names."""
    (root / "image").mkdir(exist_ok=True)
    (root / folder).mkdir(exist_ok=True)
    for fold, names in enumerate(folds):
        for name in names:
            (root / "image" / name).touch()
        lines = [f"../../Morph/image/{name} {name[-6:-4]}\n" for name in names]
        (root / folder / f"morph_{setting}_{fold:02d}.txt").write_text("".join(lines))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


def part_of(data: Labelled) -> dict[str, str | None]:
    return {path.name: part for path, part in zip(data.paths, data.parts, strict=True)}


def test_without_lists_each_person_is_in_one_of_five_folds(root: Path) -> None:
    (root / "image").mkdir()
    for n, person in enumerate(PEOPLE):
        for number in range(3):
            (root / "image" / picture(person, number, 20 + n % 50 + number)).touch()
    tested: Counter[str] = Counter()
    for fold in range(5):
        data = read(root, ReadOptions(fold=fold))
        by_person: dict[str, set[str | None]] = {}
        for person, part in zip(data.groups, data.parts, strict=True):
            by_person.setdefault(person, set()).add(part)
        assert {len(parts) for parts in by_person.values()} == {1}
        assert {part for parts in by_person.values() for part in parts} == {
            *("train", "validation", "test")
        }
        tested.update({person for person, parts in by_person.items() if parts == {"test"}})
    assert tested == dict.fromkeys(PEOPLE, 1)


def test_person_and_age_are_read_from_the_name(root: Path) -> None:
    (root / "image").mkdir()
    for name in ("070081_2F36.JPG", "332200_02M32.jpg", "000001_00M78.JPG", "notes.txt"):
        (root / "image" / name).touch()
    notes: list[str] = []
    data = read(root, ReadOptions(report=notes.append))
    assert data.keys == ("morph/070081_2F36.JPG", "morph/332200_02M32.jpg")
    assert data.groups == ("070081", "332200")
    (labels,) = data.labels
    assert labels.values.tolist() == [36, 32]
    assert (labels.task, labels.unit, labels.range) == ("age", "years", (16, 77))
    assert notes == [
        "morph: 3 pictures, where 55134 are published",
        "morph: 1 pictures above the age of 77 are left out",
    ]


@pytest.mark.parametrize("folder", ["", "settingC"])
def test_the_lists_are_the_folds(root: Path, folder: str) -> None:
    folds = [[picture(person, fold, 20 + fold) for person in PEOPLE[:8]] for fold in range(5)]
    lists(root, folds, folder=folder)
    data = catalogue.read("morph", root, ReadOptions(fold=3))
    parts = part_of(data)
    assert {name for name, part in parts.items() if part == "test"} == set(folds[3])
    assert len(data) == 40
    assert data.labels[0].values[data.rows("test")].tolist() == [23] * 8
    # People are on both sides of setting C, so pictures go to the validation part one by one.
    assert 0 < len(data.rows("validation")) < 16
    assert len({data.groups[n] for n in data.rows("train")} & set(PEOPLE[:8])) == 8


def test_lists_of_setting_d_keep_people_together_in_the_validation_part(root: Path) -> None:
    folds = [
        [picture(person, n, 30) for person in PEOPLE[16 * fold : 16 * fold + 16] for n in range(3)]
        for fold in range(5)
    ]
    lists(root, folds, "D")
    data = read(root, ReadOptions(fold=0))
    sides = [{data.groups[n] for n in data.rows(part)} for part in ("train", "validation", "test")]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides)) == 80
    lists(root, [[picture("000001", fold, 40)] for fold in range(5)], "C")
    assert len(read(root, ReadOptions())) == 5  # of both settings C is taken


def test_wrong_folders(root: Path) -> None:
    with pytest.raises(DataError, match="holds no picture of MORPH II, such as image/070081_2F36"):
        read(root, ReadOptions())
    with pytest.raises(UsageError, match="morph has the folds 0 to 4, not 5"):
        read(root, ReadOptions(fold=5))
    lists(root, [[picture("000001", fold, 40)] for fold in range(5)])
    (root / "image" / picture("000001", 2, 40)).unlink()
    with pytest.raises(DataError, match="1 of 5 pictures are missing"):
        read(root, ReadOptions())
    assert len(read(root, ReadOptions(partial=True))) == 4
    (root / "morph_C_01.txt").write_text(f"image/{picture('000001', 3, 40)} 40\n")
    with pytest.raises(
        DataError, match=r"morph_C_00.txt and the other lists name 1 pictures twice"
    ):
        read(root, ReadOptions(partial=True))  # it would be in two folds
    (root / "morph_C_01.txt").write_text("image/070081_2F36.JPG old\n")
    with pytest.raises(DataError, match=r"morph_C_01.txt, line 1: not such as 070081_2F36.JPG 36"):
        read(root, ReadOptions())
    (root / "morph_C_01.txt").unlink()
    with pytest.raises(DataError, match=r"morph_C_01.txt is missing: .* all 5 folds"):
        read(root, ReadOptions())
