"""Instructions: what a phrase means, what is refused, and properties that hold for any text."""

from __future__ import annotations

import re
import subprocess
import sys
from string import Formatter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgrank.errors import InstructionError, UsageError
from imgrank.instruction import Query, canonical, explain, parse, parse_by, tasks
from imgrank.tasks import lexicon

DOWN, UP = True, False  # highest first, lowest first

MEANINGS = [
    # names of tasks, in their natural order
    ("by image quality", "quality", DOWN, None, ""),
    ("quality", "quality", DOWN, None, ""),
    ("sort images by the image quality of MOS", "quality", DOWN, None, ""),
    ("by the quality of these photos", "quality", DOWN, None, ""),
    ("by aesthetic quality", "aesthetics", DOWN, None, ""),
    ("by beauty", "aesthetics", DOWN, None, ""),
    ("by age", "age", DOWN, None, ""),
    ("sort images by the person's age group.", "age", DOWN, None, ""),
    ("by decade", "decade", DOWN, None, ""),
    ("sort images by the taken date of the photo.", "date", DOWN, None, ""),
    ("by date taken", "date", DOWN, None, ""),
    ("by file size", "file_size", DOWN, None, ""),
    ("by size", "file_size", DOWN, None, ""),
    ("by megapixels", "megapixels", DOWN, None, ""),
    ("by the number of pixels", "megapixels", DOWN, None, ""),
    ("by aspect ratio", "aspect", DOWN, None, ""),
    ("by noise level", "noise", DOWN, None, ""),
    ("by contrast", "contrast", DOWN, None, ""),
    ("by sharpness", "sharpness", DOWN, None, ""),
    # spelling, case, punctuation, politeness
    ("Please sort these photos by Colourfulness!", "colorfulness", DOWN, None, ""),
    ("BY COLORFULNESS.", "colorfulness", DOWN, None, ""),
    ("could you please rank all the pictures according to sharpness?", "sharpness", DOWN, None, ""),
    ("order my pictures by brightness, thanks", "brightness", DOWN, None, ""),
    ("sort images of cats by quality", "quality", DOWN, None, ""),
    # directions
    ("worst first", "quality", UP, None, ""),
    ("by quality, worst first", "quality", UP, None, ""),
    ("best first by quality", "quality", DOWN, None, ""),
    ("best first, worst last", "quality", DOWN, None, ""),
    ("worst last", "quality", DOWN, None, ""),
    ("worst", "quality", UP, None, ""),
    ("low quality", "quality", UP, None, ""),
    ("by quality descending", "quality", DOWN, None, ""),
    ("by quality in ascending order", "quality", UP, None, ""),
    ("by contrast high to low", "contrast", DOWN, None, ""),
    ("low to high brightness", "brightness", UP, None, ""),
    ("low noise first", "noise", UP, None, ""),
    ("in ascending order of age", "age", UP, None, ""),
    ("sort by decreasing file size", "file_size", DOWN, None, ""),
    ("in chronological order", "date", UP, None, ""),
    ("put the best pictures first", "quality", DOWN, None, ""),
    ("which one is sharper?", "sharpness", DOWN, None, ""),
    ("the worse photo", "quality", UP, None, ""),
    ("reverse by quality", "quality", UP, None, ""),
    ("by quality, worst first, reversed", "quality", DOWN, None, ""),
    ("reverse order of date", "date", UP, None, ""),
    ("blurriest first", "sharpness", UP, None, ""),
    ("sharpest photos", "sharpness", DOWN, None, ""),
    ("least colourful first", "colorfulness", UP, None, ""),
    ("most colorful pictures first", "colorfulness", DOWN, None, ""),
    ("darkest to brightest", "brightness", UP, None, ""),
    ("from bright to dark", "brightness", DOWN, None, ""),
    ("by how dark it is", "brightness", UP, None, ""),
    ("by darkness", "brightness", UP, None, ""),
    ("by darkness, lowest first", "brightness", DOWN, None, ""),
    ("noise, best first", "noise", UP, None, ""),
    ("least noisy first", "noise", UP, None, ""),
    ("by noise", "noise", DOWN, None, ""),
    ("newest first", "date", DOWN, None, ""),
    ("largest first", "file_size", DOWN, None, ""),
    ("smallest to largest", "file_size", UP, None, ""),
    ("by resolution, smallest first", "megapixels", UP, None, ""),
    ("landscape first", "aspect", DOWN, None, ""),
    # old: the date, or the age where people are spoken of
    ("oldest first", "date", UP, None, ""),
    ("oldest photos first", "date", UP, None, ""),
    ("oldest to newest", "date", UP, None, ""),
    ("by how old it is", "date", UP, None, ""),
    ("oldest person first", "age", DOWN, None, ""),
    ("by age, oldest first", "age", DOWN, None, ""),
    ("by age, youngest first", "age", UP, None, ""),
    ("sort faces, oldest first", "age", DOWN, None, ""),
    ("sort my photos of people oldest first", "age", DOWN, None, ""),
    ("how old the person looks", "age", DOWN, None, ""),
    ("young to old", "age", UP, None, ""),
    ("by decade, oldest first", "decade", UP, None, ""),
    # counts
    ("sort images by the number of cats", "count", DOWN, None, "cats"),
    ("Rank the numbers of horse.", "count", DOWN, None, "horse"),
    ("sort images by the number of objects in red.", "count", DOWN, None, "objects in red"),
    ("how many people there are", "count", DOWN, None, "people"),
    ("most cats first", "count", DOWN, None, "cats"),
    ("fewest people in the picture first", "count", UP, None, "people"),
    ("lowest number of red cars first", "count", UP, None, "red cars"),
    ("cat count", "count", DOWN, None, "cats"),
    # references
    ("closest to 3 dogs", "count", DOWN, 3.0, "dogs"),
    ("closest to three dogs", "count", DOWN, 3.0, "dogs"),
    ("nearest to one person", "count", DOWN, 1.0, "people"),
    ("closest to a dozen eggs", "count", DOWN, 12.0, "eggs"),
    ("by the number of dogs, closest to 3", "count", DOWN, 3.0, "dogs"),
    ("farthest from 3 dogs", "count", UP, 3.0, "dogs"),
    ("closest to age 30", "age", DOWN, 30.0, ""),
    ("by age, nearest to 30 years", "age", DOWN, 30.0, ""),
    ("closest to 1950", "decade", DOWN, 1950.0, ""),
    ("closest to the 1990s", "decade", DOWN, 1990.0, ""),
    ("closest to 12.5 megapixels", "megapixels", DOWN, 12.5, ""),
    ("closest to 2 MB", "file_size", DOWN, 2e6, ""),
    ("by date, closest to 2015", "date", DOWN, 1420070400.0, ""),
    # free text
    ("a cat", None, DOWN, None, "a cat"),
    ("by how scary it looks", None, DOWN, None, "scary"),
    ("by how scary it looks, scariest first", None, DOWN, None, "scary"),
    ("scariest first", None, DOWN, None, "scary"),
    ("least scary first", None, UP, None, "scary"),
    ("dogs, worst first", None, UP, None, "dogs"),
    ("by how much it looks like a painting", None, DOWN, None, "a painting"),
    ("women and children first", None, DOWN, None, "women and children"),
    # a task's word inside a longer text
    ("a bright red car", None, DOWN, None, "a bright red car"),
    ("an old man", None, DOWN, None, "an old man"),
    ("portrait", None, DOWN, None, "portrait"),
    ("a photo of a quality inspector", None, DOWN, None, "a photo of a quality inspector"),
    ("a cat close to 3 dogs", None, DOWN, None, "a cat close to 3 dogs"),
    ("a street from dark to bright", None, DOWN, None, "a street from dark to bright"),
    ("a car in reverse", None, DOWN, None, "a car in reverse"),
    ("a dog not on a leash", None, DOWN, None, "a dog not on a leash"),
    ("show jumping horse", None, DOWN, None, "show jumping horse"),
    ("greyhound", None, DOWN, None, "greyhound"),
    ("🐱", None, DOWN, None, "🐱"),
]


