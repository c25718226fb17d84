"""Servers that lie, stop, refuse or are not there: each ends with a sentence, none with a model."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub.file_download
import huggingface_hub.utils
import pytest
from server import TOKEN, StandIn
from small_models import SAFE, backbone

from imgrank.errors import ModelUnavailable
from imgrank.models import plan as plan_module
from imgrank.models.lock import locked
from imgrank.models.pull import plan, pull
from imgrank.models.registry import entries, size_text
from imgrank.settings import Settings, load_settings

WISH = "hf:owner/small"
CONFIG = "open_clip_config.json"


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def small(hub: StandIn) -> StandIn:
    hub.add("owner/small", backbone())
    return hub


def refused(settings: Settings, says: str, run: Callable[[], object]) -> str:
    """The one sentence; no model, no lock, no word about the client's inner life."""
    with pytest.raises(ModelUnavailable, match=says) as caught:
        run()
    assert not (settings.models_dir / "small").exists()
    assert [entry.name for entry in entries(settings.models_dir) if entry.where != "embedded"] == []
    assert locked(settings) == {}
    message = str(caught.value)
    assert "Traceback" not in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("file", [SAFE, CONFIG])
def test_altered_content_of_the_right_size_is_found_and_deleted(
    small: StandIn, settings: Settings, file: str
) -> None:
    found = plan(WISH, settings)
    small.fail(file, "alter", method="GET", times=1)
    refused(settings, rf"{file} of owner/small@\w+ arrived altered", lambda: pull(found, settings))
    assert not (plan_module.staging(settings, "small") / file).exists()
    assert pull(found, settings).name == "small"  # the server has come to its senses


def test_content_that_ends_too_early(small: StandIn, settings: Settings) -> None:
    found = plan(WISH, settings)
    small.fail(SAFE, "truncate", method="GET", at=1000)
    refused(settings, "connection to .* broke off", lambda: pull(found, settings))
    # asked for the rest, in vain, as often as the client does
    assert len([path for path, _, _ in small.served if SAFE in path]) == 6


def test_a_connection_that_breaks_once_goes_on_where_it_broke(
    small: StandIn, settings: Settings
) -> None:
    small.fail(SAFE, "truncate", method="GET", at=1000, times=1)
    calls: list[tuple[int, int]] = []
    folder = pull(
        plan(WISH, settings), settings, progress=lambda done, total: calls.append((done, total))
    )
    assert (folder / SAFE).read_bytes() == backbone()[SAFE]
    assert calls[-1][0] == calls[-1][1]


def test_content_that_is_announced_shorter_than_it_is(small: StandIn, settings: Settings) -> None:
    found = plan(WISH, settings)
    small.fail(SAFE, "short", method="GET")
    refused(settings, "arrived cut short", lambda: pull(found, settings))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("part", "method"), [("/api/models", "GET"), (SAFE, "GET"), ("/resolve/", "HEAD")]
)
def test_a_server_that_stalls(
    small: StandIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    method: str,
) -> None:
    monkeypatch.setattr(huggingface_hub.file_download, "_ETAG_RETRY_TIMEOUT", 0.25)
    small.fail(part, "stall", method=method)
    message = refused(settings, "stopped answering", lambda: pull(plan(WISH, settings), settings))
    assert "HF_HUB_DOWNLOAD_TIMEOUT" in message
    assert len(small.requests) <= 18  # it gave up


class Case(NamedTuple):
    part: str
    status: int
    code: str
    says: str


REFUSALS = [
    Case("/api/models", 401, "", r"refused the token \(401\)"),
    Case("/api/models", 403, "", "the token may not do this"),
    Case("/api/models", 404, "RepoNotFound", "no repository owner/small that may be read"),
    Case("/api/models", 404, "RevisionNotFound", "has no revision"),
    Case("/api/models", 429, "", r"asked too often from here \(429\).*after 1 seconds.*HF_TOKEN"),
    Case("/api/models", 500, "", r"trouble of its own \(500\)"),
    Case("/api/models", 418, "", "answered 418"),
    Case(SAFE, 401, "GatedRepo", "is gated: .*accept them.*HF_TOKEN"),
    Case(SAFE, 403, "GatedRepo", "is gated"),
    Case(SAFE, 404, "EntryNotFound", f"{SAFE} of owner/small is not there"),
    Case(SAFE, 429, "", "asked too often"),
    Case(SAFE, 503, "", r"trouble of its own \(503\)"),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: f"{case.status}{case.code}")
def test_statuses(small: StandIn, settings: Settings, case: Case) -> None:
    small.fail(case.part, case.status, code=case.code or "none")
    refused(settings, case.says, lambda: pull(plan(WISH, settings), settings))


def test_a_server_that_fails_for_a_moment_is_asked_again_in_silence(
    small: StandIn, settings: Settings
) -> None:
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("huggingface_hub")
    logger.addHandler(handler)
    try:
        small.fail(SAFE, 503, times=2, method="HEAD", code="none")
        small.fail(SAFE, 429, times=2, method="GET", code="none")
        assert pull(plan(WISH, settings), settings).name == "small"
    finally:
        logger.removeHandler(handler)
    assert said == []
    assert not huggingface_hub.utils.are_progress_bars_disabled()  # as it was before


def test_missing_repository_and_revision(small: StandIn, settings: Settings) -> None:
    refused(settings, "Check the spelling", lambda: plan("hf:owner/smal", settings))
    refused(settings, "has no revision 'v9'", lambda: plan(f"{WISH}@v9", settings))


