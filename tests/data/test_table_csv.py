"""The reader of plain CSV files, on files that the tests write."""

import math
import os
from pathlib import Path

import pytest

from imgrank.data import catalogue
from imgrank.data.labelled import Labelled, ReadOptions
from imgrank.data.table import read
from imgrank.errors import DataError


def write(folder: Path, text: str, name: str = "mine.csv") -> Path:
    """The CSV file, and an empty picture for each path in it."""
    file = folder / name
    file.write_text(text)
    for cell in text.replace("\n", ",").split(","):
        path = folder / cell
        if path.suffix == ".jpg":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return file


def column(data: Labelled, key: str) -> list[float | None]:
    (labels,) = [labels for labels in data.labels if labels.key == key]
    return [None if math.isnan(value) else value for value in labels.values.tolist()]


def test_several_instructions_are_several_queries(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "path,instruction,value\n"
        "one/1.jpg,by image quality,3.5\n"
        "one/1.jpg,How cosy it looks,0.25\n"
        "two/2.jpg,how cosy it looks,-1\n"
        "two/2.jpg,by the number of dogs,2\n"
        "two/3.jpg,sort photos by mos,1e1\n"
        "two/3.jpg,age of the person,31\n",
    )
    data = catalogue.read("csv", file)
    assert data.paths == tuple(tmp_path / p for p in ("one/1.jpg", "two/2.jpg", "two/3.jpg"))
    assert data.groups == ("one/1.jpg", "two/2.jpg", "two/3.jpg")
    assert column(data, "quality") == [3.5, None, 10]
    assert column(data, "number-of-dogs") == [None, 2, None]
    assert column(data, "age") == [None, None, 31]
    free = data.labels[1]
    assert column(data, free.key) == [0.25, -1, None]
    told = {labels.task: (labels.prompt, labels.subject, labels.unit) for labels in data.labels}
    assert told == {
        "quality": ("sort images by the image quality of MOS", "", "MOS"),
        free.key: ("How cosy it looks", "", ""),
        "count": ("sort images by the number of dogs.", "dogs", "objects"),
        "age": ("sort images by the person's age group.", "", "years"),
    }


@pytest.mark.parametrize(
    ("instruction", "key"),
    [
        ("a bright red car", "a-bright-red-car"),
        ("Größe der Wolken", "größe-der-wolken"),
        ("#noise", "text-noise"),  # free text, and not the task of that name
    ],
)
def test_free_text_is_a_task_of_its_words(tmp_path: Path, instruction: str, key: str) -> None:
    data = read(write(tmp_path, f"path,instruction,value\n1.jpg,{instruction},1\n"), ReadOptions())
    (labels,) = data.labels
    assert (labels.key, labels.task, labels.prompt) == (key, key, instruction)


def test_long_texts_stay_apart(tmp_path: Path) -> None:
    start = "the warm light of a very late afternoon on the roofs of a small town "
    lines = "".join(f"1.jpg,{start}{end},1\n" for end in ("by the sea", "by a lake"))
    data = read(write(tmp_path, "path,instruction,value\n" + lines), ReadOptions())
    keys = {labels.key for labels in data.labels}
    assert len(keys) == 2 and max(map(len, keys)) <= 60


def test_split_and_group_as_given(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "group,path,split,value,instruction\n"
        "a,1.jpg,test,1,by brightness\n"
        "a,2.jpg,train,2,by brightness\n"
        "b,3.jpg,validation,3,by brightness\n"
        "a,1.jpg,test,4,by contrast\n",
    )
    data = read(file, ReadOptions())
    assert data.parts == ("test", "train", "validation")
    assert data.groups == ("a", "a", "b")


def test_without_a_split_groups_stay_together(tmp_path: Path) -> None:
    rows = "".join(f"{n}.jpg,by beauty,{n},g{n % 20}\n" for n in range(60))
    file = write(tmp_path, "path,instruction,value,group\n" + rows)
    data = read(file, ReadOptions())
    assert [len(data.rows(part)) for part in ("train", "validation", "test")] == [48, 6, 6]
    assert len(set(zip(data.groups, data.parts, strict=True))) == 20
    assert read(file, ReadOptions()).parts == data.parts


def test_without_a_split_and_groups_it_is_by_picture(tmp_path: Path) -> None:
    rows = "".join(f"{n % 10}.jpg,{what},{n}\n" for n in range(10) for what in ("age", "beauty"))
    data = read(write(tmp_path, "path,instruction,value\n" + rows), ReadOptions())
    assert [len(data.rows(part)) for part in ("train", "validation", "test")] == [8, 1, 1]


def test_paths_are_relative_to_the_file_absolute_or_quoted(tmp_path: Path) -> None:
    away = tmp_path / "away" / "x.jpg"
    away.parent.mkdir()
    away.touch()
    (tmp_path / "tables").mkdir()
    (tmp_path / "a, b.jpg").touch()
    file = tmp_path / "tables" / "t.csv"
    file.write_text(
        f'\ufeffpath,instruction,value\n"../a, b.jpg",age,1\n{away},age,2\n', encoding="utf-8"
    )
    data = read(file, ReadOptions())
    assert data.paths == (tmp_path / "a, b.jpg", away)


