"""`imgrank data preferences --rephrase`: a language model is asked once, and may fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_server import Asked, ChatServer, Reply, said
from command_line import Run, command_line
from PIL import Image

from imgrank.data.preferences import read_preferences


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: ChatServer) -> Run:
    """With a pool of five colours and two queries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGRANK_LLM_URL", server.url)
    (tmp_path / "colours").mkdir()
    for name in ("red", "yellow", "blue", "white", "black"):
        Image.new("RGB", (64, 64), name).save(tmp_path / "colours" / f"{name}.png")
    line = ("data", "preferences", "--pool", "colours", "--query", "red", "--query", "sky")
    return command_line(monkeypatch, *line, "--rephrase", "k_list", "--llm-model", "clever")


def wall(asked: Asked) -> Reply:
    """Knows what to say of red, and fails at everything else."""
    return said("a red wall, evenly lit") if "red" in asked.text else Reply(500)


def test_a_model_is_asked_once_for_each_query(run: Run, server: ChatServer, tmp_path: Path) -> None:
    server.answer = lambda asked: said(f"{'wall' if 'red' in asked.text else 'cloud'}, bright")
    done = run("--out", "1.jsonl")
    assert done.exit_code == 0, done.output
    found = read_preferences(tmp_path / "1.jsonl", tmp_path)
    assert found.queries == ("red", "sky")
    assert found.rephrased == ("wall, bright", "cloud, bright")
    assert found.facts["rephrase"] == {
        "method": "k_list",
        "words": 50,
        "model": "clever",
        "plain": 0,
    }
    assert len(server.asked) == 2
    assert run("--out", "2.jsonl", "--offline").exit_code == 0
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()
    assert server.url not in (tmp_path / "1.jsonl").read_text()


def test_a_model_that_fails_leaves_no_file_or_the_plain_query(
    run: Run, server: ChatServer, tmp_path: Path
) -> None:
    server.answer = wall
    done = run("--out", "p.jsonl")
    assert done.exit_code == 3
    assert "has trouble of its own (500)" in done.stderr
    assert not (tmp_path / "p.jsonl").exists()
    done = run("--out", "p.jsonl", "--plain-if-failed")
    assert done.exit_code == 0, done.output
    assert "'sky' is asked as it stands: " in done.stderr
    found = read_preferences(tmp_path / "p.jsonl")
    assert found.rephrased == ("a red wall, evenly lit", "sky")
    assert found.facts["rephrase"]["plain"] == 1