@pytest.mark.parametrize(("text", "task", "descending", "reference", "subject"), MEANINGS)
def test_meaning(
    text: str, task: str | None, descending: bool, reference: float | None, subject: str
) -> None:
    query = parse(text)
    assert (query.task, query.descending, query.reference, query.subject) == (
        task,
        descending,
        reference,
        subject,
    )
    assert query.text == text
    assert query.reason and "\n" not in explain(query)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ("?!...", "empty"),
        ("please", "nothing to sort by"),
        ("sort these photos", "nothing to sort by"),
        ("descending", "'descending' of what"),
        ("highest first", "'highest first' of what"),
        ("best first worst first", "'best first' and 'worst first' contradict"),
        ("quality ascending descending", "contradict"),
        ("by age, young to old, oldest first", "contradict"),
        ("from best to best", "same end"),
        ("closest to 3 dogs, descending", "contradicts"),
        ("by age, closest to 3 dogs", "different things"),
        ("closest to 5", "of what"),
        ("closest to -3 dogs", "never negative"),
        ("by count", "Count what"),
        ("not scary", "what not to do"),
        ("don't sort by age", "what not to do"),
        ("by quality and brightness", "--by 'quality' --by 'brightness'"),
        ("by brightness, oldest first", "'oldest first' is not an order of 'brightness'"),
        ("dogs, oldest first", "'oldest first' is not an order of 'dogs'"),
        ("by how scary it looks, tamest first", "not an order"),
        ("by age, grumpy ones first", "'grumpy ones' is not"),
        ("x" * 1001, "longer than 1000"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(InstructionError, match=re.escape(says)) as caught:
        parse(text)
    assert isinstance(caught.value, UsageError) and caught.value.status == 2


def test_prompts_are_those_the_adapters_are_trained_with() -> None:
    prompts = {
        "by quality": "sort images by the image quality of MOS",
        "by brightness": "sort images by the image brightness of MOS",
        "by age": "sort images by the person's age group.",
        "by decade": "sort images by the taken date of the photo.",
        "most cats first": "sort images by the number of cats.",
        "closest to 3 dogs": "sort images by the number of dogs.",
        "by how scary it looks": "scary",
    }
    assert {text: parse(text).prompt for text in prompts} == prompts


def test_ambiguity_is_told() -> None:
    assert parse("oldest first").reason == (
        "'oldest first' could also be about age or decade; read as date, since that is the usual "
        "meaning"
    )
    assert "since people are spoken of" in parse("sort faces, oldest first").reason
    assert explain(parse("closest to 3 dogs", 0.5)) == (
        "number of dogs, closest to 3 first, weight 0.5 (a number to be close to: 'closest to 3 "
        "dogs')"
    )
    assert explain(parse("a cat")) == (
        "free text 'a cat', best match first (no known task has that name)"
    )


@pytest.mark.parametrize(
    ("spec", "text", "weight"),
    [
        ("quality", "quality", 1.0),
        ("quality=2", "quality", 2.0),
        ("image quality = 0.25", "image quality ", 0.25),
        ("worst first=1e-3", "worst first", 0.001),
        ("quality=.5", "quality", 0.5),
        ("a=b", "a=b", 1.0),
        ("a=b=3", "a=b", 3.0),
        ("a sign saying 1=one", "a sign saying 1=one", 1.0),
    ],
)
def test_by(spec: str, text: str, weight: float) -> None:
    query = parse_by(spec)
    assert (query.text, query.weight) == (text, weight)


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "-inf", "1e999", "1e-999"])
def test_by_refuses_weights(weight: str) -> None:
    with pytest.raises(InstructionError, match="positive number"):
        parse_by(f"quality={weight}")


