"""Recipes: our own load for both kinds of backbone, wrong ones are told before any work."""

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from toy_training import CONFIG

from imgrank.data.catalogue import CATALOGUE
from imgrank.errors import UsageError
from imgrank.models.adapter import AdapterConfig
from imgrank.models.spec import read_spec
from imgrank.tasks import tasks
from imgrank.train import adapter_recipe
from imgrank.train.adapter_recipe import (
    Config,
    Source,
    Task,
    fitted,
    load_recipe,
    notes_of_data,
    override,
    recipe_of,
)
from imgrank.train.recipe_file import dotted

RECIPES = sorted((Path(adapter_recipe.__file__).parent / "recipes").glob("adapter-*.toml"))
PACKAGE = Path(adapter_recipe.__file__).parents[1]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_our_recipes_fit_the_embedded_backbone_and_their_own(path: Path) -> None:
    tiny, own = load_recipe(path.name, "tiny"), load_recipe(path.name)
    for config in (tiny, own):
        assert {source.data for source in config.sources} <= set(CATALOGUE)
        assert set(config.tasks) <= set(tasks())
    model = AdapterConfig.from_dict(fitted(tiny, read_spec(PACKAGE / "weights" / "tiny")).model)
    assert model.width <= 256
    assert model.grid_projection == ""
    if own.backbone != "tiny":
        assert own.backbone == "convnext-large-320"
        assert AdapterConfig.from_dict(own.model).width == 768
        assert own.model["grid_projection"] == "norm+linear"
        assert tiny.steps < own.steps


def test_the_papers_hyper_parameters() -> None:
    steps = {"koniq": 144_000, "coco-rem": 220_000, "utkface": 20_000, "hci": 144_000}
    for name, wanted in steps.items():
        config = load_recipe(f"adapter-{name}.toml", "convnext-large-320")
        assert (config.steps, config.batch, config.weight_decay, config.alpha) == (
            wanted,
            64,
            0.01,
            0.2,
        )
        assert config.lr == (5e-5 if name == "utkface" else 1e-5)
        assert config.sources[0].negatives == (0.2 if name == "coco-rem" else 0)
        assert config.sources[0].relative == (0.25 if name == "coco-rem" else 0)


def test_a_recipe_is_found_by_its_data() -> None:
    assert recipe_of("koniq") == "adapter-koniq.toml"
    assert recipe_of("photographs") is None
    with pytest.raises(UsageError, match="no recipe nowhere"):
        load_recipe("nowhere.toml")


