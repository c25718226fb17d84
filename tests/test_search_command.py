"""`imgrank search` as a user meets it: arguments, outputs, files, pages, standard error."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from command_line import Run, command_line
from known_embeddings import draw, remember, remember_scores

WORDS = {"a cat": [1, 0, 0], "at night": [0, 1, 0], "a leash": [0, 0, 1]}
SEEN = {
    "cat.png": [1, 0, 0],
    "evening.png": [3, 1, 0],
    "night.png": [0, 1, 0],
    "no-cat.png": [-1, 0, 0],
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch, "search")


@pytest.fixture
def anything(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`photos` of the folder that one is in, with known embeddings, as those of three texts."""
    monkeypatch.chdir(tmp_path)
    remember({f"photos/{name}": vector for name, vector in SEEN.items()}, WORDS)
    return Path("photos")


# ---- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["photos", "a cat"], "photos/cat.png"),
        (["photos", "photos/night.png", "a cat", "--plus", "at night"], "photos/evening.png"),
        (["photos", "--like", "photos/night.png"], "photos/night.png"),
        (["photos", "--plus", "at night"], "photos/night.png"),
        (["photos/night.png", "photos/cat.png", "--plus", "at night=2"], "photos/night.png"),
        (["photos", "a cat", "--like", "photos/night.png=9"], "photos/night.png"),
        (["photos", "a cat", "--like", "photos/night.png=0.1", "--minus", "at night=0.1"], None),
    ],
)
def test_paths_then_maybe_a_query(
    photos: Path, run: Run, arguments: list[str], first: str | None
) -> None:
    result = run(*arguments, "--top", "1", "-f", "paths")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{first or 'photos/cat.png'}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photos"], "what is to be found in photos? Give a QUERY after it"),
        (["photos", "photos/cat.png"], "is a path, but what to look for"),
        (["a cat"], "no folder or picture was given"),
        (["a cat", "--plus", "at night"], "no folder or picture was given"),
        (["photos", "photos/gone.png"], "looks like a path, but there is no such file"),
        (["photos", "gone.jpg", "--plus", "a cat"], "looks like a path"),
        (["photos", "--minus", "a cat"], "what is to be found in photos?"),
        (["photos", "a cat", "--like", "gone.jpg"], "no file or folder 'gone.jpg'"),
        (["gone", "a cat"], "gone"),
        (["photos", "a cat", "--top", "no"], "--top"),
        (["photos", "a cat", "--rerank-first", "3"], "--rerank-first is for --rerank"),
        (["photos", "a cat", "--rerank-weight", "1.25"], "--rerank-weight is for --rerank"),
        (["photos", "a cat", "--llm", "http://localhost:1/v1"], "--llm is for --rephrase."),
        (["photos", "a cat", "--words", "9"], "--words is for --rephrase."),
        (["photos", "a cat", "--like", "photos"], "--like photos is a folder"),
        (["photos", "a cat", "--dry-run"], "--dry-run needs something to try"),
    ],
)
def test_usage_errors_are_one_line(photos: Path, run: Run, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("imgrank: ")
    assert said in line


def test_paths_from_standard_input(photos: Path, run: Run) -> None:
    listed = b"photos/night.png\0photos/cat.png\0"
    result = run("-", "a cat", "-0", "-f", "paths", stdin=listed)
    assert result.stdout_bytes == b"photos/cat.png\0photos/night.png\0"
    result = run("-", "--plus", "at night", "-f", "paths", stdin=b"photos/night.png\n")
    assert result.stdout == "photos/night.png\n"


# ---- outputs -------------------------------------------------------------------------------------


def test_a_row_in_every_format(photos: Path, run: Run) -> None:
    def cat(format_: str) -> str:
        return run("photos", "a cat", "--top", "1", "-f", format_).stdout

    names = ["rank", "score", "unit", "percentile", "low", "high", "direction", "method", "model"]
    names.append("path")
    values = ["1", "1", "cosine", "100", "", "", "descending", "search", "tiny", "photos/cat.png"]
    assert list(csv.reader(io.StringIO(cat("csv")))) == [names, values]
    assert [line.split("\t") for line in cat("tsv").splitlines()] == [names, values]
    assert cat("paths") == "photos/cat.png\n"
    assert [line.split() for line in cat("table").splitlines()] == [
        ["rank", "score", "percentile", "path"],
        ["1", "1", "cosine", "100.0", "photos/cat.png"],
    ]
    document = json.loads(cat("json"))
    line = json.loads(cat("jsonl"))
    assert document["images"] == [{key: line[key] for key in document["images"][0]}]
    assert document["images"][0]["path"] == "photos/cat.png"
    assert (line["criteria"], line["search"]) == (document["criteria"], document["search"])


def test_json_says_how_it_was_asked(photos: Path, run: Run) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    arguments = ["--like", "photos/night.png=2", "--minus", "a leash=0.5", "-f", "json"]
    found = json.loads(run("photos", "a cat", *arguments).stdout)
    assert found["search"] == {
        "query": "a cat",
        "rephrased": None,
        "rephrased_by": None,
        "terms": [
            {"text": "a cat", "weight": 1.0},
            {"text": "a leash", "weight": -0.5},
            {"picture": "photos/night.png", "weight": 2.0},
        ],
        "approximate": False,
        "stages": 1,
        "first": None,
        "weight": None,
    }
    (criterion,) = found["criteria"]
    assert criterion["instruction"] == criterion["prompt"]
    assert criterion["prompt"] == "'a cat' - 0.5 'a leash' + 2 like photos/night.png"
    assert (criterion["method"], criterion["model"]) == ("search", "tiny")
    assert [skip["path"] for skip in found["skipped"]] == ["photos/broken.jpg"]


def test_standard_error_says_who_answered_what_was_skipped_and_quiet_nothing(
    photos: Path, run: Run
) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    result = run("photos", "a cat")
    lines = [line for line in result.stderr.splitlines() if not line.startswith("ran on ")]
    first, second, last = lines  # without what a test before this one has loaded
    assert (result.exit_code, first) == (0, "'a cat': search tiny")
    assert second.startswith("skipped photos/broken.jpg: ")
    assert last.startswith("4 pictures in ")
    assert last.endswith("(0 computed, 4 known, 1 skipped)")
    quiet = run("photos", "a cat", "-q", "--strict")
    assert (quiet.exit_code, quiet.stderr, quiet.stdout) == (1, "", result.stdout)


def test_nothing_readable_and_models(photos: Path, run: Run) -> None:
    empty = Path("empty")
    empty.mkdir()
    assert run(empty, "a cat").exit_code == 1
    assert run(photos, "a cat", "--model", "nothing-such").exit_code == 3
    refused = run(photos, "a cat", "--model", "tiny-age")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "imgrank sort PATH... INSTRUCTION --model tiny-age" in refused.stderr


def test_an_interrupt_is_130(photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: object, done: int, total: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("imgrank.cli.options.Reporter.progress", interrupt)
    result = run("photos", "a cat")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "What was computed is kept" in result.stderr


# ---- what is done with the pictures --------------------------------------------------------------


def test_copied_and_taken_back(photos: Path, run: Run, anything: Run) -> None:
    dry = run("photos", "a cat", "--top", "2", "--copy-to", "few", "--dry-run")
    assert (dry.exit_code, os.path.lexists("few")) == (0, False)
    done = run("photos", "a cat", "--top", "2", "--copy-to", "few", "--rename", "-f", "paths")
    assert done.stdout.split() == ["few/001__cat.png", "few/002__evening.png"]
    assert sorted(map(str, Path("few").iterdir())) == done.stdout.split()
    again = run("photos", "few", "a cat", "--copy-to", "few", "-f", "json")
    assert len(json.loads(again.stdout)["images"]) == 6  # named itself, it is looked into
    assert anything("undo", "-q").exit_code == 0


def test_pages_at_once_and_later(photos: Path, run: Run, anything: Run) -> None:
    (Path("cat.json")).write_text(
        run("photos", "a cat", "--gallery", "now.html", "-f", "json").stdout
    )
    lines = run("photos", "a cat", "--rerank", "aesthetic", "-f", "jsonl").stdout
    lines += run("photos", "at night", "--rerank", "aesthetic", "-f", "jsonl").stdout
    Path("both.jsonl").write_text(lines)
    assert "a cat" in Path("now.html").read_text()
    result = anything("gallery", "cat.json", "both.jsonl", "-o", "later.html")
    assert result.exit_code == 0, result.stderr
    page = Path("later.html").read_text()
    assert page.count("combined score") >= 2
    assert "search tiny" in page


def test_a_preview_is_for_terminals(photos: Path, run: Run) -> None:
    result = run("photos", "a cat", "--preview", "-f", "paths")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == "photos/cat.png"


# ---- other words ---------------------------------------------------------------------------------

CATS = " ".join(["a cat."] * 25)  # about 50 words


def test_what_is_really_asked_is_said(photos: Path, run: Run) -> None:
    remember({}, {CATS: [0, 1, 0]})
    result = run("photos", "a cat", "--rephrase", "repeat", "--plus", "a leash=0.1", "-f", "json")
    assert result.exit_code == 0, result.stderr
    said = result.stderr.splitlines()
    assert said[:2] == ["'a cat' + 0.1 'a leash': search tiny", f"  asked as '{CATS}' (repeat)"]
    found = json.loads(result.stdout)
    assert found["images"][0]["path"] == "photos/night.png"
    assert found["criteria"][0]["instruction"] == "'a cat' + 0.1 'a leash'"
    about = {key: found["search"][key] for key in ("query", "rephrased", "rephrased_by")}
    assert about == {"query": "a cat", "rephrased": CATS, "rephrased_by": "repeat"}


def test_a_page_of_several_searches_mixes_no_cosines(
    photos: Path, anything: Run, tmp_path: Path
) -> None:
    remember({}, {CATS: [0, 1, 0]})
    ways = {
        "plain": [],
        "again": [],
        "plus": ["--plus", "at night"],
        "rephrased": ["--rephrase", "repeat"],
    }
    for name, way in ways.items():
        anything("search", "photos", "a cat", *way, "-f", "json", "-o", f"{name}.json")
    page = anything("gallery", *(f"{name}.json" for name in ways), "-o", "page.html")
    assert page.exit_code == 0, page.stderr
    written = Path("page.html").read_text()
    start = written.index(">", written.index('id="data"')) + 1
    criteria = json.loads(written[start : written.index("</script>", start)])["criteria"]
    assert [(each["name"], each["model"]) for each in criteria] == [
        ("a cat", "search tiny"),
        ("'a cat' + 'at night'", "search tiny"),
        (
            f"a cat (search tiny, asked as '{CATS}')",
            f"search tiny, asked as '{CATS}'",
        ),
    ]


def test_nobody_is_asked_who_is_not_named(photos: Path, run: Run) -> None:
    result = run("photos", "a cat", "--rephrase", "k_list")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no language model is named" in result.stderr
    result = run("photos", "--plus", "a cat", "--rephrase", "repeat")
    assert (result.exit_code, "--rephrase needs a QUERY" in result.stderr) == (2, True)
    result = run("gone", "a cat", "--rephrase", "k_list")  # before anybody would be asked
    assert (result.exit_code, "gone" in result.stderr) == (2, True)


def test_a_failing_endpoint_ends_the_search_unless_the_plain_query_will_do(
    photos: Path, run: Run
) -> None:
    nobody = ["--llm", "http://localhost:9/v1", "--llm-model", "m", "--offline"]
    arguments = ["photos", "a cat", "--rephrase", "k_list", *nobody, "-f", "json"]
    failed = run(*arguments)
    assert (failed.exit_code, failed.stdout) == (3, "")
    plain = run(*arguments, "--plain-if-failed")
    assert plain.exit_code == 0, plain.stderr
    assert plain.stderr.startswith("'a cat' is asked as it stands: ")
    found = json.loads(plain.stdout)
    assert (found["search"]["rephrased"], found["search"]["rephrased_by"]) == (None, None)
    assert found["images"][0]["path"] == "photos/cat.png"


# ---- two stages ----------------------------------------------------------------------------------


def test_the_second_stage_is_said_and_shown(photos: Path, run: Run) -> None:
    remember_scores({"photos/cat.png": 2.5, "photos/evening.png": 3.5}, "tiny-quality")
    arguments = ["--rerank", "tiny-quality", "--rerank-first", "2", "--rerank-weight", "0.5"]
    result = run("photos", "a cat", *arguments, "-f", "json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[1] == (
        "  the first 2 re-ranked, weight 0.5, by quality: adapter tiny-quality"
    )
    found = json.loads(result.stdout)
    about = {key: found["search"][key] for key in ("stages", "first", "weight")}
    assert about == {"stages": 2, "first": 2, "weight": 0.5}
    assert [each["weight"] for each in found["criteria"]] == [1.0, 0.5]
    assert found["images"][0]["method"] == "search+adapter"
    assert [(row["path"], row["score"]) for row in found["images"]] == [
        ("photos/cat.png", 0.5),
        ("photos/evening.png", -0.5),
    ]
    assert [each["score"] for each in found["images"][0]["scores"]] == [1.0, 2.5]
    head, first, _ = run("photos", "a cat", *arguments).stdout.splitlines()
    assert head.split("\t")[-3:] == ["a cat", "by quality", "path"]
    assert first.split("\t")[-3:] == ["1", "2.5", "photos/cat.png"]
    shown = run("photos", "a cat", *arguments, "-f", "table").stdout.splitlines()
    assert shown[0].split() == ["rank", "score", "percentile", "a", "cat", "by", "quality", "path"]
    assert shown[1].split() == ["1", "0.5", "100.0", "1", "cosine", "2.5", "MOS", "photos/cat.png"]


def test_a_name_cannot_drive_the_terminal(photos: Path, run: Run) -> None:
    draw(Path(), "x\x1b[31m.png")
    remember({"x\x1b[31m.png": [0, 1, 0]}, {})
    result = run("photos", "--like", "x\x1b[31m.png")
    assert result.exit_code == 0
    assert "\x1b" not in result.stderr
