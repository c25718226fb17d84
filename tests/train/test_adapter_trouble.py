"""A training that meets trouble loses no work: states, logs, folders, losses that are no number."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_training import CONFIG, interrupted, trained

from imgrank.errors import CheckpointError, DataError, UsageError
from imgrank.train import adapter as recipe
from imgrank.train import run
from imgrank.train.streams import Stream

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_state_of_other_settings_is_refused(streams: list[Stream], tmp_path: Path) -> None:
    trained(replace(CONFIG, steps=2), streams, tmp_path / "out")
    with pytest.raises(CheckpointError, match="other settings"):
        trained(CONFIG, streams, tmp_path / "out")


def test_a_damaged_state_is_told(streams: list[Stream], tmp_path: Path) -> None:
    trained(CONFIG, streams, tmp_path)
    state = tmp_path / "state.pt"
    for damaged in (b"", state.read_bytes()[:2000], b"no zip file at all"):
        state.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"state\.pt is damaged\. Delete it"):
            trained(CONFIG, streams, tmp_path)


def test_a_log_that_a_killed_process_left_does_not_end_the_resumed_run(
    streams: list[Stream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(CONFIG, streams, tmp_path / "whole")
    interrupted(CONFIG, streams, tmp_path / "parts", 3, monkeypatch)
    log = tmp_path / "parts" / "metrics.jsonl"
    with log.open("a") as file:
        file.write('{"step": 5, "total": 0.1}\n{"step": 6, "tot')
    trained(CONFIG, streams, tmp_path / "parts")
    assert log.read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    run.save_state(path, {}, {"step": 1})
    full = {"step": 2, "pictures": Unwritable()}
    with pytest.raises(DataError, match=r"No space left on device\. The one before is kept"):
        run.save_state(path, {}, full)
    assert run.load_state(path, {}) == {"step": 1, "recipe": "{}"}
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


class Unwritable:
    """What meets a full disk."""

    def __reduce__(self) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        run.alone_in(tmp_path),
        pytest.raises(UsageError, match="another training is at work in"),
        run.alone_in(tmp_path),
    ):
        pass
    with run.alone_in(tmp_path):  # it is free again
        pass


def test_a_loss_that_is_no_number_ends_the_run_before_the_weights_are_lost(
    streams: list[Stream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = recipe.batch_loss

    def loss(*arguments: Any) -> dict[str, Tensor]:
        parts = before(*arguments)
        return {**parts, "total": parts["total"] * float("nan")} if arguments[3] == 4 else parts

    monkeypatch.setattr(recipe, "batch_loss", loss)
    with pytest.raises(CheckpointError, match="loss of step 5 is no number"):
        trained(CONFIG, streams, tmp_path)
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    assert kept["step"] == 4
    assert all(torch.isfinite(value).all() for value in kept["model"].values())
