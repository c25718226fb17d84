"""--rephrase and `imgrank judge` as a user meets them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from chat_server import Asked, ChatServer, Reply, said
from click.testing import Result
from command_line import Run, command_line
from PIL import Image

KEY = "sk-very-secret"
CRITERIA = ("accuracy", "aesthetics", "diversity")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("IMGRANK_LLM_KEY", KEY)
    call = command_line(monkeypatch)

    def checked(*arguments: object, stdin: bytes = b"") -> Result:
        result = call(*arguments, stdin=stdin)
        assert KEY not in result.output + result.stderr
        return result

    return checked


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    folder = tmp_path / "colours"
    folder.mkdir()
    for name in ("red", "yellow", "blue", "white", "black"):
        Image.new("RGB", (64, 64), name).save(folder / f"{name}.png")
    return folder


def found(result: Result) -> list[tuple[str, float]]:
    rows = json.loads(result.stdout)["images"]
    return [(Path(row["path"]).name, row["score"]) for row in rows]


# ---- search --------------------------------------------------------------------------------------


def test_a_search_is_asked_in_other_words_which_are_shown(
    run: Run, server: ChatServer, colours: Path
) -> None:
    server.replies = [said("Sure! Here it is:\n- **a red wall**,\n- evenly lit")]
    line = ("search", colours, "red", "--rephrase", "k_list", "--llm", server.url)
    line += ("--llm-model", "clever", "--words", 20, "-f", "json")
    first = run(*line)
    assert first.exit_code == 0, first.output
    assert "a red wall, evenly lit" in first.stderr
    assert f"k_list by clever at {server.url}" in first.stderr
    assert json.loads(first.stdout)["search"]["rephrased"] == "a red wall, evenly lit"
    again = run(*line, "--offline")  # the answer is known, and nobody is asked
    assert again.exit_code == 0
    assert again.stdout == first.stdout
    (asked,) = server.asked
    assert "about 20 words" in asked.body["messages"][0]["content"]
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    same = run("search", colours, "a red wall, evenly lit", "-f", "json")
    assert [score for _, score in found(same)] == [score for _, score in found(first)]
    counted = run("cache", "info").stdout
    assert f"1 answers, rephrased (0.0 MB): clever at {server.url}" in counted


def test_an_endpoint_that_fails_is_an_error_or_a_warning(
    run: Run, server: ChatServer, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGRANK_LLM_URL", server.url)
    monkeypatch.setenv("IMGRANK_LLM_MODEL", "clever")
    server.replies = [Reply(500)]
    line = ("search", colours, "red", "--rephrase", "detail", "-f", "json")
    failed = run(*line)
    assert failed.exit_code == 3
    assert failed.stdout == ""
    assert "has trouble of its own (500)" in failed.stderr
    assert "Traceback" not in failed.stderr
    plain = run(*line, "--plain-if-failed")
    assert plain.exit_code == 0
    assert "'red' is asked as it stands: " in plain.stderr
    assert found(plain) == found(run("search", colours, "red", "-f", "json"))
    asked = len(server.asked)
    offline = run(*line, "--offline")
    assert (offline.exit_code, len(server.asked)) == (3, asked)
    assert "--offline forbids the network" in offline.stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE forbids the network" in run(*line).stderr
    assert len(server.asked) == asked


@pytest.mark.parametrize("method", ["detail", "k_list", "kw_dict", "reorg"])
def test_nobody_is_asked_who_is_not_named(
    run: Run, server: ChatServer, colours: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)  # for other programs
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    result = run("search", colours, "red", "--rephrase", method, "--plain-if-failed")
    assert result.exit_code == 2
    assert "no language model is named, and none is asked unasked" in result.stderr
    assert server.asked == []


def test_without_the_extra_the_pip_line_is_named(
    run: Run, server: ChatServer, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "imgrank.llm.client", raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    line = ("search", colours, "red", "--llm", server.url, "--llm-model", "clever")
    result = run(*line, "--rephrase", "detail", "--plain-if-failed")
    assert result.exit_code == 3
    assert "pip install 'imgrank[llm]'" in result.stderr


# ---- judge ---------------------------------------------------------------------------------------


def by_colour(asked: Asked) -> Reply:
    """Rephrases to "black"; as a judge prefers the row that begins darker."""
    if isinstance(asked.body["messages"][1]["content"], str):
        return said("black")
    page = asked.picture.convert("L")
    first, second = (page.getpixel((168, y)) for y in (200, 568))
    assert isinstance(first, int)
    assert isinstance(second, int)
    choice = 1 if first < second else 2
    return said(json.dumps(dict.fromkeys(CRITERIA, choice)))


def outcome_by_hand(a: Path, b: Path) -> str:
    """Of A, by the judge above."""
    if a == b:
        return "similar"
    dark, other = (Image.open(path).convert("L").resize((1, 1)).tobytes()[0] for path in (a, b))
    return "win" if dark < other else "loss"


def test_the_judge_from_the_first_question_to_the_last_figure(
    run: Run, server: ChatServer, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = by_colour
    (tmp_path / "q.txt").write_text("white\n\n  White \na white wall\nblack\n", "utf-8")
    line = ("judge", colours, "--queries", tmp_path / "q.txt", "--rephrase", "detail")
    line += ("--llm", server.url, "--llm-model", "clever", "--top", 1)
    monkeypatch.setattr("imgrank.cli.judge.FREE", 1)
    refused = run(*line)
    assert refused.exit_code == 2
    assert "questions may cost something; --yes asks them" in refused.stderr
    rephrased = len(server.asked)
    assert rephrased == 3
    result = run(*line, "--yes", "-f", "json")
    assert result.exit_code == 0, result.output
    table = json.loads(result.stdout)
    assert (table["a"], table["b"]) == ("tiny, detail", "tiny")
    assert table["judge"] == f"clever at {server.url}"
    assert [one["query"] for one in table["judged"]] == ["white", "a white wall", "black"]
    blacks = {one["a"][0] for one in table["judged"]}  # always asked "black"
    assert len(blacks) == 1
    assert table["judged"][2]["identical"] is True
    outcomes = [one["outcomes"]["accuracy"] for one in table["judged"]]
    expected = [outcome_by_hand(Path(one["a"][0]), Path(one["b"][0])) for one in table["judged"]]
    assert outcomes == expected
    assert expected[2] == "similar"
    assert set(expected) != {"similar"}
    assert table["criteria"][0]["wins"] == expected.count("win")
    assert table["criteria"][0]["row_1"] == 0.5
    asked = len(server.asked)
    assert asked == rephrased + 2 * (3 - expected.count("similar"))
    rows = run(*line, "-f", "tsv", "--criteria", "accuracy,aesthetics,diversity")
    assert len(server.asked) == asked
    head, first, *_ = (row.split("\t") for row in rows.stdout.splitlines())
    row = dict(zip(head, first, strict=True))
    assert row == {
        **row,
        "a": "tiny, detail",
        "criterion": "accuracy",
        "queries": "3",
        "wins": str(expected.count("win")),
        "identical": str(expected.count("similar")),
    }
    shown = run(*line, "-f", "table")
    assert "tiny, detail against tiny, judged by clever" in shown.stdout
    assert "gave both the same pictures: similar, not judged." in shown.stdout


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ((), 2, "with what is A to be compared? --against MODEL, or --rephrase METHOD."),
        (("--against", "tiny"), 2, "A and B are both tiny, so there is nothing to compare"),
        (("--against", "no-such-model"), 3, "no-such-model"),
        (("--against", "x", "--plain-if-failed"), 2, "--plain-if-failed is for --rephrase."),
        (("--rephrase", "repeat", "--criteria", "beauty"), 2, "there is no criterion 'beauty'"),
        (("--rephrase", "repeat", "--queries", "none.txt"), 3, "none.txt"),
        (("--rephrase", "repeat", "--queries", "empty.txt"), 3, "holds no query"),
        (("--rephrase", "repeat", "--llm", "http://me:pw@a/v1"), 2, "without user, password"),
    ],
)
def test_what_cannot_be_judged(
    run: Run,
    server: ChatServer,
    colours: Path,
    options: tuple[str, ...],
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("q.txt").write_text("white\n")
    Path("empty.txt").write_text("\n")
    line = ("judge", colours, "--queries", "q.txt", "--llm", server.url, "--llm-model", "clever")
    result = run(*line, *options)
    assert message in result.stderr
    assert result.exit_code == status
    assert result.stdout == ""
    assert server.asked == []
