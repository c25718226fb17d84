"""Recipes of L2RCLIP: our own load for both backbones, ranks are made of labels by hand-worked
examples, wrong ones are told before any work."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_l2rclip import CONFIG
from toy_training import TARGETS, labelled, labels

from imgrank.data.catalogue import CATALOGUE
from imgrank.data.labelled import Labels
from imgrank.errors import DataError, UsageError
from imgrank.models import registry
from imgrank.models.ranks import Ranks
from imgrank.tasks import tasks
from imgrank.train.domain_fit import DomainConfig
from imgrank.train.l2rclip_recipe import (
    TEMPLATES,
    Config,
    RanksOf,
    labels_of,
    load_recipe,
    make_ranks,
    override,
    recipe_of,
)
from imgrank.train.recipe_file import dotted, recipes

OWN = recipes("l2rclip")
FACES = ("morph", "clap2015", "adience", "utkface")


def test_there_is_one_for_each_set_of_the_issue() -> None:
    names = {"morph", "clap2015", "adience", "crowdbeauty", "hci", "utkface", "oldnyc", "oasis"}
    assert set(OWN) == names | {"csv"}
    assert recipe_of("hci") == "l2rclip-hci.toml"
    assert recipe_of("crowdbeauty-people") == "l2rclip-crowdbeauty.toml"
    assert recipe_of("koniq") == "l2rclip-csv.toml"


@pytest.mark.parametrize("name", list(OWN))
def test_our_recipes_have_the_papers_values_and_small_ones(name: str) -> None:
    own, tiny = load_recipe(OWN[name]), load_recipe(OWN[name], "tiny")
    assert own.data == name in CATALOGUE
    assert own.backbone in registry.listed()
    first, second = own.stage1, own.stage2
    weight = 0.03 if name in ("morph", "clap2015") else 0.1
    assert (first.t2i, first.i2t, first.cop, first.epochs, first.lr) == (
        weight,
        weight,
        3,
        20,
        3.5e-4,
    )
    assert (second.ce, second.scop, second.epochs, second.lr) == (1, 1, 40, 1e-5)
    assert (second.drop_epoch, own.batch, own.average, own.weight_decay) == (30, 64, 0, 0)
    assert (own.image.tower, own.image.statistics) == ("full", False)
    assert (own.text.way, own.text.context, own.text.heads) == ("rankformer", 5, 8)
    assert tiny.image.tower != "full"
    assert tiny.stage2.epochs <= own.stage2.epochs
    assert tiny.ranks == own.ranks
    json.dumps(asdict(tiny))  # states are compared so


def ranks_of(how: dict[str, Any], given: Labels) -> Ranks:
    return make_ranks(RanksOf(**how), given, labelled(given))


def test_classes() -> None:
    own = labels(classes=("0-2", "4-6", "8-12", "15-20", "25-32"), task="age")
    found = ranks_of({"by": "classes"}, own)
    assert found.texts[1] == "A photo of 4-6 years old face."
    assert (found.values, found.names) == ((0, 1, 2, 3, 4), own.classes)
    assert found.of([0, 3, 4]).tolist() == [0, 3, 4]
    words = ("1", "5", "10", "18", "28")
    told = ranks_of({"by": "classes", "words": words, "template": "age-face"}, own)
    assert told.texts[4] == "The age of the face is 28."
    assert told.names == own.classes


def test_integers_are_those_of_the_scale() -> None:
    ages = labels((20 + TARGETS).astype(np.float32), task="age", range=(18, 26))
    found = ranks_of({"by": "integers"}, ages)
    assert found.values == tuple(map(float, range(18, 27)))
    assert found.texts[:2] == ["A photo of 18 years old face.", "A photo of 19 years old face."]
    assert found.of([18.4, 18.6, 26, 99]).tolist() == [0, 1, 8, 8]
    open_ended = ranks_of({"by": "integers"}, replace(ages, range=None))
    assert open_ended.names == ("20", "21", "22", "23", "24")
    assert ranks_of({"by": "integers", "low": 22, "high": 23.0}, ages).names == ("22", "23")


def test_decades() -> None:
    years = np.where(np.arange(60) < 30, 1899, 1921) + TARGETS
    found = ranks_of(
        {"by": "steps"}, labels(years.astype("f4"), task="decade", unit="year", range=None)
    )
    assert found.words == ("1890", "1900", "1910", "1920")
    assert found.names == ("1890s", "1900s", "1910s", "1920s")
    assert found.values == (1894.5, 1904.5, 1914.5, 1924.5)
    assert found.texts[3] == "a photo taken in the 1920s."
    assert found.of([1899, 1900, 1929, 1935]).tolist() == [0, 1, 3, 3]


def test_steps_of_labels_that_are_no_whole_numbers() -> None:
    own = labels((TARGETS / 4).astype("f4"), task="quality", range=(0.0, 1.0))
    found = ranks_of({"by": "steps", "step": 0.5, "template": "{}"}, own)
    assert (found.starts, found.values) == ((0.0, 0.5, 1.0), (0.25, 0.75, 1.25))
    tens = labels((10 * TARGETS + 0.5).astype("f4"), task="quality", range=(0.0, 19.0))
    assert ranks_of({"by": "steps", "template": "{}"}, tens).values == (5.0, 15.0)


def test_levels_are_equal_parts_of_the_training_labels() -> None:
    """50 training labels 0..49; the validation labels, which are higher, do not matter."""
    values = np.arange(60, dtype=np.float32)
    values[50:] += 1000
    beauty = labels(values, task="aesthetics", range=(0, 9999))
    found = ranks_of({"by": "quantiles"}, beauty)
    assert found.names == ("unacceptable", "flawed", "ordinary", "professional", "exceptional")
    assert found.values == (4.5, 14.5, 24.5, 34.5, 44.5)
    assert np.bincount(found.of(values[:50])).tolist() == [10] * 5
    assert found.texts[4] == "a photo with exceptional aesthetic quality."
    three = ranks_of({"by": "quantiles", "words": ("a", "b"), "template": "{} it is"}, beauty)
    assert (three.values, three.texts) == ((12.0, 37.0), ["a it is", "b it is"])


def test_labels_suggest_their_ranks() -> None:
    """As for a CSV file of one's own."""
    own = labels(task="how-cosy", prompt="how cosy it looks.", range=None)
    whole = ranks_of({}, own)
    assert whole.texts == [f"how cosy it looks: {n}" for n in range(5)]
    halves = ranks_of({}, replace(own, values=(TARGETS + np.arange(60) % 2 / 2).astype("f4")))
    assert halves.words == ("very low", "low", "medium", "high", "very high")
    assert ranks_of({}, replace(own, classes=tuple("abcde"))).words == tuple("abcde")
    assert ranks_of({}, replace(own, task="age")).texts[0] == "A photo of 0 years old face."


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"by": "classes"}, "toy does not make ranks by classes: its labels are no classes"),
        ({"by": "integers", "low": 4, "high": 4}, "ranks.low = 4 is not below ranks.high = 4"),
        ({"by": "integers", "words": ("a", "b")}, "lists of one length"),
        ({"by": "steps", "step": 100}, "2 or more"),
        ({"by": "quantiles", "words": tuple("abcdef")}, "too few different labels for 6 levels"),
        ({"by": "quantiles", "words": ("a", "a")}, "two ranks have the same word"),
        ({"by": "integers", "template": "no slot"}, r"'no slot' must have one \{\}"),
    ],
)
def test_labels_that_make_no_ranks(how: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ranks_of(how, labels(range=None))


def test_the_query_that_is_trained() -> None:
    two = labelled(labels(), labels(key="beauty", task="aesthetics"))
    with pytest.raises(UsageError, match="several queries: --set query=quality or beauty"):
        labels_of(CONFIG, two)
    with pytest.raises(UsageError, match="no query age; it has quality, beauty"):
        labels_of(replace(CONFIG, query="age"), two)
    assert labels_of(replace(CONFIG, query="beauty"), two).task == "aesthetics"
    assert labels_of(replace(CONFIG, query="beauty", task="quality"), two).task == "quality"
    with pytest.raises(DataError, match="no two training pictures of different quality"):
        labels_of(CONFIG, labelled(labels(np.zeros(60, dtype=np.float32))))


def test_templates_have_one_slot_and_name_known_tasks() -> None:
    assert all(len(re.findall(r"\{\w+\}", text)) == 1 for text in TEMPLATES.values())
    assert {"age", "decade", "aesthetics"} <= set(TEMPLATES) & set(tasks())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": 0}, "batch = 0 must be above 0"),
        ({"stage1": 3}, "stage1 = 3 .* must be: Stage1"),
        ({"stage1": {"epoch": 3}}, "stage1.epoch: there are epochs, lr, t2i"),
        ({"stage1": {"lr": 0}}, "stage1.lr = 0 must be above 0"),
        ({"stage1": {"lr": "fast"}}, "stage1.lr = 'fast' is not possible"),
        ({"stage1": {"t2i": 0, "i2t": 0, "cop": 0}}, "stage1 needs a loss"),
        ({"stage2": {"ce": 0, "scop": 0}}, "stage2 needs a loss"),
        ({"stage2": {"w_norm": "some"}}, "stage2.w_norm = 'some'.*largest.*none"),
        ({"image": {"tower": "half"}}, "tower = 'half'"),
        ({"image": {"dropout": "much"}}, "dropout = 'much'"),
        ({"text": {"way": "none"}}, "way = 'none'.*rankformer"),
        ({"text": {"contexts": 4}}, "text.contexts: there are way, context"),
        ({"ranks": {"by": "guess"}}, "ranks.by = 'guess'.*quantiles"),
        ({"ranks": {"step": 0}}, "ranks.step = 0 must be above 0"),
        ({"ranks": {"words": "abc"}}, "ranks.words = 'abc'"),
        ({"baselines": ["coop"]}, r"baselines = \('coop',\)"),
        ({"shift_drop": 1.0}, "shift_drop = 1.0 must lie between 0 and 1"),
        ({"average": 1}, "average = 1 must be below 1"),
        ({"few_shot": -1}, "few_shot = -1 must be 0 or more"),
        ({"name": "../up"}, "name of a folder"),
        ({"epochs": 3}, "no field epochs"),
        ({"domain": {"axis": 3}}, "domain.axis: there are monochrome"),
        ({"domain": 3}, "domain = 3"),
    ],
)
def test_impossible_values_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        override(CONFIG, values)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\ndata = "utkface"\n[stage2]\nepochz = 3\n')
    with pytest.raises(UsageError, match=r"mine\.toml cannot be used: stage2\.epochz"):
        load_recipe(file)
    file.write_text('name = "mine"\n')
    with pytest.raises(UsageError, match="data"):
        load_recipe(file)
    with pytest.raises(UsageError, match="no recipe nowhere"):
        load_recipe("nowhere.toml")