def test_tasks_are_sound() -> None:
    assert set(tasks()) == {
        *("quality", "aesthetics", "age", "decade", "count", "noise", "brightness", "contrast"),
        *("colorfulness", "sharpness", "megapixels", "file_size", "date", "aspect"),
    }
    assert tasks() is tasks()
    spelled = [p for task in tasks().values() for p in (*task.phrases, *task.inverse)]
    assert len(spelled) == len(set(spelled))
    for key, task in tasks().items():
        fields = {field for _, field, _, _ in Formatter().parse(task.prompt) if field}
        assert fields == ({"subject"} if key == "count" else set())
        assert all(len(pair) == 2 and pair[0] != pair[1] for pair in task.poles)
        assert task.high and task.low and not set(task.high) & set(task.low)


@pytest.mark.parametrize("key", [key for key in tasks() if key != "count"])
def test_every_phrase_and_end_of_the_data_is_understood(key: str) -> None:
    task = tasks()[key]
    for phrase in (*task.phrases, *task.inverse):
        query = parse(f"please sort the images by {phrase}.")
        assert (query.task, query.descending) == (key, phrase not in task.inverse)
    for word in (*task.high, *task.low, *(f"most {w}" for w in task.high_words)):
        query = parse(f"by {key.replace('_', ' ')}, {word} first")
        assert (query.task, query.descending) == (key, word not in task.low)


def same(one: Query, other: Query) -> bool:
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("task", "prompt", "subject", "descending", "reference")
    )


COMMON = (
    "first last best worst most least fewest cats people by sort photos please the of number how "
    "many old is it looks to from closest 3 three 1950 reverse order in descending , and not a "
    "scariest years mb = . first, show highest reversed 1990s"
)
WORDS = st.sampled_from([*COMMON.split(), *lexicon().ends, *lexicon().phrases])


@settings(max_examples=400, deadline=None)
@given(st.text() | st.lists(WORDS, max_size=8).map(" ".join))
def test_any_text_is_read_or_refused_and_its_canonical_form_means_the_same(text: str) -> None:
    try:
        query = parse(text)
    except InstructionError:
        return
    again = parse(canonical(query))
    assert same(query, again)
    assert canonical(again) == canonical(query)
    assert len(explain(query).splitlines()) == 1


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([row[0] for row in MEANINGS]), st.sampled_from([" ", "  ", "\n", "\t"]))
def test_case_spaces_and_a_final_stop_change_nothing(text: str, space: str) -> None:
    changed = space + text.upper().replace(" ", space) + " ."
    assert same(parse(text), parse(changed))


def test_undecodable_arguments_are_read() -> None:
    assert parse("caf\udce9").subject == "caf"


def test_torch_is_not_imported() -> None:
    code = (
        "import sys, imgrank.instruction as i; assert 'tomllib' not in sys.modules; "
        "i.parse('by quality'); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
