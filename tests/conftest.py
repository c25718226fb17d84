"""For every test: no real home folder, whatever is imported when."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

_FOLDER = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    # huggingface_hub reads HF_HOME when it is imported, which may be before the first test runs.
    config.stash[_FOLDER] = tempfile.TemporaryDirectory(prefix="imgrank-tests-")
    os.environ["HF_HOME"] = config.stash[_FOLDER].name


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_FOLDER].cleanup()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """IMGRANK_HOME of this test; nothing that the user has set for imgrank or the Hub applies."""
    hub = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "HF_TOKEN")
    for name in [name for name in os.environ if name.startswith("IMGRANK_") or name in hub]:
        monkeypatch.delenv(name)
    folder = tmp_path / "imgrank-home"
    monkeypatch.setenv("IMGRANK_HOME", str(folder))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    monkeypatch.setenv("IMGRANK_ENGINE", "torch")  # no test exports towers that does not ask for it
    return folder


@pytest.fixture(scope="session")
def tiny_vlm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen2.5-VL, made once a run. Read only: copy it to change it."""
    pytest.importorskip("transformers", reason="needs imgrank[rarl]")
    from tiny_vlm import tiny_vlm

    return tiny_vlm(tmp_path_factory.mktemp("vlm") / "tiny-vlm")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of the pictures that were read from now on."""
    import imgrank.pipeline as pipeline

    read: list[Path] = []
    real = pipeline.read_file
    monkeypatch.setattr(pipeline, "read_file", lambda path: read.append(path) or real(path))
    return read