def test_a_folder_with_one_table(tmp_path: Path) -> None:
    write(tmp_path, "path,instruction,value\n1.jpg,age,1\n")
    assert len(catalogue.read("csv", tmp_path)) == 1
    (tmp_path / "other.csv").touch()
    with pytest.raises(DataError, match=r"holds 2 CSV files. Name the one: --root FILE\.csv"):
        read(tmp_path, ReadOptions())
    with pytest.raises(DataError, match="no folder"):
        catalogue.read("csv", tmp_path / "none.csv")


def test_keys_follow_the_content(tmp_path: Path) -> None:
    """Two folders may both have a 1.jpg; tokens of one are never taken for the other's."""
    file = write(tmp_path, "path,instruction,value\n1.jpg,age,1\n")
    first = read(file, ReadOptions()).keys
    assert read(file, ReadOptions()).keys == first
    (tmp_path / "1.jpg").write_bytes(b"another")
    second = read(file, ReadOptions()).keys
    os.utime(tmp_path / "1.jpg", ns=(5, 5))
    assert len({first, second, read(file, ReadOptions()).keys}) == 3


GOOD = "path,instruction,value,split,group\n1.jpg,age,1,train,g\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column path, instruction, value; it has none, it is empty"),
        ("path,instruction,value\n", "has no rows"),
        ("file,instruction,value\n1.jpg,age,1\n", "has no column path; it has file, instruction"),
        ("path;instruction;value\n1.jpg;age;1\n", "Cells are separated by ','"),
        ("path,instruction,value,fold\n1.jpg,age,1,2\n", "a column fold; there are path, instr"),
        ("path,instruction,value\n1.jpg,age\n", "line 2: the row ends before value"),
        (GOOD + "2.jpg,age,1\n", "line 3: too many or too few cells"),
        ("path,instruction,value\n1.jpg,a dog, running,1\n", "line 2: too many or too few"),
        (GOOD + "2.jpg,age,old,train,g\n", "line 3: value is 'old', which is no number"),
        (GOOD + "2.jpg,age,,train,g\n", "line 3: value is '', which is no number"),
        (GOOD + "2.jpg,age,inf,train,g\n", "line 3: value is 'inf', which is no number"),
        (GOOD + "2.jpg,age,1,training,g\n", "line 3: split is 'training', none of train, val"),
        (GOOD + "2.jpg,age,1,,g\n", "line 3: split is '', none of"),
        (GOOD + "2.jpg,age,1,test,\n", "line 3: no group"),
        (GOOD + ",age,1,test,g\n", "line 3: no path"),
        (GOOD + "2.jpg,,1,test,g\n", "line 3: The instruction '' is empty"),
        (GOOD + "2.jpg,not a dog,1,test,g\n", "line 3: 'not a dog' says what not to do"),
        (GOOD + "2.jpg,oldest first,1,test,g\n", "line 3: 'oldest first' says what comes first"),
        (GOOD + "2.jpg,by darkness,1,test,g\n", "line 3: 'by darkness' says what comes first"),
        (GOOD + "2.jpg,closest to 3 dogs,1,test,g\n", "line 3: 'closest to 3 dogs' says what"),
        (GOOD + "1.jpg,beauty,1,test,g\n", "line 3: the split of 1.jpg is 'test', and 'train'"),
        (GOOD + "1.jpg,beauty,1,train,h\n", "line 3: the group of 1.jpg is 'h', and 'g' before"),
        (GOOD + "./1.jpg,by age,1,train,g\n", "line 3: ./1.jpg has a value .* see line 2"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, text), ReadOptions())


def test_a_file_that_is_no_utf8(tmp_path: Path) -> None:
    file = tmp_path / "latin.csv"
    file.write_bytes("path,instruction,value\n1.jpg,age,1\nGrün.jpg,age,2\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv, line 3: this is no UTF-8"):
        read(file, ReadOptions())


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(b'path,instruction,value\n1.jpg,age,"' + b"x" * 200_000)
    with pytest.raises(DataError, match=r"x\.csv, line 2: field larger than field limit"):
        read(file, ReadOptions())


def test_missing_pictures(tmp_path: Path) -> None:
    file = write(tmp_path, "path,instruction,value\n1.jpg,age,1\n2.jpg,beauty,2\n3.jpg,age,3\n")
    (tmp_path / "2.jpg").unlink()
    with pytest.raises(DataError, match=r"csv: 1 of 3 pictures are missing:\n.*2\.jpg"):
        read(file, ReadOptions())
    data = read(file, ReadOptions(partial=True))
    assert [labels.key for labels in data.labels] == ["age"]  # nothing is left of the other
    assert column(data, "age") == [1, 3]
