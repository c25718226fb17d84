"""What goes into the store comes out of it, found by content."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from imgrank.errors import StoreError
from imgrank.images import ImageFile
from imgrank.store.digest import digest_bytes, digest_file
from imgrank.store.store import Batch, FeatureRow, FileRow, Score, ScoreRow, Store

RANKER, PROMPT = "adapter:0123", "sort images by the image quality of MOS"
A, B, C = (hashlib.sha256(name).digest() for name in (b"a", b"b", b"c"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store" / "imgrank.sqlite3") as store:
        yield store


def image(path: str | Path, size: int = 10, mtime_ns: int = 1_700_000_000_123_456_789) -> ImageFile:
    return ImageFile(Path(path), size, mtime_ns)


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, "abc"
    assert digest_bytes(b"abc").hex() == known
    (tmp_path / "file").write_bytes(b"abc")
    assert digest_file(tmp_path / "file").hex() == known


def test_a_batch_survives_closing(tmp_path: Path) -> None:
    path = tmp_path / "imgrank.sqlite3"
    grid = np.arange(6, dtype=np.float16).reshape(2, 3)
    with Store(path) as store:
        store.put(
            Batch(
                files=[FileRow(image("/p/1.jpg"), A)],
                scores=[ScoreRow(A, RANKER, PROMPT, Score(3.25, 3.0, 3.5))],
                features=[FeatureRow(A, "tiny:1", "grid", grid)],
            )
        )
    with Store(path) as store:
        assert store.known_digests([image("/p/1.jpg")]) == {Path("/p/1.jpg"): A}
        assert store.scores([A, B], RANKER, PROMPT) == {A: Score(3.25, 3.0, 3.5)}
        kept = store.features(A, "tiny:1")
    assert kept.keys() == {"grid"}
    assert kept["grid"].dtype == np.float16
    np.testing.assert_array_equal(kept["grid"], grid)
    kept["grid"][0, 0] = 9  # torch.from_numpy warns of arrays that are read-only


def test_a_file_is_known_while_size_and_time_are_as_they_were(store: Store) -> None:
    store.put(Batch(files=[FileRow(image("/p/1.jpg"), A)]))
    assert store.known_digests([image("/p/1.jpg", size=11)]) == {}
    assert store.known_digests([image("/p/1.jpg", mtime_ns=1_700_000_000_123_456_788)]) == {}
    store.put(Batch(files=[FileRow(image("/p/1.jpg", size=11), B)]))
    assert store.known_digests([image("/p/1.jpg"), image("/p/1.jpg", size=11)]) == {
        Path("/p/1.jpg"): B
    }
    assert store.known_digests([]) == {}


def test_a_renamed_or_copied_picture_keeps_its_score(store: Store) -> None:
    store.put(
        Batch(
            files=[FileRow(image("/p/old.jpg"), A)],
            scores=[ScoreRow(A, RANKER, PROMPT, Score(1.5))],
        )
    )
    assert store.known_digests([image("/p/new.jpg")]) == {}
    store.put(Batch(files=[FileRow(image("/p/new.jpg"), A), FileRow(image("/q/copy.jpg"), A)]))
    found = store.known_digests([image(p) for p in ("/p/old.jpg", "/p/new.jpg", "/q/copy.jpg")])
    assert set(found.values()) == {A}
    assert len(found) == 3
    assert store.scores([A], RANKER, PROMPT) == {A: Score(1.5)}


def test_relative_paths_are_the_same_files(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store.put(Batch(files=[FileRow(image("p/../q/1.jpg"), A)]))
    assert store.known_digests([image("q/1.jpg")]) == {Path("q/1.jpg"): A}
    assert store.known_digests([image(tmp_path / "q" / "1.jpg")]) == {tmp_path / "q" / "1.jpg": A}
    monkeypatch.chdir("/")
    assert store.known_digests([image("q/1.jpg")]) == {}


def test_names_that_are_not_utf8(store: Store) -> None:
    name = os.fsdecode(b"/p/caf\xe9 \xf0\x9f\x90\x88.jpg")
    other = os.fsdecode(b"/p/caf\xe8 \xf0\x9f\x90\x88.jpg")
    store.put(Batch(files=[FileRow(image(name), A), FileRow(image(other), B)]))
    assert store.known_digests([image(name), image(other)]) == {Path(name): A, Path(other): B}


def test_a_prompt_that_is_not_utf8(store: Store) -> None:
    prompt, other = os.fsdecode(b"caf\xe9"), os.fsdecode(b"caf\xe8")
    store.put(Batch(scores=[ScoreRow(A, RANKER, prompt, Score(1.0))]))
    assert store.scores([A], RANKER, prompt)
    assert not store.scores([A], RANKER, other)


def test_scores_belong_to_one_ranker_and_one_prompt(store: Store) -> None:
    store.put(
        Batch(
            scores=[
                ScoreRow(A, RANKER, PROMPT, Score(1.0)),
                ScoreRow(A, RANKER, "a cat", Score(2.0)),
                ScoreRow(A, "other", PROMPT, Score(3.0)),
            ]
        )
    )
    assert store.scores([A], RANKER, PROMPT) == {A: Score(1.0)}
    assert store.scores([A], RANKER, "a cat") == {A: Score(2.0)}
    assert store.scores([A], "other", PROMPT) == {A: Score(3.0)}
    assert store.scores([A], "other", "a cat") == {}
    assert store.scores([A], "other", PROMPT)
    assert not store.scores([A], "other", "a cat")
    assert not store.scores([B], "other", PROMPT)
    store.put(Batch(scores=[ScoreRow(A, "other", PROMPT, Score(4.0))]))
    assert store.scores([A], "other", PROMPT) == {A: Score(4.0)}


def test_an_absent_property_is_known(store: Store) -> None:
    store.put(Batch(scores=[ScoreRow(A, "measured", "date taken", Score(math.nan))]))
    assert store.scores([A], "measured", "date taken")
    assert math.isnan(store.scores([A], "measured", "date taken")[A].value)


def test_scores_keep_every_bit_of_a_double_and_take_numpy_numbers(store: Store) -> None:
    values = [0.1, 1e-300, -math.inf, float(np.float32(0.1))]
    digests = [hashlib.sha256(bytes([i])).digest() for i in range(len(values))]
    given = [*values[:3], np.float32(0.1)]
    store.put(
        Batch(
            scores=[
                ScoreRow(d, RANKER, PROMPT, Score(v)) for d, v in zip(digests, given, strict=True)
            ]
        )
    )
    found = store.scores(digests, RANKER, PROMPT)
    assert [found[d].value for d in digests] == values


def test_only_what_was_asked_comes_back_however_it_is_looked_up(store: Store) -> None:
    """Asking for most of a folder reads a range, asking for few looks them up."""
    digests = [hashlib.sha256(str(i).encode()).digest() for i in range(3000)]
    files = [image(f"/p/{i:04}.jpg", size=i) for i in range(3000)]
    store.put(
        Batch(
            files=[FileRow(f, d) for f, d in zip(files, digests, strict=True)],
            scores=[ScoreRow(d, RANKER, PROMPT, Score(float(i))) for i, d in enumerate(digests)],
        )
    )
    for step in (1, 2, 7, 2999):
        some = range(0, 3000, step)
        asked = [files[i] for i in some]
        assert store.known_digests(asked) == {files[i].path: digests[i] for i in some}
        assert store.scores([digests[i] for i in some], RANKER, PROMPT) == {
            digests[i]: Score(float(i)) for i in some
        }


def test_small_features_and_floats(store: Store) -> None:
    pooled = np.array([1.5, -2.0], ">f4")
    store.put(
        Batch(
            features=[
                FeatureRow(A, "tiny", "pooled", pooled),
                FeatureRow(A, "measured", "brightness", 0.25),
            ]
        )
    )
    np.testing.assert_array_equal(store.features(A, "tiny")["pooled"], pooled)
    assert float(store.features(A, "measured")["brightness"]) == 0.25
    assert store.features(B, "tiny") == {}
    assert store.features(A, "tiny", {"pooled", "grid"}).keys() == {"pooled"}
    assert store.features(A, "tiny", {"grid"}) == store.features(A, "tiny", ()) == {}
    with pytest.raises(TypeError, match="objects"):
        store.put(Batch(features=[FeatureRow(A, "t", "x", np.array([None]))]))


def test_two_pictures_of_one_content_in_a_batch(tmp_path: Path) -> None:
    heard: list[str] = []
    with Store(tmp_path / "imgrank.sqlite3", notify=heard.append) as store:
        files = [FileRow(image("/p/1.jpg"), A), FileRow(image("/p/copy.jpg"), A)]
        scores = [ScoreRow(A, RANKER, PROMPT, Score(1.5))] * 2
        both = [FeatureRow(A, "tiny:1", "pooled", np.full(4, n, np.float16)) for n in (1, 2)]
        store.put(Batch(files=files, scores=scores, features=both))
        assert store.features(A, "tiny:1")["pooled"].tolist() == [2, 2, 2, 2]
        assert store.scores([A], RANKER, PROMPT) == {A: Score(1.5)}
    assert heard == []


def test_which_pictures_have_all_features(store: Store) -> None:
    ones = np.ones(3, np.float32)
    store.put(
        Batch(
            features=[
                FeatureRow(A, "tiny", "pooled", ones),
                FeatureRow(A, "tiny", "grid", ones),
                FeatureRow(B, "tiny", "pooled", ones),
                FeatureRow(B, "other", "grid", ones),
            ]
        )
    )
    assert store.with_features([A, B, C], "tiny", {"pooled"}) == {A, B}
    assert store.with_features([A, B, C], "tiny", {"pooled", "grid"}) == {A}
    assert store.with_features([A], "tiny", {"unheard of"}) == set()
    assert store.with_features([A], "tiny", set()) == {A}


def test_a_matrix_of_one_feature_in_the_order_asked(store: Store) -> None:
    rows = {A: [1, 2], B: [3, 4]}
    store.put(
        Batch(
            features=[
                FeatureRow(d, "tiny", "pooled", np.array(v, np.float16)) for d, v in rows.items()
            ]
        )
    )
    found, matrix = store.feature_matrix([B, C, A], "tiny", "pooled")
    assert found == [B, A]
    np.testing.assert_array_equal(matrix, np.array([[3, 4], [1, 2]], np.float16))
    assert matrix.dtype == np.float16
    found, matrix = store.feature_matrix([C], "tiny", "pooled")
    assert (found, matrix.shape) == ([], (0, 0))


def test_threads_read_while_the_main_thread_writes(store: Store) -> None:
    digests = [hashlib.sha256(str(i).encode()).digest() for i in range(40)]
    failures: list[BaseException] = []
    done = threading.Event()

    def look() -> None:
        try:
            while not done.is_set():
                for digest in digests:
                    if store.scores([digest], RANKER, PROMPT):  # then its features are there too
                        assert store.features(digest, "tiny")["grid"][0, 0] == 7
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for digest in digests:
        store.put(
            Batch(
                scores=[ScoreRow(digest, RANKER, PROMPT, Score(1.0))],
                features=[FeatureRow(digest, "tiny", "grid", np.full((64, 64), 7, np.float16))],
            )
        )
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.scores(digests, RANKER, PROMPT)) == 40


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite3")
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.scores([A], RANKER, PROMPT)


def test_scores_are_read_without_numpy(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    with Store(path) as store:
        store.put(Batch(scores=[ScoreRow(A, RANKER, PROMPT, Score(1.0))]))
    code = (
        "import sys; from pathlib import Path; from imgrank.store.store import Store\n"
        f"with Store(Path({str(path)!r})) as s: s.scores([b'x'], 'r', 'p'); s.known_digests([])\n"
        "print([m for m in ('numpy', 'torch', 'logging') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_ten_thousand_known_pictures(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    digests = [hashlib.sha256(str(i).encode()).digest() for i in range(10_000)]
    files = [image(f"/home/someone/Pictures/2019/IMG_{i:06}.jpg") for i in range(10_000)]
    store.put(
        Batch(
            files=[FileRow(f, d) for f, d in zip(files, digests, strict=True)],
            scores=[ScoreRow(d, RANKER, PROMPT, Score(1.0)) for d in digests],
        )
    )
    start = time.process_time()
    known = store.known_digests(files)
    middle = time.process_time()
    scores = store.scores(digests, RANKER, PROMPT)
    end = time.process_time()
    with capsys.disabled():
        print(f"\n10,000 digests {middle - start:.3f} s CPU, scores {end - middle:.3f} s CPU")
    assert len(known) == len(scores) == 10_000
