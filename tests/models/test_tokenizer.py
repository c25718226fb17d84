"""The tokenizers that need no torch give the ids that OpenCLIP's give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer, default_bpe
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import imgrank.models.onnx_export as onnx_export
from imgrank.models.onnx_export import ODD_PROMPTS
from imgrank.models.spec import read_spec
from imgrank.models.tokenizer import BYTE_PAIRS, open_tokenizer

TINY = Path(onnx_export.__file__).parents[1] / "weights" / "tiny"
FILES = {"clip": (Path(default_bpe()), 77), "tiny": (TINY / "merges.txt.gz", 32)}


def both(kind: str) -> tuple[SimpleTokenizer, object]:
    path, length = FILES[kind]
    facts = {"kind": BYTE_PAIRS, "file": path.name, "clean": "lower", "context_length": length}
    return SimpleTokenizer(str(path), context_length=length), open_tokenizer(path.parent, facts)


@pytest.fixture(scope="module", params=list(FILES))
def pair(request: pytest.FixtureRequest) -> tuple[SimpleTokenizer, object]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # OpenCLIP leaves its file open
        return both(request.param)


def test_odd_prompts(pair: tuple[SimpleTokenizer, object]) -> None:
    wanted, tokenize = pair
    ids = tokenize(ODD_PROMPTS)  # type: ignore[operator]
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, wanted(list(ODD_PROMPTS)).numpy())


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(max_size=80)
    | st.text("abc dog's 'll 12,&;#<>_-\n\tÀß猫🐈\u0301İſ", max_size=120)
    | st.sampled_from(["<start_of_text>", "&amp;lt;", "a<END_OF_TEXT>b"])
)
def test_any_text(pair: tuple[SimpleTokenizer, object], text: str) -> None:
    wanted, tokenize = pair
    np.testing.assert_array_equal(tokenize([text]), wanted([text]).numpy())  # type: ignore[operator]


def test_known_ids(pair: tuple[SimpleTokenizer, object]) -> None:
    # Of the paper's own vocabulary: start, "a", "cat", end, then nothing.
    wanted, tokenize = pair
    if wanted.context_length == 77:
        assert tokenize(["a cat"])[0, :6].tolist() == [49406, 320, 2368, 49407, 0, 0]  # type: ignore[operator]


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
@pytest.mark.parametrize("strip", [False, True])
def test_a_tokenizer_of_the_tokenizers_library(
    tmp_path: Path, clean: str, strip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    vocabulary = {
        w: i for i, w in enumerate(["<pad>", "</s>", "<unk>", "a", "A", "cat", "!", "cats"])
    }
    compiled = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    compiled.pre_tokenizer = pre_tokenizers.Whitespace()
    compiled.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(
        tokenizer_object=compiled,
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
    ).save_pretrained(tmp_path / "own")
    wanted = HFTokenizer(
        str(tmp_path / "own"), context_length=6, clean=clean, strip_sep_token=strip
    )
    monkeypatch.setattr(onnx_export, "load_tokenizer", lambda spec: wanted)
    facts = onnx_export._keep_tokenizer(read_spec(TINY), tmp_path, ["a cat"])
    prompts = ["A cat!", "a  cats cat cats cat cats cat", "", *ODD_PROMPTS]
    ids = open_tokenizer(tmp_path, facts)(prompts)
    np.testing.assert_array_equal(ids, wanted(prompts).numpy())
    assert len({tuple(row) for row in ids}) > 3


@pytest.mark.parametrize("change", [{"kind": "words"}, {"clean": "not"}, {"file": "absent"}])
def test_facts_that_cannot_be_used(change: dict[str, str]) -> None:
    facts = {"kind": BYTE_PAIRS, "file": "merges.txt.gz", "clean": "lower", "context_length": 32}
    with pytest.raises((ValueError, KeyError, OSError)):
        open_tokenizer(TINY, facts | change)


def test_no_torch_is_imported() -> None:
    code = (
        "import sys; from pathlib import Path; from imgrank.models.tokenizer import *;"
        f"print(open_tokenizer(Path({str(TINY)!r}), {{'kind': BYTE_PAIRS, 'file': 'merges.txt.gz',"
        " 'clean': 'lower', 'context_length': 8})(['a']).shape,"
        " [m for m in ('torch', 'open_clip', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "(1, 8) []", out.stderr