def test_a_private_repository(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/small", backbone(), private=True)
    refused(settings, "if it is private, set HF_TOKEN", lambda: plan(WISH, settings))
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused(settings, "refused the token", lambda: plan(WISH, settings))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert pull(plan(WISH, settings), settings).name == "small"
    store = [token for path, token in hub.tokens if path.startswith("/owner/small/") and
             "/resolve/" not in path]  # fmt: skip
    assert store == [""]  # the store of large files is at another address: it sees no token


def test_a_gated_repository(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/small", backbone(), gated=True)
    message = refused(settings, "is gated", lambda: plan(WISH, settings))
    assert f"{hub.url}/owner/small" in message
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    found = plan(WISH, settings)
    assert found.gated
    assert pull(found, settings).name == "small"


@pytest.mark.parametrize("how", ["--offline", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_opens_no_socket(small: StandIn, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    found = plan(WISH, load_settings())
    asked = len(small.requests)
    if how != "--offline":
        monkeypatch.setenv(how, "1")
    settings = load_settings(offline=True if how == "--offline" else None)
    for run in (lambda: plan(WISH, settings), lambda: pull(found, settings)):
        message = refused(settings, "needs the network", run)
        assert how in message
        assert str(settings.models_dir) in message
    assert len(small.requests) == asked


def test_what_is_here_needs_no_network(small: StandIn, settings: Settings) -> None:
    folder = pull(plan(WISH, settings), settings)
    offline = load_settings(offline=True)
    found = plan(WISH, offline)
    assert found.here == folder
    assert pull(found, offline) == folder


def test_nobody_at_the_endpoint(
    small: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    message = refused(
        settings, r"no connection to http://127\.0\.0\.1:9", lambda: plan(WISH, settings)
    )
    assert "HF_ENDPOINT" in message
    assert "--offline" in message
    assert "proxy" not in message
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    refused(settings, "HF_ENDPOINT is no address", lambda: plan(WISH, settings))


def test_a_proxy_that_is_not_there_is_named_but_not_its_password(
    small: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    message = refused(settings, "the proxy that HTTP_PROXY names", lambda: plan(WISH, settings))
    assert "secret" not in message
    assert small.requests == []


def test_a_login_page_instead_of_the_hub(
    small: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{small.url}/owner/small/resolve/main/.gitattributes?")
    refused(settings, "does not answer as the Hub does", lambda: plan(WISH, settings))


def test_a_mirror_that_gives_no_hashes(
    small: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server._blob", lambda data, large: {"size": len(data)})
    refused(settings, "gives no hash", lambda: pull(plan(WISH, settings), settings))


def test_too_little_room_is_told_before_anything_large_comes(
    small: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    found = plan(WISH, settings)
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(found.bytes_to_fetch - 1))
    message = refused(settings, "are free there", lambda: plan(WISH, settings))
    assert f"needs {size_text(found.bytes_to_fetch)} in" in message
    refused(settings, "Make room", lambda: pull(found, settings))
    assert not [request for request in small.requests if SAFE in request]


def test_a_disk_that_fills_up_on_the_way(
    small: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = plan(WISH, settings)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.file_download, "_chmod_and_move", full)
        refused(settings, "the disk is full", lambda: pull(found, settings))
    assert pull(found, settings).name == "small"


def test_ctrl_c_keeps_what_is_whole(small: StandIn, settings: Settings) -> None:
    found = plan(WISH, settings)

    def interrupt(done: int, total: int) -> None:
        if done > len(backbone()[CONFIG]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(found, settings, progress=interrupt)
    assert not (settings.models_dir / "small").exists()
    small.requests.clear()
    again = plan(WISH, settings)
    assert again.bytes_to_fetch == len(backbone()[SAFE])
    assert pull(again, settings).name == "small"
    configs = [r for r in small.requests if CONFIG in r and not r.startswith("GET /api")]
    assert len(configs) == 2  # the plan's own look (HEAD, GET); the pull had it


def test_kill_9_in_the_middle_leaves_no_model_and_the_next_pull_finishes(
    small: StandIn, settings: Settings
) -> None:
    small.fail(SAFE, "stall", method="GET", times=1, at=1000)
    script = (
        "from imgrank.models.pull import plan, pull; from imgrank.settings import load_settings\n"
        f"s = load_settings(); pull(plan({WISH!r}, s), s)"
    )
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", script], env=environ)
    assert small.stalled.wait(60)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert [entry.name for entry in entries(settings.models_dir) if entry.where != "embedded"] == []
    assert locked(settings) == {}
    staged = plan_module.staging(settings, "small")
    assert (staged / CONFIG).read_bytes() == backbone()[CONFIG]
    assert not (staged / SAFE).exists()
    assert len(list(staged.glob(f".{SAFE}.*.part"))) == 1  # what came of it

    folder = pull(plan(WISH, settings), settings)
    assert (folder / SAFE).read_bytes() == backbone()[SAFE]
    assert [path.name for path in settings.models_dir.iterdir()] == ["small"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "imgrank.json", CONFIG, SAFE, "origin.json"]  # fmt: skip


@pytest.mark.usefixtures("impatient")
def test_two_pulls_of_one_name_at_once(small: StandIn, settings: Settings) -> None:
    found = plan(WISH, settings)
    small.fail(SAFE, "stall", method="GET", times=1, at=1000)
    first = threading.Thread(target=pull, args=(found, settings))
    first.start()
    assert small.stalled.wait(60)
    with pytest.raises(ModelUnavailable, match="another imgrank is fetching small"):
        pull(found, settings)
    first.join()  # the stall ends by its time limit, and the client goes on
    assert (settings.models_dir / "small" / SAFE).read_bytes() == backbone()[SAFE]


def test_a_data_folder_that_cannot_be_written(
    small: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("IMGRANK_DATA_DIR", str(tmp_path / "file"))
    settings = load_settings()
    with pytest.raises(ModelUnavailable, match="cannot write into"):
        pull(plan(WISH, settings), settings)
