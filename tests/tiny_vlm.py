"""A Qwen2.5-VL of the real classes, tiny and randomly initialised, with a tokenizer and a processor
that are made here: no weights of it can be fetched by tests.

    folder = tiny_vlm(tmp_path / "vlm")                  # a folder as the Hub's, in several shards
    pictures(tmp_path / "photos", values=[3, 61, 90])    # whose hue goes with a value of 0..100

The tokenizer has merges for what prompts and answers are made of, so that both are short enough for
a CPU.
"""

from __future__ import annotations

import colorsys
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
SPECIAL += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
# As Qwen2.5-VL's own: roles between im_start and im_end, each picture three special tokens.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def tiny_vlm(folder: Path, *, width: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """Write a model folder; the random numbers of the process go on as if nothing was.

    width: of the language model, a multiple of 16 from 32 on.   seed: of its weights.
    """
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    from imgrank.models.vlm_loading import quietly

    processor = _processor()
    number = processor.tokenizer.convert_tokens_to_ids
    with quietly(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(_config(processor.tokenizer, width, layers))
        # As published ones: what samples or decodes here must not depend on it.
        model.generation_config.update(
            do_sample=True,
            temperature=0.7,
            top_k=5,
            repetition_penalty=1.05,
            eos_token_id=[number("<|im_end|>"), number("<|endoftext|>")],
            pad_token_id=number("<|endoftext|>"),
        )
        processor.save_pretrained(folder)
        model.save_pretrained(folder, max_shard_size="60KB")
    return folder


def pictures(folder: Path, values: Sequence[float], size: int = 56) -> list[Path]:
    """NN.png with a hue from red (0) to blue (100), and a random spot, one for each value."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, value in enumerate(values):
        draw = random.Random(number)
        image = Image.new("RGB", (size, size), _colour(value))
        at = draw.randrange(size - 8), draw.randrange(size - 8)
        image.paste(tuple(draw.randrange(256) for _ in range(3)), (*at, at[0] + 8, at[1] + 8))
        paths.append(folder / f"{number:03}.png")
        image.save(paths[-1])
    return paths


def rated(folder: Path, count: int, *, step: int = 1, seed: int = 0) -> Path:
    """FOLDER/ratings.csv for `--data csv`: made-up pictures with ages of 0..100, by `step`."""
    draw = random.Random(seed)
    values = [step * draw.randrange(100 // step + 1) for _ in range(count)]
    paths = pictures(folder, values)
    lines = [f"{path.name},by age,{value}" for path, value in zip(paths, values, strict=True)]
    table = folder / "ratings.csv"
    table.write_text("\n".join(["path,instruction,value", *lines]) + "\n", encoding="utf-8")
    return table


def _colour(value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(value / 100 * 2 / 3, 1, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _config(tokenizer: Any, width: int, layers: int) -> Any:
    from transformers import Qwen2_5_VLConfig

    number = tokenizer.convert_tokens_to_ids
    half = width // 8  # of a head's numbers: turned by place in time, height and width
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [half - 2 * (3 * half // 8), 3 * half // 8, 3 * half // 8],
            },
            "bos_token_id": number("<|endoftext|>"),
            "eos_token_id": number("<|im_end|>"),
            "pad_token_id": number("<|endoftext|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": width,
            "fullatt_block_indexes": [1],
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def _processor() -> Any:
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    sizes = {"shortest_edge": 28 * 28, "longest_edge": 4 * 28 * 28}  # at most 4 tokens a picture
    images = Qwen2VLImageProcessor(size=sizes, image_mean=MEAN, image_std=STD)
    videos = Qwen2VLVideoProcessor(size=sizes, image_mean=MEAN, image_std=STD)
    return Qwen2_5_VLProcessor(images, _tokenizer(), videos, chat_template=TEMPLATE)


def _tokenizer() -> Any:
    """Of the class that Qwen2.5-VL has, with its way of splitting words."""
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Qwen2Tokenizer({byte: n for n, byte in enumerate(alphabet)}, merges=[], unk_token=None)
    tokenizer = plain.train_new_from_iterator(
        list(_corpus()), 600, new_special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.eos_token, tokenizer.padding_side = "<|im_end|>", "left"
    return tokenizer


def _corpus() -> Iterator[str]:
    from imgrank.listwise.prompt import SYSTEM, Rule, instruct

    draw = random.Random(0)
    yield from 400 * [SYSTEM, instruct(Rule("the person's age", 0, 100))]
    for _ in range(400):
        items = [
            {"image_id": n + 1, "value": draw.randrange(101)} for n in range(draw.choice([1, 2, 4]))
        ]
        yield f"<think>I looked.</think><answer>{json.dumps(items)}</answer>"
        yield "".join(f"Image {n}: " for n in range(1, 9))
