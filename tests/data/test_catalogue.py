"""The data sets by name: what is told of each, where it is looked for, what an error says."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from imgrank.data import catalogue
from imgrank.data.catalogue import CATALOGUE, RETRIEVAL
from imgrank.data.labelled import About, ReadOptions
from imgrank.errors import DataError, UsageError

PACKAGE = Path(catalogue.__file__).parents[1]
NAMES = sorted(CATALOGUE)
PUBLISHED = [name for name in NAMES if not CATALOGUE[name].made]


@pytest.mark.parametrize("name", [*NAMES, *RETRIEVAL])
def test_what_is_told_of_each(name: str) -> None:
    about = catalogue.about(name)
    assert isinstance(about, About)
    for field in ("title", "source", "layout", "split", "queries"):
        text = getattr(about, field)
        assert text == text.strip() != "", field
    assert all("\n" not in text for text in (about.title, about.source, about.licence, about.split))
    assert "http" not in about.source  # a place to read about, not an address to fetch
    assert (about.folds > 0) == ("fold" in about.split)


def test_the_sets_of_the_papers() -> None:
    wanted = {"koniq", "ava", "adience", "hci", "utkface", "coco", "coco-rem", "clevr"}
    wanted |= {"agiqa3k", "oasis", "csv"}
    assert wanted <= set(PUBLISHED)
    assert (catalogue.about("adience").folds, catalogue.about("hci").folds) == (5, 10)


def test_made_sets_name_what_they_are_made_of() -> None:
    for name in NAMES:
        found = CATALOGUE[name]
        if not found.made:
            assert found.of == ()
            assert found.about == "ABOUT"
        for other in found.of:
            assert other in catalogue.about(name).source.lower()
            assert other in CATALOGUE or other == "flickr8k"


def test_recipes_draw_from_sets_that_there_are() -> None:
    recipes = sorted((PACKAGE / "train" / "recipes").glob("adapter-*.toml"))
    named = {
        source["data"]
        for recipe in recipes
        for source in tomllib.loads(recipe.read_text(encoding="utf-8")).get("sources", ())
    }
    assert named
    assert named <= set(CATALOGUE)


def test_unknown_names() -> None:
    for call in (catalogue.reader, catalogue.about):
        with pytest.raises(UsageError, match=r"there is no data set imagenet; there are .*koniq"):
            call("imagenet")
    with pytest.raises(UsageError, match="imagenet"):
        catalogue.read("imagenet", Path())


def test_no_reader_loads_torch() -> None:
    code = (
        "import sys; from imgrank.data.catalogue import CATALOGUE, about; "
        "[about(name) for name in CATALOGUE]; print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


# ---- place ---------------------------------------------------------------------------------------


def test_the_folder_of_a_set_is_below_root_or_root(tmp_path: Path) -> None:
    assert catalogue.place("koniq", tmp_path) == tmp_path
    (tmp_path / "koniq").mkdir()
    assert catalogue.place("koniq", tmp_path) == tmp_path / "koniq"
    assert catalogue.place("koniq", tmp_path / "koniq") == tmp_path / "koniq"


def test_a_made_set_lies_where_its_pictures_do(tmp_path: Path) -> None:
    for name in ("coco", "oasis", "flickr8k"):
        (tmp_path / name).mkdir()
    assert catalogue.place("coco-distorted", tmp_path) == tmp_path / "coco"
    assert catalogue.place("distortions", tmp_path) == tmp_path  # it reads two of them


# ---- read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if CATALOGUE[name].files])
def test_an_absent_set_says_where_to_get_it_and_how_to_lay_it_out(
    name: str, tmp_path: Path
) -> None:
    about = catalogue.about(name)
    for root in (tmp_path / "nowhere", tmp_path):  # no folder at all; an empty one
        with pytest.raises(DataError) as caught:
            catalogue.read(name, root)
        text = str(caught.value)
        assert about.title in text
        assert about.source in text
        assert all(line in text for line in about.layout.split("\n"))
        assert f"imgrank data list {name}" in text
        assert caught.value.status == 3


def test_the_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^coco: there is no folder {tmp_path}/nowhere/coco"):
        catalogue.read("coco", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", [name for name in NAMES if CATALOGUE[name].files and name != "csv"]
)
def test_a_file_is_no_folder(name: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("path,value\n")
    with pytest.raises(DataError, match=f"^{name}: {file} is a file, not a folder") as caught:
        catalogue.read(name, file)
    assert catalogue.about(name).layout.split("\n")[0] in str(caught.value)


def test_of_a_set_that_was_found_only_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "labels.csv").write_text("filepath,category\n")
    with pytest.raises(DataError) as caught:
        catalogue.read("coco", tmp_path)
    first, last = str(caught.value).split("\n")
    assert first == f"{tmp_path}/coco/labels.csv has no column count."
    assert last == "`imgrank data list coco` says how to lay it out."


def test_partial_reaches_the_reader(tmp_path: Path) -> None:
    folder = tmp_path / "coco"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "1.jpg").write_bytes(b"")
    (folder / "labels.csv").write_text(
        "filepath,category,count\nimages/1.jpg,cat,2\nimages/2.jpg,cat,1\n"
    )
    with pytest.raises(DataError, match="1 of 2 pictures are missing"):
        catalogue.read("coco", tmp_path)
    said: list[str] = []
    data = catalogue.read("coco", tmp_path, ReadOptions(partial=True, report=said.append))
    assert data.labels[0].values.tolist() == [2]
    assert said == ["coco: 1 of 2 pictures are missing and left out"]