def test_the_table_of_the_embedded_backbone_replaces_entry_by_entry(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        name = "mine"
        data = "utkface"
        [stage2]
        lr = 0.5
        epochs = 7
        [tiny.stage2]
        epochs = 2
        [tiny.image]
        tower = "head"
        """
    )
    own, tiny = load_recipe(file), load_recipe(file, "tiny")
    assert (own.stage2.lr, own.stage2.epochs, own.image.tower) == (0.5, 7, "full")
    assert (tiny.stage2.lr, tiny.stage2.epochs, tiny.image.tower) == (0.5, 2, "head")


def test_dotted_keys_set_entries_and_notes_tell_them() -> None:
    own: Config = load_recipe("l2rclip-utkface.toml", "tiny")
    changed = override(own, dotted("stage1.cop", 0))
    assert changed.stage1 == replace(own.stage1, cop=0)
    assert (changed.stage2, changed.licence) == (own.stage2, own.licence)
    assert changed.notes.startswith(own.notes)
    assert "\n- stage1.cop: 0, in the recipe 3.0\n" in changed.notes
    assert "epochs" not in changed.notes[len(own.notes) :]
    assert override(own, {}) == own
    other = override(own, {"data": "adience"})
    assert (other.licence[:9], other.notes) == ("unknown: ", "")


def test_a_domain_is_a_table_or_a_switch() -> None:
    own = load_recipe("l2rclip-oldnyc.toml", "tiny")
    assert own.domain == DomainConfig()
    assert override(own, {"domain": False}).domain is None
    assert override(own, dotted("domain.axes", 5)).domain == DomainConfig(axes=5)
    assert override(CONFIG, dotted("domain.distance", False)).domain == DomainConfig(distance=False)
