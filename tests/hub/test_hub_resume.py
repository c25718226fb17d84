"""Half a large file: the next pull asks for the other half, and ends right or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from server import StandIn, sha256
from small_models import SAFE, backbone

from imgrank.errors import ModelUnavailable
from imgrank.models import hub_parts
from imgrank.models.hub import RemoteFile, fetch, look_up
from imgrank.models.plan import staging
from imgrank.models.pull import plan, pull
from imgrank.settings import Settings, load_settings

WISH = "hf:owner/small"
CHUNK = 1 << 16
HALF = 12 * CHUNK
WHOLE = backbone()[SAFE]
CONFIG = len(backbone()["open_clip_config.json"])


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def small(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    hub.add("owner/small", backbone())
    monkeypatch.setattr(hub_parts, "CHUNK", CHUNK)
    return hub


@pytest.fixture
def part(small: StandIn, settings: Settings) -> Path:
    """The first half of the weights, of a connection that was cut and stayed so."""
    small.fail(SAFE, "truncate", method="GET", at=HALF)
    with pytest.raises(ModelUnavailable, match="broke off"):
        pull(plan(WISH, settings), settings)
    small.faults.clear()
    small.served.clear()
    path = staging(settings, "small") / f".{SAFE}.{sha256(WHOLE)[:16]}.part"
    assert path.read_bytes() == WHOLE[:HALF]
    return path


def weights_served(hub: StandIn) -> list[tuple[str, int]]:
    return [(asked, count) for path, asked, count in hub.served if path.endswith(SAFE)]


def finish(settings: Settings) -> list[int]:
    """The pull goes through; the bytes that it said were done, in order."""
    done: list[int] = []
    totals: set[int] = set()

    def progress(count: int, total: int) -> None:
        done.append(count)
        totals.add(total)

    folder = pull(plan(WISH, settings), settings, progress=progress)
    assert (folder / SAFE).read_bytes() == WHOLE
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["imgrank.json", "open_clip_config.json", SAFE, "origin.json"]
    assert totals == {CONFIG + len(WHOLE)}
    assert done[-1] == CONFIG + len(WHOLE)
    return done


def test_a_cut_connection_costs_no_byte_twice(
    small: StandIn, settings: Settings, part: Path
) -> None:
    assert plan(WISH, settings).bytes_to_fetch == len(WHOLE) - HALF
    done = finish(settings)
    assert weights_served(small) == [(f"bytes={HALF}-", len(WHOLE) - HALF)]
    after = [count for count in done if count > CONFIG]
    assert after[0] == CONFIG + HALF  # what was there, before anything came
    assert after == sorted(after)


def test_ctrl_c(small: StandIn, settings: Settings) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > HALF + CONFIG:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(plan(WISH, settings), settings, progress=interrupt)
    small.served.clear()
    finish(settings)
    assert weights_served(small) == [(f"bytes={HALF}-", len(WHOLE) - HALF)]


def test_kill_9(small: StandIn, settings: Settings) -> None:
    small.fail(SAFE, "stall", method="GET", times=1, at=HALF)
    script = (
        "from imgrank.models import hub_parts; from imgrank.models.pull import plan, pull\n"
        "from imgrank.settings import load_settings\n"
        f"hub_parts.CHUNK = {CHUNK}; s = load_settings(); pull(plan({WISH!r}, s), s)"
    )
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    path = staging(settings, "small") / f".{SAFE}.{sha256(WHOLE)[:16]}.part"
    with subprocess.Popen([sys.executable, "-c", script], env=environ) as child:
        assert small.stalled.wait(60)
        while path.stat().st_size < HALF and child.poll() is None:
            threading.Event().wait(0.01)  # all was sent; the child is about to write it
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    small.served.clear()
    finish(settings)
    assert weights_served(small) == [(f"bytes={HALF}-", len(WHOLE) - HALF)]


def test_a_disk_that_fills_up_keeps_the_part(small: StandIn, settings: Settings) -> None:
    def full(done: int, total: int) -> None:  # where the client is about to write
        if done > HALF + CONFIG:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ModelUnavailable, match=r"the disk is full.*what came is kept"):
        pull(plan(WISH, settings), settings, progress=full)
    small.served.clear()
    finish(settings)
    assert weights_served(small) == [(f"bytes={HALF}-", len(WHOLE) - HALF)]


@pytest.mark.parametrize(
    ("how", "served"),
    [
        ("whole", [len(WHOLE)]),  # 200 instead of 206: the client begins anew by itself
        ("more", [len(WHOLE), len(WHOLE)]),  # 206, but from the start: too much, fetched again
        (416, [len(WHOLE)]),
    ],
)
def test_a_server_that_does_not_go_on(
    small: StandIn, settings: Settings, part: Path, how: str | int, served: list[int]
) -> None:
    small.fail(SAFE, how, method="GET", times=1, code="none")
    finish(settings)
    assert [count for _, count in weights_served(small)] == served


@pytest.mark.parametrize("how", ["", "altered part", "truncate", "whole", "more", 416])
def test_what_is_counted_adds_up(
    small: StandIn, settings: Settings, part: Path, how: str | int
) -> None:
    if how == "altered part":
        part.write_bytes(bytes(HALF))
    elif how:
        small.fail(SAFE, how, method="GET", times=1, code="none", at=HALF + 4 * CHUNK)
    counts: list[int] = []
    fetch(look_up("owner/small", None), SAFE, part.parent, counts.append)
    assert counts[0] == HALF
    assert sum(counts) == len(WHOLE)
    assert (part.parent / SAFE).read_bytes() == WHOLE


def test_an_altered_part_is_found_out_and_the_file_fetched_whole(
    small: StandIn, settings: Settings, part: Path
) -> None:
    part.write_bytes(bytes([WHOLE[0] ^ 1]) + WHOLE[1:HALF])
    finish(settings)
    rest = len(WHOLE) - HALF
    assert weights_served(small) == [(f"bytes={HALF}-", rest), ("", len(WHOLE))]


def test_a_whole_part_is_compared_and_not_fetched(
    small: StandIn, settings: Settings, part: Path
) -> None:
    part.write_bytes(WHOLE)
    finish(settings)
    assert weights_served(small) == []


def test_a_part_that_is_too_long_counts_for_nothing(
    small: StandIn, settings: Settings, part: Path
) -> None:
    part.write_bytes(WHOLE + b"more")
    assert plan(WISH, settings).bytes_to_fetch == len(WHOLE)
    finish(settings)
    assert weights_served(small) == [("", len(WHOLE))]


def test_altered_content_behind_a_part_is_given_up_after_one_whole_try(
    small: StandIn, settings: Settings, part: Path
) -> None:
    part.write_bytes(bytes(HALF))
    small.fail(SAFE, "alter", method="GET")
    with pytest.raises(ModelUnavailable, match=r"arrived altered: its sha256 is another"):
        pull(plan(WISH, settings), settings)
    assert [asked for asked, _ in weights_served(small)] == [f"bytes={HALF}-", ""]
    assert [path.name for path in part.parent.iterdir() if SAFE in path.name] == []


def test_a_part_of_another_commit_is_not_gone_on_with(
    small: StandIn, settings: Settings, part: Path
) -> None:
    small.add("owner/small", backbone(seed=1))
    folder = pull(plan(WISH, settings), settings)
    assert (folder / SAFE).read_bytes() == backbone(seed=1)[SAFE]
    assert weights_served(small) == [("", len(WHOLE))]
    assert not part.exists()
    assert not list(folder.glob("*.part"))


def test_the_token_goes_to_the_hub_and_not_to_its_store(
    small: StandIn, settings: Settings, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_the_right_one")
    small.tokens.clear()
    finish(settings)
    by_place = {("/resolve/" in path, token) for path, token in small.tokens if SAFE in path}
    assert by_place == {(True, "Bearer hf_the_right_one"), (False, "")}


def test_what_goes_in_parts(small: StandIn) -> None:
    weights = look_up("owner/small", None).files[SAFE]
    assert hub_parts.resumable(weights)
    assert not hub_parts.resumable(replace(weights, bytes=hub_parts.LARGE - 1))
    assert not hub_parts.resumable(replace(weights, bytes=50 * 10**9 + 1))  # only Xet serves it
    assert not hub_parts.resumable(RemoteFile("tokenizer.json", 1 << 24, blob="0" * 40))
