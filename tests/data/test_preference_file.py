"""The file of preference data: written, read again, moved to another root, and damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgrank.data.preferences import Preferences, lines, read_preferences
from imgrank.errors import DataError

KEYS = ("flickr8k/a.jpg", "flickr8k/b.jpg", "mine/c.jpg", "mine/day 1/d.jpg", "mine/e.jpg")
PLACES = {key: key.replace("flickr8k/", "flickr8k/images/") for key in KEYS}


def made(values: bool = False) -> Preferences:
    """Two queries of 2 x 2 pictures; by their scores, or by values."""
    scores = np.array([[[5.0, 4.25], [6.0, 3.5]], [[3.5, 3.5], [6.0, 4.25]]])
    return Preferences(
        queries=("a dog\u2028at night", 'a "cat"'),
        rephrased=("a dog, a dog", 'a "cat"'),
        pictures=(),
        keys=KEYS,
        digests=tuple(sha256(key.encode()).hexdigest() for key in KEYS),
        matrix=np.array([[[0, 1], [2, 3]], [[4, 3], [2, 1]]]),
        cosines=np.array([[[0.2, 0.3], [0.2, -0.05]], [[0.000001, 0.5], [0.0, -0.5]]]),
        scores=-scores if values else scores,
        values=scores if values else None,
        facts={
            "model": {"name": "tiny"},
            "pool": [{"name": "flickr8k", "folder": False}, {"name": "mine", "folder": True}],
        },
    )


def written(folder: Path, preferences: Preferences) -> Path:
    path = folder / "preferences.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines(preferences)), encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the pictures lie: each holds its own key."""
    folder = tmp_path / "data"
    for key, place in PLACES.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(key.encode())
    rows = "".join(f"images/{name}.jpg,One .\n" for name in "ab")
    (folder / "flickr8k" / "captions.csv").write_text(f"filepath,caption\n{rows}")
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path, made())


# ---- there and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [False, True])
def test_what_is_written_is_read(tmp_path: Path, values: bool) -> None:
    wanted = made(values)
    found = read_preferences(written(tmp_path, wanted))
    for name in ("queries", "rephrased", "keys", "digests"):
        assert getattr(found, name) == getattr(wanted, name), name
    for name in ("matrix", "cosines", "scores"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name)), name
    assert (found.values is None) == (wanted.values is None)
    if values:
        assert found.values is not None
        assert found.values.tolist() == (-found.scores).tolist()
    assert found.pictures == ()
    assert dict(found.facts) == {
        **{"format": 1, "kind": "preferences", "queries": 2, "pictures": 5},
        **{"rows": 2, "columns": 2, "model": {"name": "tiny"}, "pool": wanted.facts["pool"]},
    }


def test_the_file_is_lines_of_json_that_people_can_read(file: Path, root: Path) -> None:
    head, *rest = map(json.loads, file.read_text(encoding="utf-8").strip("\n").split("\n"))
    assert list(head)[:6] == ["format", "kind", "queries", "pictures", "rows", "columns"]
    assert rest[0] == {"picture": "flickr8k/a.jpg", "sha256": made().digests[0]}
    assert rest[5] == {
        "query": "a dog\u2028at night",
        "rephrased": "a dog, a dog",
        "pictures": [["flickr8k/a.jpg", "flickr8k/b.jpg"], ["mine/c.jpg", "mine/day 1/d.jpg"]],
        "cosine": [[0.2, 0.3], [0.2, -0.05]],
        "score": [[5.0, 4.25], [6.0, 3.5]],
    }
    assert str(root) not in file.read_text(encoding="utf-8")


# ---- where the pictures are ----------------------------------------------------------------------


def test_the_pictures_are_found_below_any_root(file: Path, root: Path, tmp_path: Path) -> None:
    assert read_preferences(file, root).pictures == tuple(root / PLACES[key] for key in KEYS)
    moved = root.rename(tmp_path / "elsewhere")
    assert read_preferences(file, moved).pictures == tuple(moved / PLACES[key] for key in KEYS)


def test_a_set_may_have_another_layout_and_a_folder_be_a_link(
    file: Path, root: Path, tmp_path: Path
) -> None:
    (root / "flickr8k" / "images").rename(root / "flickr8k" / "Images")
    (root / "flickr8k" / "captions.csv").unlink()
    (root / "flickr8k" / "captions.txt").write_text("image,caption\nb.jpg,One\na.jpg,Two\n")
    (root / "mine").rename(tmp_path / "of another name")
    (root / "mine").symlink_to(tmp_path / "of another name")
    found = read_preferences(file, root).pictures
    assert found[0] == root / "flickr8k" / "Images" / "a.jpg"
    assert found[3] == root / "mine" / "day 1" / "d.jpg"


def test_a_renamed_picture_is_known_by_its_content(file: Path, root: Path) -> None:
    (root / "mine" / "day 1" / "d.jpg").rename(root / "mine" / "other.jpg")
    assert read_preferences(file, root).pictures[3] == root / "mine" / "other.jpg"


def test_a_folder_can_be_the_root_itself(tmp_path: Path, root: Path) -> None:
    wanted = made()
    mine = Preferences(
        **{
            **{name: getattr(wanted, name) for name in Preferences.__dataclass_fields__},
            "keys": tuple(key.replace("flickr8k", "mine") for key in KEYS),
            "facts": {"pool": [{"name": "mine", "folder": True}]},
        }
    )
    for name in "ab":
        (root / "flickr8k" / "images" / f"{name}.jpg").rename(root / "mine" / f"{name}.jpg")
    path = written(tmp_path, mine)
    for place in (root, root / "mine"):
        assert read_preferences(path, place).pictures[0] == root / "mine" / "a.jpg"


