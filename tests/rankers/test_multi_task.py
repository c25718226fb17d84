"""A checkpoint for several tasks: which of them the router asks it for, and what it says."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
from multi_task import AGE, COUNT, TASKS, multi_task

from imgrank import Options, compare, sort
from imgrank.errors import CheckpointError, UsageError
from imgrank.instruction import parse
from imgrank.models.adapter import Adapter, load_adapter
from imgrank.models.registry import answering, entries
from imgrank.nouns import same_things
from imgrank.rankers import load
from imgrank.rankers.load import load_ranker, route
from imgrank.rankers.source import BackboneSource
from imgrank.rankers.trained import subjects_of
from imgrank.settings import load_settings

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
CLOSE = COUNT | {"closeness": "sort images by closeness to {n} {}."}


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("by the number of cats", "sort images by the number of cats."),
        ("most cats first", "sort images by the number of cats."),
        ("cat count", "sort images by the number of cats."),
        ("by the number of felines", "sort images by the number of cats."),
        ("by the number of red objects", "sort images by the number of objects in red."),
        ("how many people there are", "sort images by the number of people."),
        ("closest to 1 dog", "sort images by the number of dogs."),
    ],
)
def test_a_count_is_asked_for_in_the_words_of_the_training(text: str, prompt: str) -> None:
    multi_task()
    job = route(parse(text), load_settings(model="multi"))
    assert (job.answer.label, job.answer.prompt) == ("adapter multi", prompt)
    assert (job.answer.unit, job.answer.note) == ("objects", "")


def test_what_it_was_not_trained_to_count_goes_to_words_unless_it_is_named() -> None:
    multi_task()
    settings = load_settings(model="multi")
    by_words = route(parse("by the number of unicorns"), settings)
    assert by_words.answer.label == "zero-shot tiny"
    named = route(parse("by the number of unicorns"), settings, "multi")
    assert (named.answer.label, named.answer.prompt) == (
        "adapter multi",
        "sort images by the number of unicorns.",
    )
    assert named.answer.note == (
        "multi was not trained for unicorns, but for cats, dogs, people, objects in red; do not "
        "trust these scores unchecked"
    )
    near = route(parse("by the number of red cubes"), settings, "multi").answer.note
    assert "but for cats, dogs, people, objects in red" in near


def test_a_long_list_of_subjects_is_cut_and_begins_with_the_nearest() -> None:
    words = ["zebras", "cars", "trucks", "cups", "forks", "red cars", "kites", "dogs"]
    multi_task(tasks={"count": COUNT | {"subjects": words}})
    job = route(parse("by the number of blue cars"), load_settings(), "multi")
    assert job.answer.note == (
        "multi was not trained for blue cars, but for red cars, cars, zebras, trucks, cups and "
        "3 more; do not trust these scores unchecked"
    )


def test_a_prompt_without_a_list_of_subjects_takes_any() -> None:
    facts = {name: value for name, value in COUNT.items() if name != "subjects"}
    multi_task(tasks={"count": facts})
    job = route(parse("by the number of unicorns"), load_settings(model="multi"))
    assert (job.answer.label, job.answer.note) == ("adapter multi", "")


def test_a_note_is_said() -> None:
    multi_task()
    said: list[str] = []
    settings = load_settings(model="multi")
    found = sort(PHOTOS, "by age", options=Options(settings=settings, notify=said.append))
    assert said[:2] == ["age: adapter multi", f"  {AGE['note']}"]
    assert (found.columns[0].unit, found.columns[0].range) == ("years", (0, 116))


def test_a_number_cannot_be_asked_of_classes() -> None:
    multi_task()
    settings = load_settings(model="multi")
    assert route(parse("by decade"), settings).answer.label == "adapter multi"
    assert route(parse("closest to the 1950s"), settings).answer.label == "adapter tiny-decade"
    with pytest.raises(UsageError, match=r"one of its classes \(0: 1930s, 1: 1940s, 2: 1950s\)"):
        route(parse("closest to the 1950s"), settings, "multi")
    with pytest.raises(UsageError, match="it knows age, count, decade"):
        route(parse("by image quality"), settings, "multi")


def test_several_criteria_cost_one_pass_over_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    multi_task()
    computed: list[int] = []
    compute = BackboneSource.compute

    def counted(self: BackboneSource, prepared: list[object]) -> object:
        computed.append(len(prepared))
        return compute(self, prepared)

    monkeypatch.setattr(BackboneSource, "compute", counted)
    options = Options(settings=load_settings(model="multi"))
    wishes = ["by the number of cats=2", "closest to 3 red objects", "by age", "by image quality"]
    found = sort(PHOTOS, by=wishes, options=options)
    assert sum(computed) == len(found) == 13
    assert [(c.model, c.unit, c.weight, c.reference) for c in found.columns] == [
        ("multi", "objects", 2, None),
        ("multi", "objects", 1, 3),
        ("multi", "years", 1, None),
        ("tiny-quality", "MOS", 1, None),
    ]
    singles = [sort(PHOTOS, text.removesuffix("=2"), options=options) for text in wishes]
    for i, single in enumerate(singles):
        alone = {row.path: row.score for row in single}
        assert {row.path: cell[0] for row in found if (cell := row.scores[i])} == alone
    assert sum(computed) == 13  # those were known by then
    again = sort(PHOTOS, "by the number of dogs", options=options)
    assert (sum(computed), again.computed) == (13, 13)  # a new prompt takes the features kept


def test_several_criteria_load_a_checkpoint_once(monkeypatch: pytest.MonkeyPatch) -> None:
    multi_task()
    loaded: list[Path] = []

    def counted(folder: Path) -> Adapter:
        loaded.append(folder)
        return load_adapter(folder)

    monkeypatch.setattr("imgrank.models.adapter.load_adapter", counted)
    options = Options(settings=load_settings(model="multi"))
    sort(PHOTOS, by=["by the number of cats", "by age", "by image quality"], options=options)
    assert sorted(folder.name for folder in loaded) == ["multi", "tiny-quality"]


def test_closest_to_a_number_is_by_distance() -> None:
    multi_task()
    options = Options(settings=load_settings(model="multi"))
    scores = {row.path: row.score for row in sort(PHOTOS, "by age", options=options)}
    middle = sorted(scores.values())[6]
    found = sort(PHOTOS, f"closest to {abs(middle):.6f} years", options=options)
    reference = found.columns[0].reference
    assert reference == pytest.approx(abs(middle), abs=1e-6)
    distances = [abs(row.score - reference) for row in found]
    assert distances == sorted(distances)
    assert {row.path: row.score for row in found} == scores
    two = [row.path for row in found][:: len(found) - 1]
    assert compare(*two, "closest to 0 years", options=options).probability is None


def test_a_prompt_of_its_own_for_closeness_is_asked_and_its_score_is_the_order() -> None:
    multi_task(tasks=TASKS | {"count": CLOSE})
    options = Options(settings=load_settings(model="multi"))
    found = sort(PHOTOS, "closest to 3 cats", options=options)
    column = found.columns[0]
    assert (column.prompt, column.unit) == ("sort images by closeness to 3 cats.", "objects")
    assert (column.reference, column.direction, column.range) == (None, "descending", None)
    scores = [row.score for row in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]
    far = sort(PHOTOS, "farthest from 3 cats", options=options)
    assert [row.path for row in far] == [row.path for row in found][::-1]
    first, last = found[0].path, found[-1].path
    near = compare(first, last, "closest to 3 cats", options=options)
    away = compare(first, last, "farthest from 3 cats", options=options)
    assert near.probability is not None
    assert away.probability == pytest.approx(1 - near.probability)
    assert near.scores == pytest.approx((scores[0], scores[-1]), abs=5e-3)


@pytest.mark.parametrize(
    ("text", "facts", "prompt"),
    [
        ("closest to 12 cats", {}, "sort images by closeness to 12 cats."),
        ("closest to 13 cats", {}, "sort images by the number of cats."),
        ("closest to 2.5 cats", {}, "sort images by the number of cats."),
        ("closest to 13 cats", {"closeness_to": 20}, "sort images by closeness to 13 cats."),
        ("closest to 4 cats", {"closeness_to": 3}, "sort images by the number of cats."),
    ],
)
def test_numbers_that_closeness_was_not_trained_for_are_met_by_distance(
    text: str, facts: dict[str, int], prompt: str
) -> None:
    multi_task(tasks={"count": CLOSE | facts})
    answer = route(parse(text), load_settings(), "multi").answer
    assert (answer.prompt, answer.closeness) == (prompt, "closeness" in prompt)


def test_compare_uses_the_prompt_of_the_task() -> None:
    multi_task()
    options = Options(settings=load_settings(model="multi"))
    pair = PHOTOS / "cat.jpg", PHOTOS / "coffee.jpg"
    wishes = ["by age", "by the number of cats", "by the number of dogs"]
    found = [compare(*pair, wish, options=options).probability for wish in wishes]
    turned = [compare(*pair[::-1], wish, options=options).probability for wish in wishes]
    assert len({round(p, 6) for p in found if p is not None}) == 3
    assert [a + b for a, b in zip(found, turned, strict=True)] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subjects", "cats"),
        ("subjects", [1]),
        ("subjects", {"cats": "felines"}),
        ("classes", {"0": "a"}),
        ("note", ["a"]),
        ("closeness", 3),
    ],
)
def test_odd_facts_of_a_task_are_refused(field: str, value: object) -> None:
    multi_task(tasks={"count": COUNT | {field: value}})
    with pytest.raises(CheckpointError, match=rf"tasks\.count\.{field}"):
        load_ranker("multi", load_settings())


def test_prompts_and_subjects_that_are_added_change_no_score_that_was_kept() -> None:
    folder = multi_task()
    before = load_ranker("multi").identity
    config = json.loads((folder / "config.json").read_text())
    config["tasks"]["count"]["subjects"]["unicorns"] = []
    config["tasks"]["age"]["note"] = "another"
    (folder / "config.json").write_text(json.dumps(config))
    assert load_ranker("multi").identity == before


def test_of_two_embedded_checkpoints_for_the_same_it_is_said_which_answers() -> None:
    checkpoints = [entry for entry in entries() if entry.kind != "backbone"]
    assert checkpoints
    for one, other in combinations(checkpoints, 2):
        for task in one.tasks.keys() & other.tasks.keys():
            if answering().get(task) in (one.name, other.name):
                continue  # said to be the better one
            mine, theirs = (subjects_of(entry.tasks[task]) for entry in (one, other))
            both = f"{one.name} and {other.name} both answer {task}"
            assert mine, both
            assert theirs, both
            assert not [a for a in mine for b in theirs if same_things(a, b)], both


def test_of_two_embedded_counters_the_one_that_knows_the_subject_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = load_settings().models_dir
    multi_task(models / "animals")
    multi_task(models / "shapes", tasks={"count": COUNT | {"subjects": ["spheres"]}})
    monkeypatch.setattr(load, "entries", lambda folder=None: entries(models))
    settings = load_settings()
    for subject, model in (("dogs", "animals"), ("spheres", "shapes"), ("owls", "tiny")):
        answer = route(parse(f"by the number of {subject}"), settings).answer
        assert answer.model == model
