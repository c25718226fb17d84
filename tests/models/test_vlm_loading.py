"""From a folder to a Qwen2.5-VL: quietly, whole or not at all; how pictures come in."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from model_folders import change
from PIL import Image

pytest.importorskip("transformers", reason="needs imgrank[rarl]")

from huggingface_hub import constants
from transformers.utils import logging as own_logging

from imgrank.errors import CheckpointError, MissingExtra
from imgrank.listwise.prompt import Rule, messages
from imgrank.models.vlm import VisionLanguage, dtype_of

CPU = torch.device("cpu")
RULE = Rule("the person's age", 0, 100)


def test_nothing_is_said_and_switches_are_as_before(
    tiny_vlm_folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    own_logging.set_verbosity_info()
    own_logging.enable_progress_bar()
    try:
        vlm = VisionLanguage(tiny_vlm_folder, CPU)
        inputs = vlm.inputs([(messages(RULE, 1), [Image.new("RGB", (56, 56))])])
        vlm.generate(inputs, 2, sample=True)
        assert own_logging.get_verbosity() == logging.INFO
        assert own_logging.is_progress_bar_enabled()
    finally:
        own_logging.set_verbosity_warning()
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert not constants.HF_HUB_OFFLINE
    assert not vlm.model.training


def test_a_folder_in_the_layout_of_the_hub_is_read(copied: Path, tiny_vlm_folder: Path) -> None:
    """config.json flat, preprocessor_config.json with pixels, chat_template.json."""
    config = json.loads((copied / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    flat = {**text, **config, "rope_theta": rope["rope_theta"]}
    flat["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    (copied / "config.json").write_text(json.dumps(flat))
    images = json.loads((copied / "processor_config.json").read_text())["image_processor"]
    size = images.pop("size")
    images |= {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    images["processor_class"] = "Qwen2_5_VLProcessor"
    (copied / "preprocessor_config.json").write_text(json.dumps(images))
    (copied / "processor_config.json").unlink()
    template = (copied / "chat_template.jinja").read_text()
    (copied / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    (copied / "chat_template.jinja").unlink()

    row = (messages(RULE, 2), [Image.new("RGB", (90, 60), colour) for colour in ("red", "blue")])
    found, wanted = (VisionLanguage(folder, CPU) for folder in (copied, tiny_vlm_folder))
    inputs = found.inputs([row])
    assert {name: value.tolist() for name, value in inputs.items()} == {
        name: value.tolist() for name, value in wanted.inputs([row]).items()
    }
    assert torch.equal(found.generate(inputs, 6), wanted.generate(inputs, 6))
    found.max_pixels = 784
    assert found.inputs([row])["image_grid_thw"].tolist() == [[1, 2, 2]] * 2


def test_a_template_of_the_tokenizer_and_padding_with_the_end_will_do(copied: Path) -> None:
    template = (copied / "chat_template.jinja").read_text()
    (copied / "chat_template.jinja").unlink()
    change(copied / "tokenizer_config.json", chat_template=template, pad_token="<|im_end|>")
    vlm = VisionLanguage(copied, CPU)
    assert vlm.pad != vlm.end
    answers = [vlm.encode("a"), vlm.encode("longer")]
    padded = torch.nn.utils.rnn.pad_sequence(answers, batch_first=True, padding_value=vlm.pad)
    assert vlm.mask(padded).sum(1).tolist() == [len(answer) for answer in answers]
    row = (messages(RULE, 1), [Image.new("RGB", (56, 56))])
    assert vlm.generate(vlm.inputs([row]), 3).shape == (1, 3)


def test_programs_of_a_folder_are_not_run(copied: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (copied / "own.py").write_text(f"open({str(run)!r}, 'w')\nclass T: pass\n")
    own = {"AutoTokenizer": ["own.T", None], "AutoModel": "own.T", "AutoProcessor": "own.T"}
    for name in ("config.json", "tokenizer_config.json", "processor_config.json"):
        change(copied / name, auto_map=own)
    VisionLanguage(copied, CPU)
    assert not run.exists()


def without_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = min(folder.glob("*.safetensors"))
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, metadata={"format": "pt"})


def smaller(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 32
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (without_a_tensor, "lack "),
        (smaller, "another shape than its config says: .*mlp"),
        (lambda folder: min(folder.glob("*.safetensors")).write_bytes(b"x" * 99), "cannot load"),
        (lambda folder: min(folder.glob("*.safetensors")).unlink(), "lacks 1 of its"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "processor"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda folder: change(folder / "config.json", model_type="qwen2_vl"), "no Qwen2.5-VL"),
        (lambda folder: change(folder / "config.json", vision_config=None), "could not see"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    copied: Path, broken: Callable[[Path], object], said: str
) -> None:
    broken(copied)
    with pytest.raises(CheckpointError, match=said):
        VisionLanguage(copied, CPU)


def test_without_transformers_the_pip_line_is_named(
    tiny_vlm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"imgrank\[rarl\]"):
        VisionLanguage(tiny_vlm_folder, CPU)


def test_a_picture_takes_at_most_its_share_of_tokens(copied: Path) -> None:
    config = json.loads((copied / "processor_config.json").read_text())
    own = config["image_processor"]
    own["size"] = {"shortest_edge": 784, "longest_edge": 12_845_056}
    for name in {"min_pixels", "max_pixels"} & own.keys():  # of the first transformers 5, instead
        del own[name]
    (copied / "processor_config.json").write_text(json.dumps(config))
    row = (messages(RULE, 1), [Image.new("RGB", (2000, 2000))])

    def tokens(vlm: VisionLanguage) -> int:
        return int((vlm.inputs([row])["input_ids"] == vlm.model.config.image_token_id).sum())

    assert tokens(VisionLanguage(copied, CPU)) == 256
    assert tokens(VisionLanguage(copied, CPU, max_pixels=9 * 28 * 28)) == 9
    assert tokens(VisionLanguage(copied, CPU, max_pixels=500)) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3000, 2), (27, 29)])
def test_odd_pictures_are_taken(tiny_vlm_folder: Path, size: tuple[int, int]) -> None:
    vlm = VisionLanguage(tiny_vlm_folder, CPU)
    inputs = vlm.inputs([(messages(RULE, 1), [Image.new("RGB", size)])])
    assert vlm.generate(inputs, 1).shape == (1, 1)


def test_messages_must_name_the_pictures_that_there_are(tiny_vlm_folder: Path) -> None:
    vlm = VisionLanguage(tiny_vlm_folder, CPU)
    with pytest.raises(ValueError, match="name 2 pictures, there are 1"):
        vlm.inputs([(messages(RULE, 2), [Image.new("RGB", (56, 56))])])


def test_half_the_width_gives_probabilities_in_float32(tiny_vlm_folder: Path) -> None:
    half, full = (VisionLanguage(tiny_vlm_folder, CPU, each) for each in ("bfloat16", "auto"))
    assert {w.dtype for w in half.model.parameters()} == {torch.bfloat16}
    assert {w.dtype for w in full.model.parameters()} == {torch.float32}
    row = (messages(RULE, 1), [Image.new("RGB", (56, 56), "red")])
    answer = half.generate(half.inputs([row]), 4, sample=True, seed=0)
    found = [v.logprobs(v.inputs([row]), answer, v.mask(answer))[0] for v in (half, full)]
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0], found[1], atol=0.1, rtol=0)


def test_weights_are_narrow_where_the_hardware_is_made_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = torch.device("cuda")
    for version, dtype in (((9, 0), torch.bfloat16), ((7, 5), torch.float32)):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda device, v=version: v)
        assert dtype_of(cuda, "auto") == dtype
    assert dtype_of(CPU, "auto") == torch.float32
    assert dtype_of(CPU, "float16") == torch.float16