def test_the_table_of_the_embedded_backbone_replaces_entry_by_entry(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        name = "mine"
        steps = 1000
        [model]
        layers = 3
        heads = 4
        [tasks.age]
        unit = "years"
        [[sources]]
        data = "utkface"
        share = 2
        [[sources]]
        data = "adience"
        [tiny]
        steps = 10
        [tiny.model]
        layers = 1
        [tiny.tasks.age]
        scale = 20
        [tiny.sources.utkface]
        value_step = 5
        """
    )
    own, tiny = load_recipe(file), load_recipe(file, "tiny")
    assert (own.steps, own.model, own.tasks) == (
        1000,
        {"layers": 3, "heads": 4},
        {"age": Task(unit="years")},
    )
    assert (tiny.steps, tiny.model) == (10, {"layers": 1, "heads": 4})
    assert tiny.tasks == {"age": Task(unit="years", scale=20)}
    assert tiny.sources == (Source("utkface", 2, value_step=5), Source("adience"))
    file.write_text(file.read_text().replace("tiny.sources.utkface", "tiny.sources.koniq"))
    assert load_recipe(file).steps == 1000
    with pytest.raises(UsageError, match=r"mine\.toml cannot be used.*none of koniq"):
        load_recipe(file, "tiny")


def test_dotted_keys_set_entries() -> None:
    config = override(CONFIG, dotted("model.width", 32))
    assert config.model == {**CONFIG.model, "width": 32}
    config = override(CONFIG, dotted("sources.toy.share", 3))
    assert config.sources == tuple(replace(source, share=3) for source in CONFIG.sources)
    config = override(CONFIG, dotted("tasks.age.range", [0, 100]))
    assert config.tasks == {"age": Task(range=(0, 100))}
    with pytest.raises(UsageError, match="sources: the recipe has none of other"):
        override(CONFIG, dotted("sources.other.share", 3))
    with pytest.raises(UsageError, match=r"sources\.toy\.share=2"):
        override(CONFIG, dotted("sources.toy", 3))


def test_wrong_files(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('name = "a"\ntokens = []\nstepps = 3\n')
    with pytest.raises(UsageError, match="stepps"):
        load_recipe(wrong)
    wrong.write_text("name = ")
    with pytest.raises(UsageError, match=re.escape(str(wrong))):
        load_recipe(wrong)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": "abc"}, "steps = 'abc'"),
        ({"steps": 0}, "steps = 0 must be above 0"),
        ({"steps": True}, "steps = True"),
        ({"reg_loss": "abc"}, "reg_loss = 'abc'.*reg_smooth_l1"),
        ({"precision": "half"}, "precision = 'half'.*bfloat16"),
        ({"features": "ram"}, "features = 'ram'.*pictures"),
        ({"train_text": 1}, "train_text = 1"),
        ({"bce": -1}, "bce = -1 must be 0 or more"),
        ({"rank_loss": "none", "alpha": 0}, "needs a loss"),
        ({"bce": 1, "tasks": {"age": {"offset": 30}}}, "no offset goes with it"),
        ({"features": "pictures"}, "warm_start = false"),
        ({"model": 3}, "model = 3"),
        ({"model": {"layerz": 3}}, "model.layerz"),
        ({"model": {"rank_head": "abc"}}, "model.rank_head = 'abc'"),
        ({"sources": 3}, "sources = 3"),
        ({"sources": [{"data": "toy", "shares": 1}]}, "shares"),
        ({"sources": [{"data": "toy", "share": -1}]}, "share = -1"),
        ({"sources": [{"data": "toy", "negatives": 1}]}, "negatives must be below 1"),
        ({"sources": [{"data": "toy", "relative": 2}]}, "relative at most 1"),
        ({"sources": [{"data": "toy", "queries": "cat"}]}, "queries = 'cat'"),
        ({"sources": [{"data": "toy", "groups": 2, "negatives": 0.5}]}, "groups are drawn whole"),
        ({"sources": []}, "at least one"),
        ({"tasks": {"age": {"range": [5, 0]}}}, "must rise"),
        ({"tasks": {"age": {"scale": 0}}}, "scale = 0 must be above 0"),
        ({"tasks": {"age": 3}}, "tasks.age = 3"),
        ({"tasks": {"age": {"units": "years"}}}, "units"),
        ({"lr": float("nan")}, "lr = nan"),
        ({"average": 1}, "below 1"),
        ({"name": "../up"}, "name of a folder"),
        ({"stepps": 1}, "no field stepps"),
    ],
)
def test_impossible_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        override(CONFIG, values)


def test_models_that_no_backbone_makes() -> None:
    spec = read_spec(PACKAGE / "weights" / "tiny")
    config = load_recipe("adapter-tiny-quality.toml")
    assert fitted(config, spec).model["image_widths"] == {"statistics": 992}
    with pytest.raises(UsageError, match="there are no tokens abc"):
        fitted(replace(config, tokens=("abc",)), spec)
    with pytest.raises(UsageError, match="makes no adapter"):
        fitted(override(config, {"model": {"width": 7}}), spec)
    bare = replace(spec, widths={"grid": 1280, "text": 256})
    with pytest.raises(UsageError, match="the backbone tiny has no tokens statistics"):
        fitted(config, bare)
    with pytest.raises(UsageError, match=r"has no imgrank\.json"):
        fitted(config, replace(spec, widths={}, grid_tokens=None))


def test_other_data_do_not_inherit_licence_and_notes() -> None:
    own = load_recipe("adapter-tiny-quality.toml")
    assert override(own, {}) == own
    other = override(own, {"sources": [{"data": "photographs"}]})
    assert (other.licence[:9], other.notes) == ("unknown: ", "")
    assert "- photographs: your own" in notes_of_data(other)
    told = override(own, {"sources": [{"data": "photographs"}], "licence": "CC0-1.0"})
    assert told.licence == "CC0-1.0"
    longer = override(own, {"steps": 7})
    assert longer.licence == own.licence
    assert longer.notes.startswith(own.notes)
    assert "steps: 7, in the recipe 2500" in longer.notes


def test_notes_of_published_data_say_their_terms() -> None:
    notes = notes_of_data(load_recipe("adapter-utkface.toml"))
    assert "- utkface: UTKFace: aligned crops" in notes
    assert "licence: non-commercial research only" in notes
    unseen = notes_of_data(load_recipe("adapter-koniq.toml"))
    assert "its licence was not seen" in unseen


def test_a_recipe_survives_the_state_of_a_run() -> None:
    """States are compared as JSON: every field must be plain."""
    import json

    config: Config = load_recipe("adapter-multi.toml", "tiny")
    again: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    assert again["sources"][3]["negatives"] == 0.2
    assert again["tasks"]["quality"]["scale"] == 15.0
