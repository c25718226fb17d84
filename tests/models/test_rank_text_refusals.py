"""Rank texts that cannot be learnt are told so, and tokenizers of other habits are understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from open_clip.transformer import TextTransformer
from random_towers import VIT, config, random_model
from rank_checkpoints import AGES
from text_towers import TEXT, parts, random_tower, words_of
from torch import Tensor, nn

from imgrank.errors import UsageError
from imgrank.models.backbone import Backbone
from imgrank.models.rank_text import RankText, RankTextConfig
from imgrank.models.ranks import Ranks
from imgrank.models.registry import EMBEDDED


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return Backbone(EMBEDDED / "tiny")


# ---- what cannot be ------------------------------------------------------------------------------


def of_words(template: str, *words: str) -> Ranks:
    values = tuple(map(float, range(len(words))))
    return Ranks(template, words, values, values, words)


def test_a_template_may_fill_the_context_and_no_more(tiny: Backbone) -> None:
    model = random_tower("clip")
    tokenize = words_of(tiny, 24)
    just = of_words("a a a a a a a a a a a a a a a {}", "a", "b")  # 16 tokens
    longest = of_words("a a a a a a a a a a a a a a a a a a a a {}", "a", "b b")  # 21, 22
    expected = model.encode_text(tokenize(longest.texts), normalize=True)
    found = RankText(model, tokenize, longest, RankTextConfig("vanilla"))()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert RankText(model, tokenize, just, RankTextConfig(context=6, heads=4))().shape == (2, 16)
    message = (
        r"has 16 tokens; with start, end and 7 context vectors it needs 25 positions, "
        r".* context length of 24\. Use a shorter template or fewer context vectors\."
    )
    with pytest.raises(UsageError, match=message):
        RankText(model, tokenize, just, RankTextConfig(context=7, heads=4))


@pytest.mark.parametrize(("more", "tokens"), [("b b", 23), ("b " * 30, 51)])
def test_a_template_that_openclip_would_cut_off(more: str, tokens: int, tiny: Backbone) -> None:
    ranks = of_words("a a a a a a a a a a a a a a a a a a a a {} a", "a", more)
    with pytest.raises(UsageError, match=rf"'a a .* has {tokens} tokens.*Use a shorter template\."):
        RankText(random_tower("clip"), words_of(tiny, 24), ranks, RankTextConfig("vanilla"))


def test_a_template_without_tokens(tiny: Backbone) -> None:
    with pytest.raises(UsageError, match="'  ' has no tokens"):
        RankText(tiny.text, tiny.tokenize, of_words("{}", "a", "  "))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"way": "coop"}, "way = 'coop'.*rankformer, templates"),
        ({"attention": "both"}, "attention = 'both'.*tokens, ranks"),
        ({"context": -1}, "context = -1"),
        ({"way": "context", "context": 0}, "context = 0"),
        ({"residual": 1.5}, r"residual = 1\.5"),
        ({"base": 1}, "base = 1"),
    ],
)
def test_config_out_of_range(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RankTextConfig(**options)


def test_heads_that_do_not_divide_the_width(tiny: Backbone) -> None:
    with pytest.raises(UsageError, match=r"heads = 6: .* width 256"):
        RankText(tiny.text, tiny.tokenize, AGES, RankTextConfig(heads=6))


class Sentences(nn.Module):
    """A text tower of the transformers library has no table of words where OpenCLIP's has it."""


def test_towers_that_cannot_begin_at_words(tiny: Backbone) -> None:
    model = nn.Module()
    model.text = Sentences()
    with pytest.raises(UsageError, match="word embeddings of a text tower Sentences"):
        RankText(model, tiny.tokenize, AGES)
    unpooled = nn.Module()
    unpooled.text = TextTransformer(**TEXT, pool_type="none")
    with pytest.raises(UsageError, match="pools nothing"):
        RankText(unpooled, words_of(tiny, 24), AGES)


def test_tokenizer_and_tower_of_different_models(tiny: Backbone) -> None:
    model = random_tower("end-id")
    parts(model).eos_id = 2
    with pytest.raises(UsageError, match=r"pools \(eos\) at another token"):
        RankText(model, words_of(tiny, 24), AGES, RankTextConfig(heads=4))


# ---- other tokenizers ----------------------------------------------------------------------------

VOCABULARY = {word: i for i, word in enumerate(("<pad>", "<end>", "<start>", "the", "cat", "dog"))}


def toy(start: str, end: str, pad: str, before: bool = False) -> Callable[[list[str]], Tensor]:
    """A tokenizer of words, to 6 positions; cuts off before the end token, as Hugging Face's do."""

    def tokenize(texts: list[str]) -> Tensor:
        marks = (start.split(), end.split())
        rows = []
        for text in texts:
            words = text.split()[: 6 - len(marks[0]) - len(marks[1])]
            ids = [VOCABULARY[word] for word in (*marks[0], *words, *marks[1])]
            padding = [VOCABULARY[pad]] * (6 - len(ids))
            rows.append([*padding, *ids] if before else [*ids, *padding])
        return torch.tensor(rows)

    return tokenize


def toy_tower() -> Any:
    torch.manual_seed(0)
    text = {"context_length": 6, "vocab_size": 6, "width": 32, "heads": 2, "layers": 1,
            "no_causal_mask": True, "pool_type": "last"}  # fmt: skip
    return random_model(config(VIT, text, custom_text=True)).eval()


@pytest.mark.parametrize(
    ("start", "end", "pad"),
    [
        ("", "<end>", "<pad>"),
        ("", "<end>", "<end>"),
        ("<start>", "<end>", "<end>"),
        ("<start>", "", "<pad>"),
    ],
)
def test_padding_that_is_the_end_token(start: str, end: str, pad: str) -> None:
    """SigLIP's tokenizer ends with what it pads with; others begin with nothing."""
    model, tokenize = toy_tower(), toy(start, end, pad)
    ranks = of_words("the {}", "cat", "dog cat", "dog dog cat")
    found = RankText(model, tokenize, ranks, RankTextConfig("vanilla"))()
    expected = model.encode_text(tokenize(ranks.texts), normalize=True)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    with pytest.raises(UsageError, match="has 6 tokens"):
        RankText(model, tokenize, of_words("the {}", "cat", "dog dog dog dog cat"))


@pytest.mark.parametrize(
    "tokenize",
    [toy("", "<start> <end> <end>", "<pad>"), toy("<start>", "<end>", "<pad>", before=True)],
)
def test_tokenizers_of_which_start_and_end_are_not_known(tokenize: Any) -> None:
    with pytest.raises(UsageError, match=r"imgrank does not know|without the start"):
        RankText(toy_tower(), tokenize, of_words("the {}", "cat", "dog cat"))
