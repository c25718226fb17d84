"""What is known of a Qwen2.5-VL folder without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from model_folders import change

from imgrank.errors import CheckpointError
from imgrank.models.vlm_spec import is_vlm, needed_files, read_vlm

Change = Callable[[Path], object]


def test_parameters_and_bytes_are_those_of_the_tensors(tiny_vlm_folder: Path) -> None:
    from safetensors.numpy import load_file

    spec = read_vlm(tiny_vlm_folder)

    files = sorted(tiny_vlm_folder.glob("*.safetensors"))
    assert len(files) > 1
    assert spec.weights == tuple(files)
    assert spec.parameters == sum(v.size for path in files for v in load_file(path).values())
    assert spec.bytes == sum(path.stat().st_size for path in files)
    assert spec.name == "tiny-vlm"
    assert is_vlm(tiny_vlm_folder)


def test_nothing_heavy_is_imported(tiny_vlm_folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from imgrank.models.vlm_spec import read_vlm;"
        "print(read_vlm(Path(sys.argv[1])).parameters);"
        "assert not {'torch', 'transformers', 'numpy', 'click'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_vlm_folder)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) == read_vlm(tiny_vlm_folder).parameters


def test_a_copy_under_another_name_is_the_same_model(tiny_vlm_folder: Path, copied: Path) -> None:
    (copied / "README.md").write_text("# A card")
    assert read_vlm(copied).identity == read_vlm(tiny_vlm_folder).identity


@pytest.mark.parametrize(
    "changed",
    [
        lambda folder: flip(next(folder.glob("*.safetensors"))),
        lambda folder: change(folder / "config.json", rms_norm_eps=1e-5),
        lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
        lambda folder: change(folder / "tokenizer_config.json", pad_token="<|im_end|>"),
        lambda folder: change(folder / "processor_config.json", new=1),
    ],
)
def test_whatever_changes_answers_changes_the_identity(copied: Path, changed: Change) -> None:
    before = read_vlm(copied).identity
    changed(copied)
    assert read_vlm(copied).identity != before


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def shard(folder: Path) -> Path:
    return min(folder.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda folder: shard(folder).unlink(), "lacks 1 of its"),
        (lambda folder: shard(folder).write_bytes(shard(folder).read_bytes()[:-1]), "should have"),
        (lambda folder: shard(folder).write_bytes(b"version https://git-lfs/spec/v1"), "not fetch"),
        (lambda folder: shard(folder).write_bytes(b""), "no whole safetensors file"),
        (lambda folder: (folder / "model.safetensors.index.json").unlink(), "holds no weights"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda folder: (folder / "tokenizer_config.json").unlink(), "where a text ends"),
        (lambda folder: (folder / "processor_config.json").unlink(), "how pictures are scaled"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "no template of a chat"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "config.json").write_text("[]"), "no JSON object"),
        (lambda folder: change(folder / "config.json", vision_config=None), "could not see"),
        (lambda folder: change(folder / "config.json", model_type="llama"), "is 'llama'"),
        (lambda folder: change(folder / "config.json", quantization_config={}), "quantised"),
    ],
)
def test_a_folder_that_is_not_whole_says_what_is_missing(
    copied: Path, broken: Change, said: str
) -> None:
    broken(copied)
    with pytest.raises(CheckpointError, match=said):
        read_vlm(copied)


def test_pickled_weights_are_not_read(copied: Path) -> None:
    for path in copied.glob("model*"):
        path.unlink()
    (copied / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"only as a pickle \(pytorch_model.bin\)"):
        read_vlm(copied)


@pytest.mark.parametrize("name", ["../outside.safetensors", "pytorch_model.bin"])
def test_an_index_names_safetensors_of_its_own_folder_only(copied: Path, name: str) -> None:
    (copied.parent / "outside.safetensors").write_bytes(b"")
    change(copied / "model.safetensors.index.json", weight_map={"lm_head.weight": name})
    with pytest.raises(CheckpointError, match="no safetensors file beside it"):
        read_vlm(copied)


def test_a_checkpoint_of_imgrank_is_no_vlm(copied: Path) -> None:
    change(copied / "config.json", format=1)
    assert not is_vlm(copied)
    assert not is_vlm(copied / "nowhere")


def test_a_copy_of_the_needed_files_is_the_model(tiny_vlm_folder: Path, tmp_path: Path) -> None:
    for path in needed_files(tiny_vlm_folder):
        shutil.copy(path, tmp_path / path.name)
    assert read_vlm(tmp_path).identity == read_vlm(tiny_vlm_folder).identity
