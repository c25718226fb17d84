"""`imgrank models pull yunet` against the stand-in, with a made-up file that OpenCV reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from model_folders import Run, rows, runner
from PIL import Image
from rank_checkpoints import rank_checkpoint
from server import StandIn, sha256

import imgrank
from imgrank.errors import CheckpointError, MissingExtra, ModelUnavailable, UsageError
from imgrank.images.faces import YUNET, detector
from imgrank.models.lock import locked
from imgrank.models.origin import read_origin
from imgrank.models.plan import plan
from imgrank.models.pull import pull
from imgrank.models.registry import find, listed
from imgrank.settings import Settings, load_settings

pytest.importorskip("cv2", reason="needs the extra faces")
pytest.importorskip("onnx", reason="needs the extra onnx")

from yunet_file import yunet_file

PLACE = "opencv/face_detection_yunet"
REVISION = listed()["yunet"].revision


@pytest.fixture
def run(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture(scope="module")
def file() -> bytes:
    return yunet_file()


def publish(hub: StandIn, file: bytes) -> None:
    """On the pinned commit, beside what a pull is not to take."""
    files = {YUNET: file, "README.md": b"# YuNet", "face_detection_yunet_2023mar_int8.onnx": b"8"}
    first = hub.add(PLACE, files, lfs=[name for name in files if name.endswith(".onnx")])
    commits = hub.repos[PLACE].commits
    commits[REVISION] = commits[first]
    hub.add(PLACE, {**files, YUNET: b"newer"})


def test_it_is_pulled_by_name_pinned_and_used(
    hub: StandIn, run: Run, settings: Settings, file: bytes, tmp_path: Path
) -> None:
    publish(hub, file)
    result = run("models", "pull", "yunet", "--yes")
    assert result.exit_code == 0, result.stderr
    folder = settings.models_dir / "yunet"
    assert result.stdout.strip() == str(folder)
    said = result.stderr.splitlines()
    assert said[0].strip() == f"yunet: detector from {PLACE}"
    assert f"revision  {REVISION} (pinned by the package)" in said
    assert "licence   mit" in said
    assert said[-1] == "yunet is ready: imgrank age PHOTOS"
    assert "warning" not in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == [YUNET, "origin.json"]

    facts = {YUNET: {"sha256": sha256(file), "bytes": len(file)}}  # not known before
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.revision, dict(origin.files)) == (REVISION, facts)
    row = locked(settings)[f"hf:{PLACE}@{REVISION}"]
    assert (row.revision, row.files) == (REVISION, facts)

    pixels = np.zeros((320, 320, 3), np.uint8)
    pixels[80:112, 80:112, 0] = 255
    found = detector(settings.models_dir)
    assert found.name == "yunet"
    assert [(f.x, f.y, f.width, f.height) for f in found.detect(pixels)] == [(48, 48, 64, 64)]
    Image.fromarray(pixels).save(tmp_path / "red.png")
    ages = rank_checkpoint(tmp_path / "ages", "age")
    (estimate,) = imgrank.age(tmp_path / "red.png", options=imgrank.Options(str(ages))).rows
    assert (estimate.box.x, estimate.box.y, estimate.box.width) == (48, 48, 64)

    hub.requests.clear()
    again = run("models", "pull", "yunet")
    assert (again.exit_code, hub.requests) == (0, [])
    assert "imgrank age PHOTOS" in again.stderr


def test_the_lists_say_what_it_is_for(
    hub: StandIn, run: Run, settings: Settings, file: bytes
) -> None:
    use = "finds faces for `imgrank age`"
    absent = rows(run("models", "list", "--json"))["yunet"]
    assert (absent["kind"], absent["state"], absent["bytes"]) == ("detector", "not here", 233_000)
    assert "~233 kB" in run("models", "info", "yunet").stdout
    offline = run("models", "pull", "yunet", "--dry-run", "--offline")
    assert f"revision  {REVISION} (pinned)" in offline.stdout
    publish(hub, file)
    run("models", "pull", "yunet", "--yes")
    here = rows(run("models", "list", "--json", "--here"))["yunet"]
    assert (here["answers"], here["tasks"], here["default_for"]) == (use, [], [])
    assert (here["state"], here["pinned"], here["revision"], here["licence"]) == (
        *("here", "by the package", REVISION, "mit"),
    )
    told = run("models", "info", "yunet").stdout.splitlines()
    assert told[:2] == ["yunet: detector, here", use]
    assert told[-1] == "next: imgrank age PHOTOS"
    assert json.loads(run("models", "info", "yunet", "--json").stdout)["config"] == {}
    assert run("models", "verify", "yunet").stdout == "yunet\tok\n"
    assert run("doctor").exit_code == 0


def test_a_folder_that_lost_the_file_is_damaged(hub: StandIn, run: Run, file: bytes) -> None:
    publish(hub, file)
    folder = Path(run("models", "pull", "yunet", "--yes").stdout.strip())
    (folder / YUNET).unlink()
    assert rows(run("models", "list", "--json"))["yunet"]["state"] == "damaged"
    result = run("models", "verify", "yunet")
    assert (result.exit_code, f"it holds no {YUNET}" in result.stdout) == (3, True)
    assert detector(folder.parent).name != "yunet"
    assert run("models", "pull", "yunet").exit_code == 3  # says to remove it first


@pytest.mark.parametrize("how", ["altered", "cut off"])
def test_a_damaged_file_is_told_and_the_advice_repairs(
    hub: StandIn, run: Run, settings: Settings, file: bytes, how: str, tmp_path: Path
) -> None:
    publish(hub, file)
    run("models", "pull", "yunet", "--yes")
    path = settings.models_dir / "yunet" / YUNET
    path.write_bytes(bytes(len(file)) if how == "altered" else file[:1000])
    result = run("models", "verify", "yunet")
    assert (result.exit_code, str(path) in result.stdout) == (3, True)
    with pytest.raises(CheckpointError, match=r"OpenCV 4.* cannot use .*models verify yunet"):
        detector(settings.models_dir).detect(np.zeros((320, 320, 3), np.uint8))
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    told = run("age", str(tmp_path / "a.png"))
    assert told.exit_code == 3
    assert "imgrank models verify yunet" in told.stderr
    advice = result.stderr.strip().partition(": ")[2].split(", then ")
    assert advice == ["imgrank models remove yunet", "imgrank models pull yunet"]
    for line in advice:
        assert run(*line.split()[1:], "--yes").exit_code == 0
    assert run("models", "verify", "yunet").stdout == "yunet\tok\n"
    assert run("models", "remove", "yunet", "--yes").exit_code == 0
    assert detector(settings.models_dir).name != "yunet"


def test_it_answers_no_query(hub: StandIn, run: Run, file: bytes, tmp_path: Path) -> None:
    publish(hub, file)
    run("models", "pull", "yunet", "--yes")
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    picture = str(tmp_path / "a.png")
    for words in (["sort", picture, "a cat"], ["age", picture], ["index", picture]):
        result = run(*words, "--model", "yunet")
        assert result.exit_code == 2, words
        assert "yunet finds faces and answers nothing itself: `imgrank age` uses" in result.stderr
    result = run("decade", picture, "--model", "yunet")
    assert (result.exit_code, "is of kind detector" in result.stderr) == (2, True)
    result = run("models", "default", "yunet")
    assert (result.exit_code, "answers nothing itself" in result.stderr) == (2, True)
    result = run("models", "push", "yunet", "owner/yunet", "--yes")
    assert (result.exit_code, "is published already" in result.stderr) == (2, True)


def test_what_opencv_cannot_use_is_not_kept(hub: StandIn, settings: Settings) -> None:
    publish(hub, b"no network")
    with pytest.raises(ModelUnavailable, match=r"OpenCV cannot use it: .*Nothing was kept"):
        pull(plan("yunet", settings), settings)
    assert list(settings.models_dir.iterdir()) == []
    assert locked(settings) == {}


def test_onnx_is_taken_for_this_name_alone(
    hub: StandIn, settings: Settings, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, file)
    hub.add("owner/net", {YUNET: file})
    with pytest.raises(ModelUnavailable, match="holds no model that imgrank can use: neither"):
        plan("hf:owner/net", settings)
    for wish in (f"hf:{PLACE}", f"hf:{PLACE}@{REVISION}"):
        with pytest.raises(ModelUnavailable, match=r"By its name .*: imgrank models pull yunet$"):
            plan(wish, settings)
    with pytest.raises(UsageError, match="'yunet' is found by this very name: pull it without"):
        plan("yunet", settings, name="mine")
    monkeypatch.setattr("imgrank.models.published.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"detector yunet needs an extra: .*imgrank\[faces\]"):
        plan("yunet", settings)
    assert not any("/resolve/" in request for request in hub.requests)


def test_a_file_that_the_user_put_there_is_known_too(settings: Settings, file: bytes) -> None:
    folder = settings.models_dir / "yunet"
    folder.mkdir(parents=True)
    (folder / YUNET).write_bytes(file)
    entry = find("yunet", settings.models_dir)
    assert (entry.kind, entry.where, entry.size) == ("detector", "local", len(file))
    assert detector(settings.models_dir).name == "yunet"
    with pytest.raises(UsageError, match="is your own, and is not overwritten"):
        plan("yunet", settings)


def test_the_detector_reads_the_file_that_the_list_names() -> None:
    assert [*listed()["yunet"].files] == [YUNET]
