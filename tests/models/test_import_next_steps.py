"""What an import says and records: where its backbone is, names that are taken, the licence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from imgrank.cli import cli
from imgrank.errors import CheckpointError, UsageError
from imgrank.models.imported import new_folder
from imgrank.models.origin import read_origin
from imgrank.models.registry import EMBEDDED, listed
from imgrank.rankers.load import load_ranker
from imgrank.settings import load_settings

EMBED = 384
LAYERS = {0: (16, EMBED), 2: (12, 16), 4: (8, 12), 6: (4, 8), 7: (1, 4)}


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["models", "import", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def head(tmp_path: Path) -> Path:
    tensors = {f"layers.{n}.weight": torch.ones(shape) for n, shape in LAYERS.items()}
    tensors |= {f"layers.{n}.bias": torch.ones(shape[0]) for n, shape in LAYERS.items()}
    torch.save(tensors, tmp_path / "head.pth")
    return tmp_path / "head.pth"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A backbone like no other, which is not among the models."""
    folder = tmp_path / "my backbone"
    shutil.copytree(EMBEDDED / "tiny", folder)
    config = folder / "open_clip_config.json"
    assert '"bicubic"' in config.read_text()
    config.write_text(config.read_text().replace('"bicubic"', '"bilinear"'))
    return folder


def test_a_backbone_elsewhere_is_said_and_the_line_helps(head: Path, elsewhere: Path) -> None:
    result = run("aesthetic-head", str(head), "--backbone", str(elsewhere))
    line = f"imgrank models import backbone '{elsewhere}'"
    assert result.stderr.splitlines() == [
        f"head rests on {elsewhere}, which is not among your models, so no sort finds it yet: "
        + line,
        "use it with --model head",
    ]
    with pytest.raises(CheckpointError, match="imgrank models import backbone FOLDER"):
        load_ranker("head")
    run("backbone", str(elsewhere), "--name", "theirs")
    load_ranker("head")
    result = run("aesthetic-head", str(head), "--backbone", str(elsewhere), "--name", "again")
    assert "rests on" not in result.stderr  # a sort finds its copy


def test_of_a_backbone_that_is_here_nothing_is_said(head: Path) -> None:
    result = run("aesthetic-head", str(head), "--backbone", "tiny")
    assert result.stderr == "use it with --model head\n"


def test_names_of_the_list_stay_the_lists(head: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'vit-l-14' is a name of the list.*another name: --name"):
        run("aesthetic-head", str(head), "--backbone", "tiny", "--name", "vit-l-14")
    shutil.copytree(EMBEDDED / "tiny", tmp_path / "vit-b-32")
    with pytest.raises(UsageError, match="'vit-b-32' is a name of the list"):
        run("backbone", str(tmp_path / "vit-b-32"))
    assert not load_settings().models_dir.exists()
    assert listed()["official-quality"].unpublished  # its entry says to import it under that name
    with new_folder(tmp_path, "official-quality"):
        pass
    assert (tmp_path / "official-quality").is_dir()


def test_the_licence_of_a_backbone_is_recorded_and_handed_on(elsewhere: Path) -> None:
    run("backbone", str(elsewhere), "--name", "first", "--licence", "cc-by-nc-4.0")
    first = load_settings().models_dir / "first"
    origin = read_origin(first)
    assert origin is not None
    assert (origin.origin, origin.asked) == ("imported", str(elsewhere))
    assert origin.licence == "cc-by-nc-4.0"
    run("backbone", str(first), "--name", "second")
    again = read_origin(load_settings().models_dir / "second")
    assert again is not None
    assert again.licence == "cc-by-nc-4.0"


def test_a_pickle_is_taken_by_the_same_line_and_one_option(elsewhere: Path) -> None:
    (elsewhere / "open_clip_model.safetensors").rename(elsewhere / "open_clip_model.bin")
    (elsewhere / "imgrank.json").unlink()
    with pytest.raises(CheckpointError, match="the same line with --allow-pickle"):
        run("backbone", str(elsewhere), "--name", "pk")


def test_the_help_warns_of_heads() -> None:
    text = " ".join(run("official-adapter", "--help").stdout.split())
    assert text.count("the file does not tell, and wrong heads give wrong scores") == 3
