"""`imgrank data preferences`: what the file holds is what searches and scores of a user say."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Run, command_line
from PIL import Image

import imgrank
from imgrank.data.captions import read_captioned
from imgrank.data.oasis import parts_of
from imgrank.data.pool import read_pool
from imgrank.data.preferences import read_preferences
from imgrank.llm.rephrasing import repeated

THEMES = ("Angry_face", "Cat", "Dog", "Garbage_dump", "Lake", "Sunset", "Yarn", "Zebra")


def picture(path: Path, seed: object) -> Path:
    """A few rectangles of random colours: no two embeddings are alike."""
    draw = random.Random(str(seed))
    image = Image.new("RGB", (48, 40), tuple(draw.randbytes(3)))
    for _ in range(4):
        corner = (draw.randrange(40), draw.randrange(30))
        image.paste(tuple(draw.randbytes(3)), (*corner, corner[0] + 12, corner[1] + 9))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Flickr8k with 24 pictures of two captions each, OASIS with 16 of 8 themes."""
    root = tmp_path / "data"
    rows = []
    for n in range(24):
        picture(root / "flickr8k" / "images" / f"{n}.png", n)
        rows += [f"images/{n}.png,A thing number {n} .", f'images/{n}.png,"Some , of {n % 3} ."']
    (root / "flickr8k" / "captions.csv").write_text("filepath,caption\n" + "\n".join(rows))
    names = [f"{theme}_{n}.png" for theme in THEMES for n in (1, 2)]
    for name in names:
        picture(root / "oasis" / "images" / name, name)
    (root / "oasis" / "labels.csv").write_text(
        "filepath,beauty_mean\n" + "".join(f"images/{name},4\n" for name in names)
    )
    return root


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, "data", "preferences", "--device", "cpu")


def table(path: Path) -> list[dict[str, Any]]:
    return list(map(json.loads, path.read_text(encoding="utf-8").strip("\n").split("\n")))


def slowly(
    root: Path, query: str, stride: int, u: int, v: int, weight: float | None = None
) -> tuple[list[list[str]], dict[str, float], dict[str, float]]:
    """The matrix of one query, its cosines and its scores, by what a user can ask of imgrank."""
    pool = read_pool(["flickr8k", "oasis"], root).part("train")
    key = dict(zip(pool.paths, pool.keys, strict=True))
    found = imgrank.search(pool.paths, query, top=None)
    cosine = {key[row.path]: row.score for row in found}
    scored = imgrank.sort(pool.paths, "by aesthetics")
    score = {key[row.path]: row.score for row in scored}
    order = sorted(cosine, key=lambda name: (-cosine[name], name))
    value = dict(score)
    if weight is not None:
        c, s = np.array([[table[name] for name in order] for table in (cosine, score)])
        both = (c - c.mean()) / c.std() + weight * (s - s.mean()) / s.std()
        value = dict(zip(order, both.tolist(), strict=True))
    chosen = order[::stride][: u * v]
    rows = [chosen[n : n + v] for n in range(0, u * v, v)]
    return [sorted(row, key=lambda name: -value[name]) for row in rows], cosine, score


