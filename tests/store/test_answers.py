"""Answers of language models are kept by what was asked of whom, until they are cleared."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from imgrank.store.migrations import APPLICATION_ID, MIGRATIONS
from imgrank.store.store import Store

KEY = ("rephrased", "clever at http://a/v1", '{"query": "a cat"}')


def test_an_answer_is_found_by_all_three(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        assert store.answers.get(*KEY) is None
        store.answers.put(*KEY, "a tabby")
        store.answers.put(*KEY, "a tabby cat")
    with Store(tmp_path / "s") as store:
        assert store.answers.get(*KEY) == "a tabby cat"
        for n in range(3):
            other = tuple("other" if i == n else part for i, part in enumerate(KEY))
            assert store.answers.get(*other) is None
        (count,) = store.info().answers
    assert tuple(count) == ("clever at http://a/v1", "rephrased", 1, 11)


@pytest.mark.parametrize("text", ["", "猫 🐈", "x" * 100_000])
def test_odd_texts_come_back(tmp_path: Path, text: str) -> None:
    with Store(tmp_path / "s") as store:
        store.answers.put("k", text, text, text)
        assert store.answers.get("k", text, text) == text
        store.answers.put("k", "s", "not UTF-8 \udcff", "\udcff")
        assert store.answers.get("k", "s", "not UTF-8 \udcff") == "\\udcff"


def test_prune_leaves_them_and_clear_does_not(tmp_path: Path) -> None:
    now = [10]
    with Store(tmp_path / "s", clock=lambda: now[0]) as store:
        store.answers.put(*KEY, "a tabby cat")
        now[0] += 1000 * 86_400_000_000_000
        store.prune(unused_days=1)
        assert store.answers.get(*KEY) == "a tabby cat"
        store.clear()
        assert store.answers.get(*KEY) is None


def test_a_store_that_cannot_be_written_forgets_with_one_notice(tmp_path: Path) -> None:
    notices: list[str] = []
    with Store(tmp_path / "s", notify=notices.append, busy_seconds=0.05) as store:
        store.answers.put(*KEY, "known")
        other = sqlite3.connect(tmp_path / "s", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            store.answers.put("k", "s", "q", "new")
        other.execute("ROLLBACK")
        other.close()
        assert len(notices) == 1
        assert store.answers.get(*KEY) == "known"
        assert store.answers.get("k", "s", "q") is None


def test_a_store_of_version_2_is_brought_on(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "s", isolation_level=None)
    for statements in MIGRATIONS[:2]:
        for statement in statements:
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("PRAGMA user_version = 2")
    db.close()
    with Store(tmp_path / "s") as store:
        store.answers.put(*KEY, "a tabby cat")
        assert store.answers.get(*KEY) == "a tabby cat"
