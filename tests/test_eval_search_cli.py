"""`imgrank eval` of search as a user meets it: beauty-search, captions, classes, HPIR."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from command_line import Run, command_line
from PIL import Image, ImageDraw
from search_checkpoints import search_checkpoint

from imgrank import score, search
from imgrank.data.oasis import parts_of

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
WEIGHTS = Path(__file__).parents[1] / "imgrank" / "weights"
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "orange", "purple", "pink", "grey")
K = 3


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch, "eval")


def found(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def picture(path: Path, colour: str, shape: str = "ellipse") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (64, 64), "lightgrey")
    getattr(ImageDraw.Draw(image), shape)((10, 14, 50, 54), fill=colour)
    image.save(path)


def figures(table: dict[str, Any], queries: str, pool: str = "", kind: str = "model") -> Any:
    """The figures of the first row of a kind."""
    (sheet,) = [t for t in table["tables"] if (t["queries"], t["pool"]) == (queries, pool)]
    return next(row["figures"] for row in sheet["rows"] if row["kind"] == kind)


# ---- captions ------------------------------------------------------------------------------------


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    root = tmp_path / "data" / "captions"
    lines = ["filepath,caption,split"]
    for n, colour in enumerate(COLOURS):
        picture(root / f"{colour}.png", colour)
        part = "test" if n < 6 else "train"
        lines += [f"{colour}.png,a {colour} ball,{part}", f"{colour}.png,a round thing,{part}"]
    (root / "captions.csv").write_text("\n".join(lines) + "\n")
    return root


def test_recall_of_captions_agrees_with_what_a_search_shows(run: Run, captions: Path) -> None:
    table = found(run("--data", "captions", "--root", captions, "-f", "json", "--rounds", "20"))
    assert (table["part"], [each["model"] for each in table["models"]]) == ("test", ["tiny"])
    paths = [captions / f"{colour}.png" for colour in COLOURS[:6]]
    hits = 0
    for colour in COLOURS[:6]:
        first = search(paths, f"a {colour} ball", top=1)[0]
        hits += first.path == captions / f"{colour}.png"
    hits += 1  # of the six captions that are all alike one finds its picture
    recall = figures(table, "text to image")["recall@1"]
    assert recall["value"] == pytest.approx(hits / 12)
    assert recall["interval"][0] <= recall["value"] <= recall["interval"][1]
    assert figures(table, "text to image")["recall@10"]["value"] == 1
    assert figures(table, "text to image", kind="chance")["recall@5"]["value"] == 5 / 6
    # A caption that all pictures have never stands behind another picture's copy of it.
    assert figures(table, "image to text")["recall@1"]["value"] <= 1


def test_a_picture_that_cannot_be_read_is_left_out(run: Run, captions: Path) -> None:
    (captions / "red.png").write_bytes(b"no picture")
    result = run("--data", "captions", "--root", captions, "-f", "json", "--rounds", "5")
    table = found(result)
    assert [sheet["n"] for sheet in table["tables"]] == [10, 5]
    assert [each["path"] for each in table["skipped"]] == [str(captions / "red.png")]
    assert "1 skipped" in result.stderr


def test_nothing_is_computed_twice(run: Run, captions: Path) -> None:
    first = run("--data", "captions", "--root", captions)
    assert "6 computed, 0 known" in first.stderr
    again = run("--data", "captions", "--root", captions)
    assert "0 computed, 6 known" in again.stderr
    assert again.stdout == first.stdout


def test_a_pipe_gets_a_line_a_figure(run: Run, captions: Path) -> None:
    result = run("--data", "captions", "--root", captions.parent, "--rounds", "5")
    rows = list(csv.DictReader(io.StringIO(result.stdout), delimiter="\t"))
    assert {row["kind"] for row in rows} == {"model", "chance"}
    assert [row["figure"] for row in rows[:3]] == ["recall@1", "recall@5", "recall@10"]
    assert (rows[0]["n"], rows[0]["pictures"], rows[0]["queries"]) == ("12", "6", "text to image")


def test_an_empty_part(run: Run, captions: Path) -> None:
    result = run("--data", "captions", "--root", captions, "--part", "validation")
    assert result.exit_code == 2
    assert "nothing in its validation part. Pictures by part: train 4, test 6." in result.stderr


# ---- beauty-search -------------------------------------------------------------------------------


def themes(part: str, count: int) -> list[str]:
    """Made-up theme names of one part of OASIS."""
    names = (f"{colour} {thing}" for thing in ("ball", "box", "dot") for colour in COLOURS)
    return [name for name in names if parts_of([Path(f"{name} 1.jpg")]) == [part]][:count]


@pytest.fixture
def sets(captions: Path) -> Path:
    """A folder with `captions` and `oasis`: two test themes of two pictures, one for training."""
    root = captions.parent
    lines = ["filepath,beauty_mean"]
    names = [*themes("test", 2), *themes("train", 1)]
    assert len(names) == 3
    for n, name in enumerate(names):
        for number in (1, 2):
            file = f"images/{name.replace(' ', '_').capitalize()}_{number}.png"
            picture(
                root / "oasis" / file,
                name.split()[0],
                "rectangle" if number > 1 else "rounded_rectangle",
            )
            lines.append(f"{file},{2 + n + number / 2}")
    (root / "oasis" / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def beauty(run: Run, root: Path, *more: object) -> Result:
    pool = ("--pool", "captions", "--pool", "oasis", "--top", K, "--rounds", 20)
    return run("--data", "beauty-search", "--root", root, *pool, *more)


def test_beauty_of_what_a_search_shows(run: Run, sets: Path) -> None:
    table = found(beauty(run, sets, "-f", "json", "--rerank-first", 4))
    assert table["pool"] == {"captions": 6, "oasis": 4}
    rated = {}
    for line in (sets / "oasis" / "labels.csv").read_text().splitlines()[1:]:
        name, value = line.split(",")
        rated[sets / "oasis" / name] = float(value)
    test = themes("test", 2)
    paths = [p for p in rated if p.stem.rsplit("_", 1)[0].lower().replace("_", " ") in test]
    assert len(paths) == 4
    predicted = score(paths, "by aesthetic quality", options=None)
    beautiful = {p: row[0] for p, row in zip(predicted.paths, predicted.scores, strict=True)}
    for kind, stages in (
        ("model", {}),
        ("two stages", {"rerank": "tiny-l2r-aesthetic", "rerank_first": 4}),
    ):
        human, machine, share = [], [], []
        for name in test:
            shown = [row.path for row in search(paths, name, top=K, **stages)]
            human.append(np.mean([rated[path] for path in shown]))
            machine.append(np.mean([beautiful[path].value for path in shown]))
            own = [path for path in shown if path.stem.lower().startswith(name.replace(" ", "_"))]
            share.append(len(own) / 2)
        row = figures(table, "theme names", "oasis", kind)
        assert row["human@3"]["value"] == pytest.approx(np.mean(human))
        assert row["predicted@3"]["value"] == pytest.approx(np.mean(machine), abs=1e-6)
        assert row["theme@3"]["value"] == pytest.approx(np.mean(share))
    chance = figures(table, "theme names", "oasis", "chance")
    assert chance["human@3"]["value"] == pytest.approx(np.mean([rated[p] for p in paths]))
    assert chance["theme@3"]["value"] == 3 / 4


def test_before_and_after(run: Run, sets: Path, tmp_path: Path) -> None:
    after = search_checkpoint(tmp_path / "after")
    result = beauty(run, sets, "--model", "tiny", "--model", after, "-f", "json")
    table = found(result)
    assert [each["model"] for each in table["models"]] == ["tiny", "after"]
    assert "oasis 4" in result.stderr
    sheets = {(sheet["queries"], sheet["pool"]): sheet for sheet in table["tables"]}
    assert list(sheets) == [
        ("captions of captions", "captions, oasis"),
        ("captions of captions", "oasis"),
        ("theme names", "oasis"),
        ("theme names", "captions, oasis"),
    ]
    for sheet in sheets.values():
        rows = {row["model"]: row["figures"] for row in sheet["rows"]}
        assert list(rows) == [
            *("tiny", "after", "tiny, two stages"),
            *("after less tiny", "tiny, two stages less tiny", "any order"),
        ]
        for name, figure in rows["after less tiny"].items():
            gap = rows["after"][name]["value"] - rows["tiny"][name]["value"]
            assert figure["value"] == pytest.approx(gap)
            for ends in (figure["interval"], figure["wide"]):
                assert ends[0] - 1e-9 <= figure["value"] <= ends[1] + 1e-9
    shown = beauty(run, sets, "--model", "tiny", "--model", after, "-f", "table").stdout
    assert "theme names over oasis: 2 queries, 4 pictures" in shown
    assert "of COCO it has seen nothing" not in shown.replace("\n", " ")  # no Flickr8k here


def test_any_order_of_few_pictures_finds_them_all(run: Run, sets: Path) -> None:
    pool = ("--pool", "captions", "--rounds", 5, "-f", "json")
    table = found(run("--data", "beauty-search", "--root", sets, *pool))
    row = figures(table, "captions of captions", "captions", "chance")
    assert row["recall@5"]["value"] == pytest.approx(5 / 6)
    assert row["recall@10"]["value"] == 1


def test_what_tiny_was_trained_on_is_said(run: Run, sets: Path) -> None:
    (sets / "captions").rename(sets / "flickr8k")  # parts by name: most of it is for training
    pool = ("--pool", "flickr8k", "--pool", "oasis", "--part", "train", "--rounds", 5)
    shown = run("--data", "beauty-search", "--root", sets, *pool, "-f", "table").stdout
    assert "of COCO it has seen nothing" in shown.replace("\n", " ")
    assert "captions of flickr8k over flickr8k, oasis" in shown


def test_a_model_less_itself_is_nothing(run: Run, sets: Path) -> None:
    table = found(beauty(run, sets, "--model", "tiny", "--model", "tiny", "-f", "json"))
    for sheet in table["tables"]:
        (row,) = [r for r in sheet["rows"] if r["model"] == "tiny (tiny) less tiny (tiny)"]
        for figure in row["figures"].values():
            assert figure == {"value": 0, "interval": [0, 0], "wide": [0, 0]}


def test_a_pool_with_nothing_to_ask(run: Run, sets: Path) -> None:
    result = run("--data", "beauty-search", "--root", sets, "--pool", PHOTOS)
    assert result.exit_code == 2
    assert "nothing to ask of the test part" in result.stderr


def test_a_model_without_words(run: Run, sets: Path) -> None:
    result = beauty(run, sets, "--model", "tiny-quality")
    assert result.exit_code == 2
    assert "tiny-quality answers what it was trained for, not words" in result.stderr


def test_figures_are_recorded_beside_the_backbone_s(run: Run, sets: Path, tmp_path: Path) -> None:
    after = search_checkpoint(tmp_path / "after")
    beautiful = WEIGHTS / "tiny-l2r-aesthetic"
    models = ("--model", "tiny", "--model", after, "--write", "-f", "json", "--partial")
    models += ("--rerank", beautiful)
    table = found(beauty(run, sets, *models))
    rows = json.loads((after / "config.json").read_text())["measured"]
    assert [row["data"] for row in rows] == [
        f"beauty-search, test part: {sheet['queries']} over {sheet['pool']}"
        for sheet in table["tables"]
    ]
    row = rows[2]
    before, now = (each["figures"]["human@3"] for each in table["tables"][2]["rows"][:2])
    gain = table["tables"][2]["rows"][3]["figures"]["human@3"]
    assert (row["human@3"], row["human@3_interval"]) == (now["value"], now["interval"])
    assert row["human@3_before"] == before["value"]
    assert (row["human@3_gain"], row["human@3_gain_interval"]) == (gain["value"], gain["interval"])
    assert row["by"] == (
        "imgrank eval --data beauty-search --root DATA --model tiny --model after --partial "
        "--top 3 --rerank tiny-l2r-aesthetic --rounds 20 --pool captions --pool oasis"
    )
    assert f"| human@3 | {before['value']:.3f} |" in (after / "README.md").read_text()
    found(run("--data", "captions", "--root", sets, "--model", after, "--write", "-f", "json"))
    found(beauty(run, sets, *models))
    again = json.loads((after / "config.json").read_text())["measured"]
    assert [row["data"] for row in again if "beauty" in row["data"]] == [r["data"] for r in rows]
    assert [row["recall@1"] for row in again if row["data"].endswith("text to image")]


# ---- classes -------------------------------------------------------------------------------------


def test_classes_by_their_names(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "classes"
    for n in range(3):
        picture(root / "red_ball" / f"{n}.png", "red")
        picture(root / "blue_box" / f"{n}.png", "blue", "rectangle")
    picture(root / "blue_box" / "3.png", "red")  # in the wrong folder
    template = ("--template", "a {}", "--template", "{}")
    table = found(run("--data", "classes", "--root", root, *template, "-f", "json"))
    row = figures(table, "the class of a picture")
    assert row["top-1"]["value"] == pytest.approx(6 / 7)
    assert row["class mean"]["value"] == pytest.approx((1 + 3 / 4) / 2)
    assert "top-5" not in row
    assert table["models"][0]["classes"] == [
        {"class": "blue box", "pictures": 4, "top-1": 0.75},
        {"class": "red ball", "pictures": 3, "top-1": 1},
    ]
    assert table["templates"] == ["a {}", "{}"]
    assert table["paper"] == []  # its figures are ImageNet's
    wrong = run("--data", "classes", "--root", root, "--template", "a photo")
    assert wrong.exit_code == 2
    assert "has no {} for the name of the class" in wrong.stderr


# ---- HPIR ----------------------------------------------------------------------------------------


@pytest.fixture
def hpir(tmp_path: Path) -> Path:
    root = tmp_path / "hpir"
    for colour in ("red", "blue"):
        for n in range(2):
            picture(root / f"{colour}{n}.png", colour, ("ellipse", "rectangle")[n])
    groups = {"A": ["red0.png", "red1.png"], "B": ["blue0.png", "blue1.png"]}
    records = [
        # w = 2 * 3/4 - 1 = .5, and the redder group is A.
        {"query": "something red", **groups, "Accuracy": {"human labels": list("AAAB")}},
        # w = 1; people say A, a model sees that B is blue.
        {"query": "something blue", **groups, "Accuracy": {"human labels": list("AA")}},
        # Both groups are one: a tie, half right. w = .25.
        {
            "query": "anything",
            "A": groups["A"],
            "B": groups["A"],
            "Accuracy": {"golden label": {"label": "B", "confidence": 0.25}},
        },
        {"query": "something red", **groups, "Aesthetic": {"human labels": list("B")}},
    ]
    (root / "labels.json").write_text(json.dumps(records))
    return root


def test_the_better_group(run: Run, hpir: Path) -> None:
    models = ("--model", "tiny", "--model", "tiny-l2r-aesthetic")
    result = run("--data", "hpir", "--root", hpir, *models, "-f", "json", "--rounds", "30")
    table = found(result)
    row = figures(table, "the better group")
    # (.5 * 1 + 1 * 0 + .25 * 1/2) / (.5 + 1 + .25)
    assert row["accuracy"]["value"] == pytest.approx(0.625 / 1.75)
    assert row["aesthetics"]["value"] == 0
    assert set(row) == {"accuracy", "aesthetics"}
    assert [each["ties"] for each in table["models"]] == [1, 1]
    scores = score(hpir, "by aesthetic quality")
    value = {
        path.name: cell[0].value for path, cell in zip(scores.paths, scores.scores, strict=True)
    }
    red = value["red0.png"] + value["red1.png"] > value["blue0.png"] + value["blue1.png"]
    other = table["tables"][0]["rows"][1]
    assert other["model"] == "tiny-l2r-aesthetic"
    weight = 1.5 * red + 0.125  # A in the first two; a tie
    assert other["figures"]["accuracy"]["value"] == pytest.approx(weight / 1.75)
    assert other["figures"]["aesthetics"]["value"] == (not red)
    assert "4 queries here, 150 in the paper" in table["paper_note"]
    shown = run("--data", "hpir", "--root", hpir, "-f", "table").stdout
    assert "CLIP, aligned" in shown
    assert "0.731" in shown
    assert "tiny: 1 of 4 queries are tied, half right." in shown


def test_a_group_of_which_nothing_can_be_read(run: Run, hpir: Path) -> None:
    for n in range(2):
        (hpir / f"blue{n}.png").write_bytes(b"no picture")
    result = run("--data", "hpir", "--root", hpir, "-f", "json", "--rounds", "5")
    assert [sheet["n"] for sheet in found(result)["tables"]] == [1]
    assert "3 queries are left out: a group cannot be read" in result.stderr


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "captions", "--fold", "1"), "--fold has no meaning for --data captions"),
        (("--data", "hpir", "--write"), "--write records the figures of the last model"),
        (("--data", "hpir", "--write", "--model", "tiny"), "and tiny is of kind backbone"),
        (("--data", "hpir", "--scatter", "a.png"), "--scatter has no meaning for --data hpir"),
        (("--data", "classes", "--query", "a"), "--query has no meaning for --data classes"),
        (("--data", "captions", "--top", "5"), "--top is for --data beauty-search"),
        (("--data", "csv", "--template", "{}"), "--template is for --data classes, not for csv"),
        (("--data", "hpir", "--part", "train"), "hpir has no parts"),
        (("--data", "classes", "--part", "train"), "classes has no parts"),
    ],
)
def test_options_that_mean_nothing_here(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run(*arguments, "--root", tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr
