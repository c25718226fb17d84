"""Which checkpoint gives the probabilities of ranks, and which embedded model answers a task."""

from __future__ import annotations

from pathlib import Path

import pytest
from rank_checkpoints import rank_checkpoint

from imgrank.errors import ModelUnavailable, UsageError
from imgrank.instruction import parse, tasks
from imgrank.models import registry
from imgrank.rankers.load import load_levels, route
from imgrank.rankers.trained import trained_for
from imgrank.settings import load_settings

EMBEDDED = registry.EMBEDDED


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with `tiny`, `tiny-age` and an L2RCLIP checkpoint `tiny-years` for age."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("tiny", "tiny-age"):
        (folder / name).symlink_to(EMBEDDED / name)
    rank_checkpoint(folder / "tiny-years", "age")
    monkeypatch.setattr(registry, "EMBEDDED", folder)
    return folder


def _default(text: str) -> None:
    settings = load_settings()
    settings.config.parent.mkdir(parents=True, exist_ok=True)
    settings.config.write_text(f"[models]\n{text}\n")


def test_the_named_model_then_the_users_default_then_the_embedded_one(embedded: Path) -> None:
    models = load_settings().models_dir
    mine, other = (rank_checkpoint(models / name, "age") for name in ("mine", "other"))
    assert load_levels("age", load_settings()).name == "tiny-years"
    assert load_levels("age", load_settings(model="other")).name == "other"
    _default('age = "mine"')
    assert load_levels("age", load_settings(model="other")).name == "mine"
    assert load_levels("age", load_settings(), "other").folder == other
    assert load_levels("age", load_settings(), str(mine)).name == "mine"
    _default('age = "tiny-age"')  # an adapter, which gives no probabilities
    assert load_levels("age", load_settings()).name == "tiny-years"


def test_a_model_without_levels_of_the_task_is_refused(embedded: Path) -> None:
    with pytest.raises(
        UsageError, match=r"tiny-age gives no probabilities of age levels .*adapter"
    ):
        load_levels("age", load_settings(), "tiny-age")
    with pytest.raises(UsageError, match=r"of decade levels .it knows other tasks"):
        load_levels("decade", load_settings(), "tiny-years")
    with pytest.raises(ModelUnavailable, match="nowhere"):
        load_levels("age", load_settings(), "nowhere")
    with pytest.raises(ModelUnavailable, match=r"nowhere.*your default"):
        load_levels("age", load_settings(model="nowhere"))
    with pytest.raises(ModelUnavailable, match="probabilities of decade levels"):
        load_levels("decade", load_settings())


@pytest.mark.parametrize("name", ["tiny-age", "tiny-years"])
def test_of_two_embedded_models_the_registry_says_who_answers(
    embedded: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tables = {**registry._tables(), "answers": {"age": name}}
    monkeypatch.setattr(registry, "_tables", lambda: tables)
    assert route(parse("by age"), load_settings()).answer.model == name
    assert route(parse("closest to 30 years"), load_settings()).answer.model == name


def test_each_task_of_several_embedded_models_has_one_that_answers() -> None:
    trained: dict[str, list[str]] = {}
    for entry in registry.entries():
        for task in entry.tasks:
            if trained_for(entry.tasks, parse(f"by {tasks()[task].phrases[0]}")):
                trained.setdefault(task, []).append(entry.name)
    several = {task: names for task, names in trained.items() if len(names) > 1}
    assert set(registry.answering()) == set(several)
    for task, name in registry.answering().items():
        assert name in several[task]
