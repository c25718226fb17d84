"""What a checkpoint's config records of the queries that trained it."""

from dataclasses import replace
from pathlib import Path

import pytest
from toy_training import CONFIG, TARGETS, labelled, labels

from imgrank.data import catalogue
from imgrank.data.labelled import Labelled, Labels
from imgrank.errors import UsageError
from imgrank.models.adapter import AdapterConfig
from imgrank.models.card import model_card
from imgrank.models.spec import read_spec
from imgrank.train.adapter_recipe import Source, Task, load_recipe
from imgrank.train.keeping import facts_of
from imgrank.train.processes import Processes
from imgrank.train.streams import Stream, read_streams, stream_of

TINY = Path(catalogue.__file__).parents[1] / "weights" / "tiny"


def counts(subject: str, task: str = "count") -> Labels:
    prompt = f"sort images by the number of {subject}."
    return labels(TARGETS, subject, task=task, prompt=prompt, subject=subject, range=None)


def streams() -> list[Stream]:
    groups = labels(
        key="age",
        task="age",
        prompt="by age",
        unit="age group",
        classes=("0-2", "4-6", "8-12", "15-20", "25-32"),
    )
    tasks = {"age": Task(offset=2, scale=4, range=(0, 5))}
    sets = {
        Source("coco", relative=0.25): labelled(counts("cats"), counts("dogs"), name="coco"),
        Source("clevr"): labelled(counts("objects in red"), name="clevr"),
        Source("adience", fold=3): labelled(groups, name="adience"),
        Source("koniq"): labelled(labels(range=(1, 100)), name="koniq"),
        Source("agiqa3k"): labelled(labels(range=(0, 5)), name="agiqa3k"),
    }
    return [stream_of(source, data, tasks) for source, data in sets.items()]


def test_a_config_of_many_tasks() -> None:
    made = streams()
    config = replace(CONFIG, sources=tuple(stream.source for stream in made), seed=4)
    model = AdapterConfig.from_dict(config.model).to_dict()
    facts = facts_of(config, made, read_spec(TINY), model, "imgrank train adapter")
    assert facts["tasks"] == {
        "count": {
            "prompt": "sort images by the number of {}.",
            "unit": "",
            "order": "descending",
            "subjects": ["cats", "dogs", "objects in red"],
            "measured": [],
            "closeness": "sort images by closeness to {n} {}.",
        },
        "age": {
            "prompt": "by age",
            "unit": "age group",
            "range": [0, 5],
            "order": "descending",
            "classes": ["0-2", "4-6", "8-12", "15-20", "25-32"],
            "offset": 2,
            "scale": 4,
            "measured": [],
        },
        "quality": {
            "prompt": "sort",
            "unit": "",
            "range": [0, 100],
            "order": "descending",
            "measured": [],
        },
    }
    assert facts["training"]["data"]["adience"] == {"fold": 3}
    assert (facts["training"]["seed"], facts["training"]["steps"]) == (4, 6)
    assert facts["backbone"]["tokens"] == ["grid", "statistics"]
    card = model_card(facts, "notes", [])
    assert "scores in no unit, the highest first" in card
    assert "scores in age group (0 to 5), the highest first" in card


@pytest.mark.parametrize(("most", "kept"), [((12, 12), None), ((20, 20), 20), ((20, 5), 5)])
def test_the_highest_number_of_a_closeness_is_kept_where_it_is_not_the_paper_s(
    most: tuple[int, int], kept: int | None
) -> None:
    names = ("coco", "clevr")
    made = [
        stream_of(
            Source(name, relative=0.25, relative_to=n), labelled(counts(f"{name}s"), name=name), {}
        )
        for name, n in zip(names, most, strict=True)
    ]
    model = AdapterConfig.from_dict(CONFIG.model).to_dict()
    facts = facts_of(CONFIG, made, read_spec(TINY), model, "imgrank train adapter")
    assert facts["tasks"]["count"].get("closeness_to") == kept


def read_as(found: dict[str, Labelled], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "read", lambda name, root, options: found[name])


def test_a_task_is_asked_in_one_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = labels(prompt="sort by quality")
    found = {"koniq": labelled(name="koniq"), "agiqa3k": labelled(other, name="agiqa3k")}
    read_as(found, monkeypatch)
    config = replace(CONFIG, sources=(Source("koniq"), Source("agiqa3k")))
    with pytest.raises(UsageError, match=r"quality in several ways.*\[tasks.quality\] prompt"):
        read_streams(config, tmp_path, False, print, tmp_path)
    config = replace(config, tasks={"quality": Task(prompt="one")})
    made = read_streams(config, tmp_path, False, print, tmp_path)
    assert [stream.asked[0].labels.prompt for stream in made] == ["one", "one"]
    with pytest.raises(UsageError, match="no data set of this recipe has age"):
        read_streams(
            replace(config, tasks=config.tasks | {"age": Task()}), tmp_path, False, print, tmp_path
        )
    with pytest.raises(UsageError, match="17 processes are too many"):
        read_streams(config, tmp_path, False, print, tmp_path, Processes(0, 17))


def test_unknown_data_are_told_before_any_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read_as({}, monkeypatch)
    config = replace(load_recipe("adapter-koniq.toml"), sources=(Source("koniq"), Source("toy")))
    with pytest.raises(UsageError, match="no data set toy"):
        read_streams(config, tmp_path, False, print, tmp_path)


def test_attributes_are_measured_once_for_all_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def measured(data: Labelled, cache: Path, progress: object) -> Labelled:
        asked.append(data.name)
        added = labels(-TARGETS, "contrast", task="contrast", prompt="by contrast")
        return replace(data, labels=(*data.labels, added))

    read_as({"ava": labelled(name="ava")}, monkeypatch)
    monkeypatch.setattr("imgrank.train.streams.with_attributes", measured)
    sources = (
        Source("ava", attributes=True, queries=("contrast",)),
        Source("ava", attributes=True, share=2),
        Source("ava"),
    )
    made = read_streams(replace(CONFIG, sources=sources), tmp_path, False, print, tmp_path)
    assert [[a.labels.key for a in stream.asked] for stream in made] == [
        ["contrast"],
        ["quality", "contrast"],
        ["quality"],
    ]
    assert asked == ["ava"]
