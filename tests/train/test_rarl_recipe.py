"""The recipe of RARL: the specification's values, what may be changed, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imgrank.errors import UsageError
from imgrank.train.rarl_recipe import Config, Stage, Tuning, load_recipe, override, trained_on
from imgrank.train.recipe_file import UNKNOWN_LICENCE


def test_our_recipe_has_the_values_of_the_specification() -> None:
    found = load_recipe()
    # Lots are the whole step of 64 answers about one picture; of eight that is no longer possible.
    assert found.first == Stage(500, (1,), 1.0, 0.0, 0.5, mutation=0.0, generate_at_once=64)
    assert found.second == Stage(
        500, (1, 2, 4, 8), 1.0, 1.0, 0.5, mutation=0.5, generate_at_once=16
    )
    assert (found.group, found.prompts, found.temperature, found.kl) == (8, 8, 1.0, 0.04)
    assert (found.rank, found.lora_alpha, found.lr, found.clip) == (32, 64.0, 1e-5, 1.0)
    assert (found.loss, found.scaled, found.full) == ("dapo", True, False)
    assert [name for name, _ in found.chosen()] == ["first", "second"]
    # What it says of memory changes no expected figure, and everything else is the default.
    ours = override(found, {"at_once": 0, "generate_at_once": 0, "checkpointing": False})
    assert ours == Config()


def test_single_entries_of_a_stage_are_replaced() -> None:
    values = {"second": {"mutation": 0, "sizes": [2, 4]}, "scaled": False, "loss": "grpo"}
    found = override(load_recipe(), values)
    assert found.second == Stage(500, (2, 4), beta=1.0, mutation=0, generate_at_once=16)
    assert found.first == load_recipe().first
    assert (found.scaled, found.loss) == (False, "grpo")


def test_what_is_given_for_both_stages() -> None:
    found = override(load_recipe(), {"steps": 30, "second": {"steps": 70}})
    assert (found.first.steps, found.second.steps) == (30, 70)
    found = override(load_recipe(), {"generate_at_once": 8, "first": {"generate_at_once": 32}})
    assert (found.first.generate_at_once, found.second.generate_at_once) == (32, 8)
    assert (found.first.steps, found.second.steps) == (500, 500)


@pytest.mark.parametrize(("stages", "names"), [("first", ["first"]), ("second", ["second"])])
def test_one_stage_alone(stages: str, names: list[str]) -> None:
    found = override(load_recipe(), {"stages": stages})
    assert [name for name, _ in found.chosen()] == names


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"group": 1}, "fewer than 2 answers"),
        ({"second": {"sizes": [1, 9]}}, "second.sizes"),
        ({"second": {"sizes": []}}, "second.sizes"),
        ({"second": {"mutation": 1.5}}, "second.mutation"),
        ({"first": {"steps": 0}}, "first.steps"),
        ({"generate_at_once": -8}, "first.generate_at_once = -8 must be 0 or more"),
        ({"first": {"alpha": 0, "gamma": 0}}, "all weights of the rewards are 0"),
        ({"first": {"speed": 1}}, "no field speed"),
        ({"first": 3}, "first is a table"),
        ({"speed": 1}, "no field speed"),
        ({"rank": 0}, "rank"),
        ({"kl": -1}, "kl"),
        ({"loss": "ppo"}, "loss"),
        ({"name": "first"}, "that of a folder of a stage"),
        ({"name": "a/b"}, "cannot be the name of a folder"),
    ],
)
def test_what_cannot_be(values: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        override(load_recipe(), values)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('name = "own"\nlr = 1e-4\n[second]\nsteps = 5\n')
    found = load_recipe(file)
    assert (found.name, found.lr, found.second.steps) == ("own", 1e-4, 5)
    assert found.second.sizes == (1, 2, 4, 8)  # the rest is the second stage's own
    file.write_text("[second]\nstep = 5\n")
    with pytest.raises(UsageError, match=r"own\.toml cannot be used: the recipe has no field step"):
        load_recipe(file)


def test_licence_and_notes_are_for_the_recipes_own_data() -> None:
    own = Config(data=("utkface",), licence="research only", notes="faces")
    assert trained_on(own, "utkface", "b") == replace(own, backbone="b")
    other = trained_on(own, "csv", "b")
    assert (other.data, other.licence, other.notes) == (("csv",), UNKNOWN_LICENCE, "")
    any_data = trained_on(Tuning(licence="mine"), "csv", "b")
    assert (any_data.data, any_data.licence) == (("csv",), "mine")
