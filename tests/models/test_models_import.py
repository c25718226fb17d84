"""`models import backbone`: an OpenCLIP folder of the user's becomes a model; it is only read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from official_files import TINY_VIT, save_backbone
from open_clip import CLIP
from safetensors.torch import load_file

from imgrank.cli import cli
from imgrank.errors import CheckpointError, ImgrankError, ModelUnavailable, UsageError
from imgrank.models.imported import new_folder
from imgrank.models.origin import read_origin
from imgrank.models.registry import EMBEDDED, find
from imgrank.models.spec import read_spec
from imgrank.models.verifying import verify
from imgrank.settings import load_settings

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("openclip")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGRANK_HOME", str(root / "home"))
        return save_backbone(root / "described", TINY_VIT, CLIP(**TINY_VIT).state_dict())


@pytest.fixture
def theirs(described: Path, tmp_path: Path) -> Path:
    """A folder as OpenCLIP saves it, with more in it than a model needs."""
    folder = tmp_path / "theirs"
    shutil.copytree(described, folder)
    (folder / "imgrank.json").unlink()
    (folder / "README.md").write_text("# theirs\n")
    (folder / "train.py").write_text("raise SystemExit\n")
    (folder / ".cache").mkdir()
    (folder / "optimizer.bin").write_bytes(b"0" * 99)
    return folder


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["models", "import", "backbone", *arguments])
    if isinstance(result.exception, ImgrankError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def pickled(folder: Path, content: Any, name: str = "open_clip_pytorch_model.bin") -> None:
    (folder / "open_clip_model.safetensors").unlink(missing_ok=True)
    (folder / "optimizer.bin").unlink(missing_ok=True)
    torch.save(content, folder / name)


def test_a_folder_becomes_a_model(theirs: Path, described: Path) -> None:
    before = files(theirs)
    result = run(str(theirs), "--name", "mine")
    folder = load_settings().models_dir / "mine"
    assert result.stdout == f"{folder}\n"
    assert "--model mine" in result.stderr
    assert files(theirs) == before
    assert files(folder).keys() == {
        "README.md",
        "imgrank.json",
        "open_clip_config.json",
        "open_clip_model.safetensors",
        "origin.json",
    }
    assert not any(path.is_symlink() for path in folder.iterdir())
    spec = read_spec(folder)
    assert (spec.name, spec.widths) == (
        "mine",
        {"grid": 24, "text": 16, "embed": 16},
    )
    assert spec.identity == read_spec(described).identity  # its features are shared
    entry = find("mine", load_settings().models_dir)
    assert (entry.kind, entry.where) == ("backbone", "local")
    verify(entry)
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.origin, origin.repository, origin.source) == ("imported", "", {})
    sort = ["sort", str(PHOTOS), "a cat", "--model", "mine", "--format", "json", "--top", "2"]
    said = json.loads(CliRunner().invoke(cli, sort, catch_exceptions=False).stdout)
    assert said["criteria"][0]["model"] == "mine"


def test_files_behind_links_are_copied(theirs: Path, tmp_path: Path) -> None:
    """As the Hub's cache has them."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in theirs.iterdir():
        (linked / path.name).symlink_to(path)
    run(str(linked))
    folder = load_settings().models_dir / "linked"
    assert not any(path.is_symlink() for path in folder.iterdir())
    verify(find("linked", load_settings().models_dir))


def test_choices_of_a_described_folder_are_kept() -> None:
    run(str(EMBEDDED / "tiny"), "--name", "copy")
    assert (
        read_spec(load_settings().models_dir / "copy").identity
        == read_spec(EMBEDDED / "tiny").identity
    )


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "epoch_7.pt"])
def test_a_pickle_only_if_allowed(theirs: Path, name: str) -> None:
    state = load_file(theirs / "open_clip_model.safetensors")
    content = {"state_dict": {f"module.{n}": t for n, t in state.items()}, "epoch": 7}
    pickled(theirs, content, name)
    with pytest.raises(CheckpointError, match=rf"{name}.*--allow-pickle"):
        run(str(theirs))
    assert not any(load_settings().models_dir.iterdir())
    run(str(theirs), "--allow-pickle")
    folder = load_settings().models_dir / "theirs"
    kept = load_file(folder / "open_clip_model.safetensors")
    assert kept.keys() == state.keys()
    assert all(torch.equal(kept[n], t) for n, t in state.items())
    assert not (folder / name).exists()
    origin = read_origin(folder)
    assert origin is not None
    assert origin.source.keys() == {name}
    assert (theirs / name).is_file()


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("BOOM",)


def test_a_pickle_with_a_program(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pickled(theirs, {"state_dict": Bomb()})
    with pytest.raises(ModelUnavailable, match="was refused"):
        run(str(theirs), "--allow-pickle")
    assert "BOOM" not in capsys.readouterr().out
    assert not any(load_settings().models_dir.iterdir())


def test_which_pickle(theirs: Path) -> None:
    pickled(theirs, {}, "one.pt")
    torch.save({}, theirs / "two.pt")
    with pytest.raises(CheckpointError, match=r"several pickles \(one\.pt, two\.pt\)"):
        run(str(theirs), "--allow-pickle")


def test_what_is_no_backbone(theirs: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no open_clip_config\.json"):
        run(str(tmp_path))
    config = json.loads((theirs / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 48
    (theirs / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="OpenCLIP cannot load"):
        run(str(theirs))
    assert not any(load_settings().models_dir.iterdir())


def test_nothing_is_overwritten(theirs: Path) -> None:
    run(str(theirs))
    before = files(load_settings().models_dir / "theirs")
    with pytest.raises(UsageError, match="exists already"):
        run(str(theirs))
    assert files(load_settings().models_dir / "theirs") == before
    with pytest.raises(UsageError, match="package itself"):
        run(str(theirs), "--name", "tiny")


def test_one_import_of_a_name_at_a_time(tmp_path: Path) -> None:
    with new_folder(tmp_path, "mine") as folder:
        (folder / "file").write_text("first")
        second = new_folder(tmp_path, "mine")
        with pytest.raises(UsageError, match="importing 'mine' right now"), second:
            pass
        assert (folder / "file").read_text() == "first"
    assert files(tmp_path / "mine") == {"file": b"first"}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_import_that_was_killed_leaves_nothing_in_the_next(tmp_path: Path) -> None:
    (tmp_path / ".import-mine").mkdir()
    (tmp_path / ".import-mine" / "half").write_text("x")
    with new_folder(tmp_path, "mine") as folder:
        (folder / "file").write_text("whole")
    assert files(tmp_path / "mine") == {"file": b"whole"}


def test_an_import_says_which_file_it_could_not_read(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Path, *_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr("imgrank.models.backbone_import.shutil.copyfile", refused)
    with pytest.raises(CheckpointError, match=rf"Permission denied \({theirs}.*\)"):
        run(str(theirs))


def test_an_interrupted_import_leaves_no_model(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("imgrank.models.backbone_import.shutil.copyfile", interrupt)
    result = CliRunner().invoke(cli, ["models", "import", "backbone", str(theirs)])
    assert result.exit_code == 1
    assert list(load_settings().models_dir.iterdir()) == []
