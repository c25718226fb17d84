"""A folder a class: names, codes, what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgrank.data.catalogue import read_groups
from imgrank.data.labelled import ReadOptions
from imgrank.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("hot_dog/2.jpg", "hot_dog/1.jpg", "cat/deeper/1.png", ".hidden/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_classes_are_called_as_their_folders(root: Path) -> None:
    found = read_groups("classes", root)
    assert found.names == ("cat", "hot dog")
    assert found.labels.tolist() == [0, 1, 1]
    assert [path.name for path in found.paths] == ["1.png", "1.jpg", "2.jpg"]


def test_codes_are_called_as_the_table_says(root: Path) -> None:
    (root / "classes.csv").write_text("folder,name\nhot_dog,sausage\ncat,tomcat\n")
    assert read_groups("classes", root).names == ("tomcat", "sausage")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("cat,tomcat", "gives no name to the folder hot_dog"),
        ("cat,tomcat\nhot_dog,b\nbird,c", "names a folder bird, which is not here"),
        ("cat,tomcat\ncat,b", "line 3: cat has a name already"),
        ("cat, ", "line 2: no name"),
        ("cat,a\nhot_dog,a", "two classes are called 'a'"),
    ],
)
def test_a_wrong_table(root: Path, lines: str, message: str) -> None:
    (root / "classes.csv").write_text(f"folder,name\n{lines}\n")
    with pytest.raises(DataError, match=message):
        read_groups("classes", root)


def test_an_empty_folder_is_reported_and_one_class_is_none(root: Path) -> None:
    (root / "dog").mkdir()
    said: list[str] = []
    assert len(read_groups("classes", root, ReadOptions(report=said.append)).names) == 2
    assert said == [f"{root / 'dog'} holds no picture and is left out"]
    (root / "cat").rename(root / ".cat")
    with pytest.raises(DataError, match="holds 1 folders with pictures"):
        read_groups("classes", root)