def test_a_file_holds_what_searches_and_scores_say(run: Run, data: Path, tmp_path: Path) -> None:
    done = run("--pool", "flickr8k", "--pool", "oasis", "--root", data, "--out", "p.jsonl")
    assert done.exit_code == 0, done.output
    captioned = read_captioned("flickr8k", data)
    n, parts = len(captioned.rows("train")), parts_of([Path(f"{t}_1.png") for t in THEMES])
    themes = [
        t.replace("_", " ").lower() for t, p in zip(THEMES, parts, strict=True) if p == "train"
    ]
    pictures = n + 2 * len(themes)
    found = read_preferences(tmp_path / "p.jsonl", data)
    assert set(found.keys) <= set(read_pool(["flickr8k", "oasis"], data).part("train").keys)
    things = [f"A thing number {captioned.paths[row].stem}" for row in captioned.rows("train")]
    assert sorted(found.queries) == sorted([*things, *(f"Some, of {n}" for n in range(3)), *themes])
    assert found.rephrased == found.queries
    assert found.matrix.shape == (len(found.queries), 5, 5)
    assert 25 <= pictures < 50
    for query in (0, len(found) // 2, len(found) - 1):
        matrix, cosine, score = slowly(data, found.queries[query], 1, 5, 5)
        mine = np.array(found.keys, dtype=object)[found.matrix[query]]
        assert mine.tolist() == matrix
        for row, column in np.ndindex(5, 5):
            name = mine[row, column]
            assert found.cosines[query, row, column] == pytest.approx(cosine[name], abs=2e-6)
            assert found.scores[query, row, column] == pytest.approx(score[name], rel=1e-6)
    lines = done.stderr.splitlines()
    assert f"{len(found)} queries; a pool of {pictures} pictures (train part)" in lines
    assert any("the stride is 1 instead of 10" in line for line in lines)
    assert done.stdout == ""


def test_a_second_run_computes_nothing_and_writes_the_same(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("--pool", "oasis", "--pool", "flickr8k", "--root", data, "--rephrase", "repeat")
    line += ("--limit", "6", "--rerank-weight", "1.25", "--rows", "4", "--columns", "3")
    assert run(*line, "--out", "1.jsonl").exit_code == 0

    def no_more(*_: object) -> None:
        raise AssertionError("a model was asked again")

    monkeypatch.setattr("imgrank.rankers.source.BackboneSource.compute", no_more)
    monkeypatch.setattr("imgrank.rankers.source.BackboneSource._said", no_more)
    assert run(*line, "--out", "2.jsonl").exit_code == 0
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()
    found = read_preferences(tmp_path / "1.jsonl", data)
    assert len(found) == 6
    assert found.rephrased == tuple(map(repeated, found.queries))
    assert found.values is not None
    matrix, _, _ = slowly(data, found.rephrased[0], 2, 4, 3, weight=1.25)
    assert np.array(found.keys, dtype=object)[found.matrix[0]].tolist() == matrix
    assert (found.facts["top"], found.facts["stride"], found.facts["pairs"]) == (
        *(len(read_pool(["oasis", "flickr8k"], data).part("train")), 2, 30),
    )


def test_the_first_line_says_how_it_was_made(run: Run, data: Path, tmp_path: Path) -> None:
    line = ("--pool", "flickr8k", "--root", data, "--queries-from", "oasis", "--query", "a wolf")
    done = run(*line, "--part", "train", "--rows", "2", "--columns", "2", "--out", "p.jsonl")
    assert done.exit_code == 0, done.output
    head = table(tmp_path / "p.jsonl")[0]
    assert head["model"]["name"] == "tiny"
    config = json.loads(
        (Path(imgrank.__file__).parent / "weights/tiny-l2r-aesthetic/config.json").read_text()
    )
    assert head["model"]["digest"] == config["backbone"]["digest"]
    assert head["model"]["checkpoint"] is None
    assert head["rerank"]["name"] == "tiny-l2r-aesthetic"
    assert (head["rerank"]["trained_on"], head["rerank"]["weight"]) == (["oasis"], None)
    train = len(read_captioned("flickr8k", data).rows("train"))
    assert head["stride"] == min(10, train // 4)
    assert head["wanted"] == {"top": 400, "stride": 10, "rows": 2, "columns": 2}
    assert head["asked"]["given"] == 1
    assert head["asked"]["sets"] == ["oasis"]
    assert head["rephrase"] == {
        **{"method": "none", "words": None, "model": None},
        "plain": head["queries"],
    }
    (pool,) = head["pool"]
    assert (pool["name"], pool["part"], pool["pictures"]) == ("flickr8k", "train", train)
    assert (
        pool["used"]
        == head["pictures"]
        == sum("picture" in each for each in table(tmp_path / "p.jsonl"))
    )
    assert table(tmp_path / "p.jsonl")[1 + head["pictures"]]["query"] == "a wolf"
    assert str(tmp_path) not in (tmp_path / "p.jsonl").read_text()


def test_a_folder_of_yours_with_a_copy_and_a_broken_file(run: Run, tmp_path: Path) -> None:
    for name in "abcdef":
        picture(tmp_path / "mine" / f"{name}.png", name)
    (tmp_path / "mine" / "copy.png").write_bytes((tmp_path / "mine" / "b.png").read_bytes())
    (tmp_path / "mine" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "queries.txt").write_text("a blue square\nA Blue  Square\nsomething red\n")
    done = run("--pool", "mine", "--queries", "queries.txt", "--out", "p.jsonl")
    assert done.exit_code == 0, done.output
    assert "1 pictures have the content of another one and are left out" in done.stderr
    assert "skipped mine/broken.jpg" in done.stderr
    assert "a matrix is 2 x 3 instead of 5 x 5, 9 pairs a query instead of 100" in done.stderr
    found = read_preferences(tmp_path / "p.jsonl", tmp_path)
    assert found.queries == ("a blue square", "something red")
    assert found.keys == tuple(f"mine/{name}.png" for name in ("a", "b", "c", "d", "e", "f"))
    assert found.facts["pool"][0]["folder"] is True


def test_an_interrupt_keeps_what_was_computed_and_leaves_no_file(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("--pool", "flickr8k", "--root", data, "--out", "p.jsonl")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("imgrank.train.preferences._embedded", stop)
        done = run(*line)
    assert done.exit_code == 130
    assert [path.name for path in tmp_path.iterdir() if "jsonl" in path.name] == []
    monkeypatch.setattr("imgrank.rankers.source.BackboneSource.compute", stop)
    assert run(*line).exit_code == 0


@pytest.mark.parametrize("shape", [(1, 6), (6, 1)])
def test_one_order_alone(run: Run, data: Path, tmp_path: Path, shape: tuple[int, int]) -> None:
    """The paper's table 7: only the order of beauty, or only that of relevance."""
    rows, columns = map(str, shape)
    line = ("--pool", "flickr8k", "--pool", "oasis", "--root", data, "--query", "a dog")
    done = run(*line, "--stride", "1", "--rows", rows, "--columns", columns, "--out", "p.jsonl")
    assert done.exit_code == 0, done.output
    found = read_preferences(tmp_path / "p.jsonl", data)
    assert found.matrix.shape == (1, *shape)
    matrix, _, _ = slowly(data, "a dog", 1, *shape)
    assert np.array(found.keys, dtype=object)[found.matrix[0]].tolist() == matrix


def test_what_is_refused(run: Run, data: Path, tmp_path: Path) -> None:
    folder = picture(tmp_path / "mine" / "a.png", 1).parent
    (tmp_path / "there.jsonl").write_text("mine")
    line = ("--pool", folder, "--out")
    done = run(*line, "there.jsonl", "--query", "a dog")
    assert (done.exit_code, (tmp_path / "there.jsonl").read_text()) == (2, "mine")
    assert "there.jsonl exists already; imgrank overwrites nothing" in done.stderr
    for more, status, message in (
        ((), 2, "which queries? This pool has no captions: --query TEXT, --queries FILE"),
        (("--query", "a dog"), 3, "a pool of 1 pictures is too small: 4 are needed at least"),
        (("--query", "a dog", "--part", "test"), 3, "no picture of the pool is in the test part"),
        (("--query", " "), 2, "--query: no words"),
        (("--queries-from", "koniq"), 2, "koniq has no captions here"),
    ):
        done = run(*line, "p.jsonl", *more)
        assert (done.exit_code, done.stdout) == (status, ""), (more, done.output)
        assert message in done.stderr
        assert not (tmp_path / "p.jsonl").exists()
    for name in "bcd":
        picture(tmp_path / "mine" / f"{name}.png", name)
    for more, status, message in (
        (("--rerank", "no-such"), 3, "no-such"),
        (("--model", "tiny-quality"), 2, "tiny-quality answers what it was trained for"),
        (("--rephrase", "k_list"), 2, "no language model is named"),
    ):
        done = run(*line, "p.jsonl", "--query", "a dog", *more)
        assert (done.exit_code, done.stdout) == (status, ""), (more, done.output)
        assert message in done.stderr
        assert not (tmp_path / "p.jsonl").exists()