def test_pictures_that_are_gone_or_others(file: Path, root: Path) -> None:
    (root / "mine" / "c.jpg").write_bytes(b"another picture")
    message = rf"1 of 5 pictures are not below {root}, or are not the same any more: mine/c\.jpg\."
    with pytest.raises(DataError, match=message):
        read_preferences(file, root)
    (root / "flickr8k" / "images" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"2 of 5 .*: flickr8k/a\.jpg, mine/c\.jpg\."):
        read_preferences(file, root)
    (root / "mine").rename(root / "yours")
    with pytest.raises(DataError, match=f"about pictures of a folder mine, and there is no {root}"):
        read_preferences(file, root)


# ---- damaged -------------------------------------------------------------------------------------


def test_every_file_that_was_cut_short_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for size in range(0, len(whole), 19):
        file.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"preferences\.jsonl"):
            read_preferences(file)
    file.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"line 8 is cut off\. Make or copy it again"):
        read_preferences(file)
    file.write_bytes(whole[: whole[:-1].rindex(b"\n") + 1])
    with pytest.raises(DataError, match="has 7 lines, and 8 by its first: 5 pictures"):
        read_preferences(file)


def put(table: list[dict[str, Any]], name: str, value: object) -> None:
    """The first cell of a matrix of the first query."""
    table[6][name][0][0] = value


Change = Callable[[list[dict[str, Any]]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[0].update(kind="recipe"), "is no preference file: `imgrank data preferences`"),
        (lambda t: t[0].update(format=2), "is of format 2, and this version knows 1. Upgrade"),
        (lambda t: t[0].update(queries=1), "has 8 lines, and 7 by its first"),
        (lambda t: t[0].update(rows="2"), "line 1: rows is '2', no number from 1 up"),
        (lambda t: t[0].update(rows=1, columns=1), "line 1: a matrix of one picture holds no"),
        (lambda t: t[0].update(columns=True), "line 1: columns is True"),
        (lambda t: t[0].update(pool=[{"folder": True}]), "line 1: pool is no list of sets"),
        (lambda t: t[1].update(picture=""), "line 2: picture is '', no text"),
        (lambda t: t[1].pop("sha256"), "line 2: sha256 is None, no text"),
        (lambda t: t[1].update(size=3), "line 2: an unknown field size; a later version may know"),
        (lambda t: t[2].update(picture=KEYS[0]), "lists a picture twice"),
        (lambda t: t[6].update(query=7), "line 7: query is 7, no text"),
        (lambda t: t[6].update(votes=[1]), "line 7: an unknown field votes"),
        (lambda t: t[7].update(value=t[7]["score"]), "line 8: an unknown field value"),
        (lambda t: t[6]["pictures"].pop(), "line 7: pictures is no matrix of 2 rows and 2 columns"),
        (lambda t: t[6]["score"][1].append(1), "line 7: score is no matrix of 2 rows"),
        (lambda t: t[6].pop("cosine"), "line 7: cosine is no matrix"),
        (lambda t: t[6].update(score=[5, 4, 6, 3]), "line 7: score is no matrix"),
        (lambda t: put(t, "pictures", KEYS[1]), "line 7: a picture stands twice in one matrix"),
        (lambda t: put(t, "pictures", "x"), "line 7: a picture that is not listed: 'x"),
        (lambda t: put(t, "pictures", 3), "line 7: a picture that is not listed: 3"),
        (lambda t: put(t, "pictures", []), r"line 7: a picture that is not .*: \[\]"),
        (lambda t: put(t, "score", None), "line 7: score holds what is no number"),
        (lambda t: put(t, "score", True), "line 7: score holds what is no number"),
        (lambda t: put(t, "cosine", 1e999), "line 7: cosine holds what is no number"),
        (lambda t: put(t, "cosine", 10**400), "line 7: cosine holds what is no number"),
        (lambda t: t[7]["score"][1].reverse(), "line 8: a row is not sorted by its scores"),
        (lambda t: t[7]["cosine"].reverse(), "line 8: rows out of order of cosine"),
    ],
)
def test_what_does_not_hold_is_named(file: Path, change: Change, message: str) -> None:
    table = list(map(json.loads, file.read_text(encoding="utf-8").strip("\n").split("\n")))
    change(table)
    file.write_text("".join(f"{json.dumps(line)}\n" for line in table))
    with pytest.raises(DataError, match=message):
        read_preferences(file)


def test_what_is_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "preferences.jsonl"
    with pytest.raises(DataError, match=r"preferences\.jsonl cannot be read"):
        read_preferences(path)
    for data in (b"", b"\n", b"[]\n", b"query\n", b'{"kind": "preferences"'):
        path.write_bytes(data)
        with pytest.raises(DataError, match="is no preference file"):
            read_preferences(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="this is no UTF-8"):
        read_preferences(path)
    path.write_text('{"format": 1, "kind": "preferences", "queries": 0}\n')
    with pytest.raises(DataError, match="queries is 0, no number from 1 up"):
        read_preferences(path)
    texts = list(lines(made()))
    path.write_text("\n".join([*texts[:3], "{}", *texts[4:6], "[1]", texts[7], ""]))
    with pytest.raises(DataError, match="line 4: picture is None, no text"):
        read_preferences(path)
    path.write_text("\n".join([*texts[:6], "[1]", texts[7], ""]))
    with pytest.raises(DataError, match="line 7: no line of a preference file"):
        read_preferences(path)
