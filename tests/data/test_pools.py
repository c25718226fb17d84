"""The pictures that a search looks in: sets, folders of yours, and their parts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from shared_data import unpack

from imgrank.data.labelled import ReadOptions
from imgrank.data.pool import read_pool
from imgrank.data.split import split_by_name
from imgrank.errors import DataError, UsageError

OASIS = "filepath,beauty_mean\nimages/Angry_face_1.jpg,2.5\nimages/Cat_2.jpg,5\n"
COUNTS = "filepath,category,count\nimages/1.jpg,cat,2\nimages/9.jpg,cat,1\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Flickr8k with 2 pictures, OASIS with 2, COCO with one that has a caption and two counted."""
    sets = {
        "flickr8k": ("a.jpg", "b.jpg"),
        "oasis": ("Angry_face_1.jpg", "Cat_2.jpg"),
        "coco": ("1.jpg", "9.jpg"),
    }
    for name, files in sets.items():
        (tmp_path / name / "images").mkdir(parents=True)
        for file in files:
            (tmp_path / name / "images" / file).write_bytes(b"")
    captions = "filepath,caption\nimages/{}.jpg,One .\nimages/{}.jpg,Two .\n"
    (tmp_path / "flickr8k" / "captions.csv").write_text(captions.format("a", "b"))
    (tmp_path / "coco" / "captions.csv").write_text(captions.format("1", "1"))
    (tmp_path / "coco" / "labels.csv").write_text(COUNTS)
    (tmp_path / "oasis" / "labels.csv").write_text(OASIS)
    return tmp_path


def test_sets_one_after_the_other(data: Path) -> None:
    pool = read_pool(["flickr8k", "oasis", "coco"], data)
    assert pool.keys == (
        *("flickr8k/a.jpg", "flickr8k/b.jpg", "oasis/Angry_face_1.jpg", "oasis/Cat_2.jpg"),
        *("coco/1.jpg", "coco/9.jpg"),
    )
    assert pool.of == ("flickr8k",) * 2 + ("oasis",) * 2 + ("coco",) * 2
    assert pool.paths[2] == data / "oasis" / "images" / "Angry_face_1.jpg"
    assert pool.parts == (
        *split_by_name(["a.jpg", "b.jpg"], "flickr8k|0", 0.1, 0.2),
        *split_by_name(["angryface", "cat"], "oasis|0"),
        *split_by_name(["1.jpg", "9.jpg"], "coco|0", 0.1, 0.2),
    )
    assert pool.folders == frozenset()


def test_one_part(data: Path) -> None:
    pool = read_pool(["flickr8k", "oasis", "coco"], data)
    for part in ("train", "validation", "test"):
        some = pool.part(part)
        assert set(some.parts) <= {part}
        assert some.keys == tuple(pool.keys[n] for n in pool.rows(part))
    assert sum(len(pool.part(part)) for part in ("train", "validation", "test")) == len(pool)


def test_a_folder_of_yours(data: Path) -> None:
    own = data / "my pictures"
    (own / "day 1").mkdir(parents=True)
    for name in ("b.jpg", "a.PNG", "notes.txt", "day 1/c.webp", ".hidden.jpg"):
        (own / name).write_bytes(b"")
    pool = read_pool(["flickr8k", own], data)
    assert pool.keys[2:] == (
        *("my pictures/a.PNG", "my pictures/b.jpg", "my pictures/day 1/c.webp"),
    )
    assert pool.parts[2:] == ("train",) * 3
    assert pool.folders == {"my pictures"} == set(pool.of[2:])
    assert pool.part("train").folders == {"my pictures"}


def test_what_cannot_be_used_is_reported(data: Path) -> None:
    own = data / "mine"
    own.mkdir()
    (own / "a.jpg").write_bytes(b"")
    (own / "gone.jpg").symlink_to(own / "nowhere.jpg")
    said: list[str] = []
    assert len(read_pool([own], data, ReadOptions(report=said.append))) == 1
    assert said == [f"{own}/gone.jpg is left out: a link that leads nowhere"]


def test_what_is_no_pool(data: Path) -> None:
    (data / "empty").mkdir()
    (data / "other" / "oasis").mkdir(parents=True)
    (data / "other" / "oasis" / "1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="empty holds no picture"):
        read_pool([data / "empty"], data)
    for names, message in (
        ([], "a pool of nothing"),
        (["imagenet"], "neither a data set nor a folder imagenet"),
        (["renders"], "pictures of renders are made, not files"),
        (["flickr8k", "flickr8k"], "two of the pool are called flickr8k"),
        (["oasis", data / "other" / "oasis"], "two of the pool are called oasis"),
    ):
        with pytest.raises(UsageError, match=message):
            read_pool(names, data)


def test_the_real_training_parts(tmp_path: Path) -> None:
    for name in ("flickr8k", "coco", "oasis"):
        unpack(name, tmp_path, contents=False)
    pool = read_pool(["flickr8k", "oasis", "coco"], tmp_path).part("train")
    assert Counter(pool.of) == {"flickr8k": 814, "oasis": 526, "coco": 220}
