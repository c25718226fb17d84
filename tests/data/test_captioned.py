"""Sets with captions: every layout on made-up folders, the splits, what is wrong; the real ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from shared_data import unpack

from imgrank.data.captions import read_captioned
from imgrank.data.catalogue import about
from imgrank.data.labelled import ReadOptions
from imgrank.data.split import split_by_name
from imgrank.errors import DataError, UsageError

TOKENS = (
    "1.jpg#0\tA dog runs .\n1.jpg#1\tA brown dog .\n"
    "odd.jpg.1#0\tNobody has this picture .\n"
    "2.jpg#0\tTwo girls , one bicycle .\n"
)


def pictures(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


# ---- flickr8k ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt"])
@pytest.mark.parametrize("folder", ["Flicker8k_Dataset", "Flickr8k_Dataset", "."])
def test_flickr8k_as_published(tmp_path: Path, place: str, folder: str) -> None:
    pictures(tmp_path / folder, "1.jpg", "2.jpg")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(TOKENS)
    data = read_captioned("flickr8k", tmp_path)
    assert data.paths == (tmp_path / folder / "1.jpg", tmp_path / folder / "2.jpg")
    assert data.keys == ("flickr8k/1.jpg", "flickr8k/2.jpg")
    assert data.captions == (("A dog runs .", "A brown dog ."), ("Two girls , one bicycle .",))
    assert (data.name, data.published) == ("flickr8k", 8091)


def test_flickr8k_as_it_is_passed_on(tmp_path: Path) -> None:
    pictures(tmp_path / "Images", "1.jpg", "2.jpg")
    (tmp_path / "captions.txt").write_text(
        'image,caption\n1.jpg,A dog runs .\n2.jpg,"Two girls , one bicycle ."\n2.jpg,Two , or 3\n'
    )
    data = read_captioned("flickr8k", tmp_path)
    assert data.paths == (tmp_path / "Images" / "1.jpg", tmp_path / "Images" / "2.jpg")
    assert data.captions == (("A dog runs .",), ("Two girls , one bicycle .", "Two , or 3"))


def test_a_part_of_flickr8k_has_each_picture_in_the_same_part(tmp_path: Path) -> None:
    names = [f"{n}.jpg" for n in range(200)]
    pictures(tmp_path / "whole" / "flickr8k", *names)
    (tmp_path / "whole" / "flickr8k" / "Flickr8k.token.txt").write_text(
        "".join(f"{name}#0\tOne .\n" for name in names)
    )
    pictures(tmp_path / "part" / "flickr8k" / "images", *names[:50])
    (tmp_path / "part" / "flickr8k" / "captions.csv").write_text(
        "filepath,caption\n" + "".join(f"images/{name},One .\n" for name in names[:50])
    )
    whole, part = (read_captioned("flickr8k", tmp_path / each) for each in ("whole", "part"))
    assert part.keys == whole.keys[:50]
    assert part.parts == whole.parts[:50]
    assert whole.parts == tuple(split_by_name(names, "flickr8k|0", 0.1, 0.2))
    shares = Counter(whole.parts)
    assert 120 < shares["train"] < 160
    assert 5 < shares["validation"] < shares["test"]
    assert [whole.keys[n] for n in whole.rows("validation")] == [
        key for key, own in zip(whole.keys, whole.parts, strict=True) if own == "validation"
    ]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("Flickr8k.token.txt", "1.jpg A dog .\n", r"token.txt, line 1: no NAME#NUMBER, tab"),
        ("Flickr8k.token.txt", "1.jpg#0\tA dog .\n1.jpg#1\t \n", "line 2: no NAME#NUMBER"),
        ("Flickr8k.token.txt", "", "captions name no picture"),
        ("captions.txt", "image,caption\n1.jpg, \n", r"captions.txt, line 2: no caption"),
        ("captions.csv", "filepath,text\n1.jpg,A dog\n", "has no column caption"),
        ("captions.csv", "filepath,caption\n1.jpg,A dog, red\n", "line 2: too many cells. Quote"),
        ("captions.csv", "filepath,caption\n,A dog\n", r"captions.csv, line 2: no filepath"),
        ("captions.csv", "filepath,caption\n2.jpg,A dog\n", "none of its 1 pictures is there"),
        ("other.txt", "", "holds none of Flickr8k.token.txt, captions.txt and captions.csv"),
    ],
)
def test_what_is_wrong_with_flickr8k(tmp_path: Path, file: str, text: str, message: str) -> None:
    pictures(tmp_path / "flickr8k", "1.jpg")
    (tmp_path / "flickr8k" / file).write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_captioned("flickr8k", tmp_path)
    assert str(caught.value).endswith("`imgrank data list flickr8k` says how to lay it out.")


# ---- coco ----------------------------------------------------------------------------------------


def annotations(root: Path, part: str, *pairs: tuple[str, str]) -> None:
    (root / "annotations").mkdir(exist_ok=True)
    numbers = {name: n for n, (name, _) in enumerate(pairs)}
    whole = {
        "info": {"year": 2017},
        "images": [{"id": n, "file_name": name} for name, n in numbers.items()],
        "annotations": [
            {"id": n, "image_id": numbers[name], "caption": text}
            for n, (name, text) in enumerate(pairs)
        ],
    }
    (root / "annotations" / f"captions_{part}2017.json").write_text(json.dumps(whole))


def test_coco_as_published(tmp_path: Path) -> None:
    names = [f"{n:012}.jpg" for n in range(300)]
    pictures(tmp_path / "coco" / "train2017", *names)
    pictures(tmp_path / "coco" / "val2017", "7.jpg")
    annotations(tmp_path / "coco", "train", *((name, " A room.\n") for name in names))
    annotations(tmp_path / "coco", "val", ("7.jpg", "A cat."), ("7.jpg", "A grey cat."))
    data = read_captioned("coco", tmp_path)
    assert data.captions[0] == ("A room.",)
    assert data.captions[-1] == ("A cat.", "A grey cat.")
    assert data.parts == (*split_by_name(names, "coco|0", 0.02, 0), "test")
    assert data.keys[-1] == "coco/7.jpg"
    assert data.paths[-1] == tmp_path / "coco" / "val2017" / "7.jpg"
    other = read_captioned("coco-captions", tmp_path / "coco")
    assert (other.name, other.keys, other.published) == ("coco", data.keys, 123_287)


def test_a_part_of_coco(tmp_path: Path) -> None:
    pictures(tmp_path / "images", "1.jpg", "2.jpg")
    (tmp_path / "captions.csv").write_text(
        "filepath,caption\nimages/2.jpg,A cat.\nimages/1.jpg,A dog.\nimages/2.jpg,A grey cat.\n"
    )
    data = read_captioned("coco", tmp_path)
    assert data.keys == ("coco/2.jpg", "coco/1.jpg")
    assert data.captions == (("A cat.", "A grey cat."), ("A dog.",))
    assert data.parts == tuple(split_by_name(["2.jpg", "1.jpg"], "coco|0", 0.1, 0.2))


def test_what_is_wrong_with_coco(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    pictures(root / "train2017", "1.jpg")
    with pytest.raises(DataError, match=r"holds neither annotations/ nor captions.csv"):
        read_captioned("coco", tmp_path)
    annotations(root, "train", ("1.jpg", "A dog."))
    with pytest.raises(DataError, match=r"captions_val2017.json is missing \(--partial"):
        read_captioned("coco", tmp_path)
    said: list[str] = []
    partial = ReadOptions(partial=True, report=said.append)
    assert read_captioned("coco", tmp_path, partial).captions == (("A dog.",),)
    assert len(said) == 1
    file = root / "annotations" / "captions_val2017.json"
    file.write_text('{"images": [')
    with pytest.raises(DataError, match=r"captions_val2017.json is damaged or cut off"):
        read_captioned("coco", tmp_path)
    for text in ('{"images": []}', "[]", '{"images": [{}], "annotations": []}'):
        file.write_text(text)
        with pytest.raises(DataError, match="is no file of COCO's captions"):
            read_captioned("coco", tmp_path)


# ---- your own ------------------------------------------------------------------------------------


def test_a_folder_of_yours_with_its_own_split(tmp_path: Path) -> None:
    pictures(tmp_path / "day 1", "1.jpg", "2.jpg")
    pictures(tmp_path, "3.jpg")
    file = tmp_path / "captions.csv"
    file.write_text(
        "filepath,caption,split\nday 1/1.jpg,the beach,train\n3.jpg,a hut,test\n"
        f"{tmp_path}/day 1/2.jpg,the sea,validation\nday 1/1.jpg,sand,train\n"
    )
    for root in (tmp_path, file):
        data = read_captioned("captions", root)
        assert [path.name for path in data.paths] == ["1.jpg", "3.jpg", "2.jpg"]
        assert data.parts == ("train", "test", "validation")
        assert data.captions[0] == ("the beach", "sand")
        assert data.keys[:2] == ("captions/day 1/1.jpg", "captions/3.jpg")
        assert data.published == 0


def test_a_folder_of_yours_without_a_split_is_split_by_name(tmp_path: Path) -> None:
    names = [f"{n}.jpg" for n in range(40)]
    pictures(tmp_path, *names)
    lines = [f"{name},text {name}\n" for name in names]
    (tmp_path / "captions.csv").write_text("filepath,caption\n" + "".join(lines))
    data = read_captioned("captions", tmp_path)
    assert data.parts == tuple(split_by_name(names, "captions|0", 0.1, 0.2))
    (tmp_path / "captions.csv").write_text("filepath,caption\n" + "".join(lines[::-2]))
    fewer = read_captioned("captions", tmp_path)
    part = dict(zip(data.keys, data.parts, strict=True))
    assert fewer.parts == tuple(part[key] for key in fewer.keys)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1.jpg,a,training\n", "line 2: split is 'training', none of train, validation, test"),
        ("1.jpg,a,train\n1.jpg,b,test\n", "line 3: the split of 1.jpg is 'test', and 'train' be"),
        ("1.jpg,a,train\n2.jpg,b,train\n", "1 of 2 pictures are missing"),
    ],
)
def test_what_is_wrong_with_a_folder_of_yours(tmp_path: Path, rows: str, message: str) -> None:
    pictures(tmp_path / "captions", "1.jpg")
    (tmp_path / "captions" / "captions.csv").write_text("filepath,caption,split\n" + rows)
    with pytest.raises(DataError, match=message):
        read_captioned("captions", tmp_path)


# ---- which set, and where ------------------------------------------------------------------------


def test_an_absent_set_says_where_to_get_it(tmp_path: Path) -> None:
    for name, entry in (("flickr8k", "flickr8k"), ("coco", "coco-captions")):
        for root in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(DataError) as caught:
                read_captioned(name, root)
            assert about(entry).title in str(caught.value)
            assert f"imgrank data list {entry}" in str(caught.value)


def test_a_set_without_captions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="oasis has no captions here; flickr8k, coco, captions"):
        read_captioned("oasis", tmp_path)


def test_the_real_parts(tmp_path: Path) -> None:
    for name in ("flickr8k", "coco"):
        unpack(name, tmp_path, contents=False)
    flickr, coco = (read_captioned(name, tmp_path) for name in ("flickr8k", "coco"))
    assert (len(flickr), len(coco)) == (1164, 116)
    assert Counter(flickr.parts) == {"train": 814, "validation": 114, "test": 236}
    assert {len(captions) for captions in (*flickr.captions, *coco.captions)} == {5}
