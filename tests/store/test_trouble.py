"""Damage, full and read-only disks, locks, later versions, killed and concurrent processes."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from imgrank.errors import StoreError
from imgrank.images import ImageFile
from imgrank.store.migrations import APPLICATION_ID, MIGRATIONS, migrate
from imgrank.store.store import Batch, FeatureRow, FileRow, Score, ScoreRow, Store

RANKER, PROMPT = "adapter:0123", "quality"


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def batch(*numbers: int) -> Batch:
    """Files, scores and features that belong together."""
    return Batch(
        files=[FileRow(ImageFile(Path(f"/p/{n}.jpg"), n, n), digest(n)) for n in numbers],
        scores=[ScoreRow(digest(n), RANKER, PROMPT, Score(float(n))) for n in numbers],
        features=[
            FeatureRow(digest(n), "tiny", "pooled", np.full(500, n, np.float32)) for n in numbers
        ],
    )


def kept(store: Store, numbers: range) -> set[int]:
    found = store.scores([digest(n) for n in numbers], RANKER, PROMPT)
    return {n for n in numbers if digest(n) in found}


def aside(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if ".corrupt-" in p.name)


# ---- migrations ----------------------------------------------------------------------------------

STEPS = (
    ("CREATE TABLE a (x INTEGER)", "INSERT INTO a VALUES (1)"),
    ("ALTER TABLE a ADD COLUMN y INTEGER", "UPDATE a SET y = x + 1"),
    ("CREATE TABLE b AS SELECT y * 10 AS z FROM a",),
)


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def test_migrations_run_from_where_the_database_is(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with contextlib.closing(connect(path)) as db:
        migrate(db, path, STEPS[:1])
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        db.execute("INSERT INTO a VALUES (5)")  # what a user of version 1 kept
    with contextlib.closing(connect(path)) as db:
        migrate(db, path, STEPS)
        migrate(db, path, STEPS)
        assert db.execute("SELECT x, y FROM a ORDER BY x").fetchall() == [(1, 2), (5, 6)]
        assert db.execute("SELECT z FROM b ORDER BY z").fetchall() == [(20,), (60,)]
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with contextlib.closing(connect(path)) as db:
        migrate(db, path, STEPS[:1])
        with pytest.raises(sqlite3.OperationalError):
            migrate(db, path, (*STEPS[:2], ("no sql",)))
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT * FROM a").fetchall() == [(1,)]


def test_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "imgrank.sqlite3"
    with Store(path) as store:
        store.put(batch(1))
    with contextlib.closing(connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"later imgrank.*IMGRANK_HOME"):
        Store(path)
    assert path.read_bytes() == before
    assert aside(path) == []


@pytest.mark.parametrize("mark", [0, 0x47504B47])
def test_a_database_of_another_program_is_refused(tmp_path: Path, mark: int) -> None:
    path = tmp_path / "imgrank.sqlite3"
    with contextlib.closing(connect(path)) as db:
        db.execute(f"PRAGMA application_id = {mark}")
        db.execute("CREATE TABLE letters (text TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        Store(path)
    assert path.read_bytes() == before


# ---- several processes ---------------------------------------------------------------------------


def _write(path: str, first: int, start: multiprocessing.synchronize.Barrier) -> None:
    start.wait()  # all open the file that is not there yet at once
    with Store(Path(path)) as store:
        for number in range(first, first + 20):
            store.put(batch(number))


def test_processes_open_and_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "imgrank.sqlite3"
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(3)
    workers = [spawn.Process(target=_write, args=(str(path), 100 * i, start)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with Store(path) as store:
        assert len(kept(store, range(300))) == 60
    assert aside(path) == []


def test_a_lock_is_waited_for_and_then_done_without(tmp_path: Path) -> None:
    path = tmp_path / "imgrank.sqlite3"
    notices: list[str] = []
    with (
        Store(path, busy_seconds=0.05, notify=notices.append) as store,
        contextlib.closing(connect(path)) as other,
    ):
        store.put(batch(0))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another process"):
            store.clear()  # asked for: an error, not a shrug
        store.put(batch(1))
        store.put(batch(2))
        other.execute("ROLLBACK")
        assert kept(store, range(3)) == {0}  # known scores are still used
        assert len(notices) == 1
        assert "locked by another process" in notices[0]
    with Store(path) as store:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.2, other.execute, ("ROLLBACK",))
        timer.start()
        store.put(batch(2))
        timer.join()
        other.close()
        assert kept(store, range(3)) == {0, 2}


def test_ids_cleared_by_another_process_never_mix_scores(tmp_path: Path) -> None:
    path = tmp_path / "imgrank.sqlite3"
    with Store(path) as one, Store(path) as other:
        one.put(Batch(scores=[ScoreRow(digest(1), "old", PROMPT, Score(1.0))]))
        other.clear()
        other.put(Batch(scores=[ScoreRow(digest(2), "new", PROMPT, Score(2.0))]))
        one.put(Batch(scores=[ScoreRow(digest(3), "old", PROMPT, Score(3.0))]))
        digests = [digest(n) for n in range(4)]
        assert other.scores(digests, "new", PROMPT) == {digest(2): Score(2.0)}
        assert other.scores(digests, "old", PROMPT) == {digest(3): Score(3.0)}


def test_kill_9_loses_at_most_the_batch_under_way(tmp_path: Path) -> None:
    path = tmp_path / "imgrank.sqlite3"
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path; from test_trouble import Store, batch\n"
        f"store = Store(Path({str(path)!r}))\n"
        "for n in range(0, 4000, 4):\n"
        "    store.put(batch(n, n + 1, n + 2, n + 3)); print(n, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= 80:
                child.send_signal(signal.SIGKILL)
                break
        rest = [int(line) for line in child.stdout]
    said = max([int(line), *rest])
    heard: list[str] = []
    with Store(path, notify=heard.append) as store:
        found = kept(store, range(4000))
        files = store.known_digests([ImageFile(Path(f"/p/{n}.jpg"), n, n) for n in range(4000)])
        arrays = store.with_features([digest(n) for n in range(4000)], "tiny", {"pooled"})
    assert heard == []
    assert found >= set(range(said + 4))  # all that was said to be done
    assert len(found) <= said + 8  # and at most the one after
    assert len(found) % 4 == 0  # whole batches only
    assert {int(p.stem) for p in files} == found
    assert arrays == {digest(n) for n in found}


# ---- damage --------------------------------------------------------------------------------------


def filled(path: Path) -> None:
    with Store(path) as store:
        for n in range(0, 200, 20):
            store.put(batch(*range(n, n + 20)))


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, " * 1000)


def header_lost(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 200)


def schema_lost(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3900)


def truncated(path: Path) -> None:
    os.truncate(path, 3 * 4096)


def pages_lost(path: Path) -> None:
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        for page in range(2, pages):
            file.seek(page * 4096)
            file.write(b"\xa5" * 4096)


def table_lost(path: Path) -> None:
    with contextlib.closing(connect(path)) as db:
        db.execute("DROP TABLE scores")


@pytest.mark.parametrize(
    "damage", [garbage, header_lost, schema_lost, truncated, pages_lost, table_lost]
)
def test_a_damaged_file_is_set_aside_and_rebuilt(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "imgrank.sqlite3"
    filled(path)
    damage(path)  # type: ignore[operator]
    hurt = path.read_bytes()
    heard: list[str] = []
    with Store(path, notify=heard.append) as store:
        kept(store, range(200))  # some damage shows only where it is met
        store.put(batch(7))
        assert kept(store, range(200)) == {7}
    assert len(heard) == 1
    assert "set aside" in heard[0]
    old = [name for name in aside(path) if not name.endswith(("-wal", "-shm"))]
    assert len(old) == 1
    assert old[0] in heard[0]
    assert (tmp_path / old[0]).read_bytes() == hurt
    with Store(path, notify=heard.append) as store:
        assert kept(store, range(200)) == {7}
        assert [p.name for p in store.info().set_aside] == aside(path)
        store.clear()
        assert aside(path) == []
    assert len(heard) == 1


@pytest.mark.parametrize("reading", [True, False])
def test_damage_in_the_middle_of_a_run(tmp_path: Path, reading: bool) -> None:
    path = tmp_path / "imgrank.sqlite3"
    filled(path)
    heard: list[str] = []
    with Store(path, notify=heard.append) as store:
        pages_lost(path)
        if reading:
            assert kept(store, range(200)) == set()
        store.put(batch(500, 501))  # the batch that meets it is written to the new file
        assert kept(store, range(600)) == {500, 501}
        store.put(batch(502))
    assert len(heard) == 1
    with Store(path, notify=heard.append) as store:
        assert kept(store, range(600)) == {500, 501, 502}
    assert len(heard) == 1


def test_two_that_find_the_same_damage_set_it_aside_once(tmp_path: Path) -> None:
    path = tmp_path / "imgrank.sqlite3"
    filled(path)
    heard: list[str] = []
    with Store(path, notify=heard.append) as one, Store(path, notify=heard.append) as other:
        pages_lost(path)
        one.put(batch(1))
        other.put(batch(2))
        assert kept(one, range(200)) == kept(other, range(200)) == {1, 2}
    assert len(heard) == 1


# ---- nowhere to write ----------------------------------------------------------------------------


def test_a_full_disk_is_said_once_and_known_scores_stay(tmp_path: Path) -> None:
    path = tmp_path / "imgrank.sqlite3"
    heard: list[str] = []
    with Store(path, notify=heard.append) as store:
        store.put(batch(1))
        db = store._database._db
        assert db is not None
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
        for n in range(10, 100):
            store.put(batch(n))
        assert not store.writable
        found = kept(store, range(100))
        assert 1 in found
        assert 99 not in found
        assert len(heard) == 1
        assert "full" in heard[0]
        assert store.prune().files == 0
        assert store.clear() > 0  # frees the disk all the same
        store.put(batch(2))
        assert kept(store, range(100)) == {2}
    assert len(heard) == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    heard: list[str] = []
    with Store(tmp_path / "file" / "imgrank.sqlite3", notify=heard.append) as store:
        store.put(batch(1))
        assert kept(store, range(3)) == set()
        assert store.features(digest(1), "tiny") == {}
        assert store.known_digests([ImageFile(Path("/p/1.jpg"), 1, 1)]) == {}
        assert (store.info().files, store.info().writable) == (0, False)
    assert len(heard) == 1


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder with a store that may be read but not written; root steps down to nobody."""
    folder = Path(tempfile.mkdtemp(prefix="imgrank-read-only-"))
    filled(folder / "imgrank.sqlite3")
    (folder / "imgrank.sqlite3").chmod(0o444)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="folders cannot be made read-only here")
def test_a_read_only_store_is_read(read_only_folder: Path) -> None:
    heard: list[str] = []
    with Store(read_only_folder / "imgrank.sqlite3", notify=heard.append) as store:
        store.put(batch(1000))
        assert kept(store, range(2000)) == set(range(200))
        assert store.features(digest(3), "tiny")["pooled"][0] == 3
        assert not store.writable
        with pytest.raises(StoreError, match="cannot be cleared"):
            store.clear()
    assert len(heard) == 1
    assert "Known scores are still used" in heard[0]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="folders cannot be made read-only here")
def test_a_read_only_folder_without_a_store(read_only_folder: Path) -> None:
    heard: list[str] = []
    with Store(read_only_folder / "other.sqlite3", notify=heard.append) as store:
        store.put(batch(1))
        assert kept(store, range(2)) == set()
    assert len(heard) == 1
