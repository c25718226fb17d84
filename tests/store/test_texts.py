"""What a text tower said of a prompt is kept, and found again without the model."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from imgrank import api
from imgrank.models.backbone import Backbone
from imgrank.settings import load_settings
from imgrank.store.migrations import APPLICATION_ID, MIGRATIONS
from imgrank.store.store import Store

EXAMPLES = Path(__file__).parents[2] / "examples"
TOKENS = np.arange(6, dtype=np.float32).reshape(2, 3) / 7


def test_a_text_comes_back_as_it_went_in(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.put_text("tiny:1", "tokens", "a cat", TOKENS)
    with Store(tmp_path / "s") as store:
        found = store.text("tiny:1", "tokens", "a cat")
        assert found is not None
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, TOKENS)
        for key in (
            ("tiny:2", "tokens", "a cat"),
            ("tiny:1", "embedding", "a cat"),
            ("tiny:1", "tokens", "A cat"),
        ):
            assert store.text(*key) is None


def test_a_later_array_takes_the_place_of_an_earlier(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.put_text("tiny:1", "tokens", "a cat", TOKENS)
        store.put_text("tiny:1", "tokens", "a cat", TOKENS[:1] + 1)
        found = store.text("tiny:1", "tokens", "a cat")
        assert found is not None
        np.testing.assert_array_equal(found, TOKENS[:1] + 1)
        assert [tuple(t) for t in store.info().texts] == [("tiny:1", "tokens", 1, 12)]


@pytest.mark.parametrize("text", ["", "猫 🐈 &amp;", "x" * 10_000, "not UTF-8 \udcff"])
def test_odd_texts(tmp_path: Path, text: str) -> None:
    with Store(tmp_path / "s") as store:
        store.put_text("tiny:1", "embedding", text, TOKENS)
        found = store.text("tiny:1", "embedding", text)
        assert found is not None
        np.testing.assert_array_equal(found, TOKENS)


def test_several_threads_write_and_read(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:

        def work(number: int) -> None:
            for i in range(20):
                store.put_text("tiny:1", "embedding", f"{number} {i}", TOKENS + number)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.info().texts[0].texts == 80
        found = store.text("tiny:1", "embedding", "3 19")
        assert found is not None
        np.testing.assert_array_equal(found, TOKENS + 3)


def test_prune_drops_prompts_of_long_ago_and_clear_all(tmp_path: Path) -> None:
    day = 86_400_000_000_000
    now = [100 * day]
    with Store(tmp_path / "s", clock=lambda: now[0]) as store:
        store.put_text("tiny:1", "embedding", "old", TOKENS)
        now[0] += 20 * day
        store.put_text("tiny:1", "embedding", "new", TOKENS)
        assert store.prune().texts == 0
        assert store.prune(unused_days=10).texts == 1
        assert store.text("tiny:1", "embedding", "old") is None
        assert store.text("tiny:1", "embedding", "new") is not None
        store.clear()
        assert store.info().texts == ()


def test_a_store_that_cannot_be_written_forgets_with_one_notice(tmp_path: Path) -> None:
    path = tmp_path / "s"
    notices: list[str] = []
    with Store(path, notify=notices.append, busy_seconds=0.05) as store:
        store.put_text("tiny:1", "embedding", "known", TOKENS)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            store.put_text("tiny:1", "embedding", "new", TOKENS)
        other.execute("ROLLBACK")
        other.close()
        assert len(notices) == 1
        assert store.text("tiny:1", "embedding", "known") is not None
        assert store.text("tiny:1", "embedding", "new") is None


def test_a_damaged_store_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Store(path) as store:
        store.put_text("tiny:1", "embedding", "a cat", TOKENS)
    path.write_bytes(b"nonsense" * 1000)
    notices: list[str] = []
    with Store(path, notify=notices.append) as store:
        assert store.text("tiny:1", "embedding", "a cat") is None
        store.put_text("tiny:1", "embedding", "a cat", TOKENS)
        assert store.text("tiny:1", "embedding", "a cat") is not None
    assert len(notices) == 1


def test_a_store_of_version_1_is_brought_on(tmp_path: Path) -> None:
    path = tmp_path / "s"
    db = sqlite3.connect(path, isolation_level=None)
    for statement in MIGRATIONS[0]:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO files VALUES (?, 1, 1, ?)", (b"/p/1.jpg", b"d" * 32))
    db.close()
    with Store(path) as store:
        store.put_text("tiny:1", "embedding", "a cat", TOKENS)
        assert store.text("tiny:1", "embedding", "a cat") is not None
        assert store.info().files == 1


def test_a_known_prompt_loads_no_text_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first picture brings the features of the prompt; the second needs the image tower alone.
    options = api.Options(settings=load_settings())
    photos = sorted((EXAMPLES / "photos").glob("*.jpg"))[:2]
    first = api.sort(photos[:1], "a dog on a beach", options=options)
    monkeypatch.setattr(Backbone, "text", property(lambda self: pytest.fail("text tower loaded")))
    both = api.sort(photos, "a dog on a beach", options=options)
    assert {r.path: r.score for r in both}[photos[0]] == first[0].score
