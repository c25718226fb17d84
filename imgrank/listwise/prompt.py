"""What a vision-language model is asked about a few pictures, and the answer that would be right
(paper 002, Table 1; spec/rarl.md).

The wording is the paper's. Its published text has lost the brackets of the tags; they are restored
here. [Rule] is `Rule.text`, [Value_Range] is "LOW to HIGH". The paper does not show how pictures
are told apart: here each comes after "Image k:", k = 1..n, and `image_id` is that k.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["LOOKED", "SYSTEM", "Rule", "instruct", "messages", "number", "truth_answer"]

SYSTEM = (
    "The user asks a question, and the Assistant solves it. The assistant first thinks about the "
    "reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
    "respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>."
)
INSTRUCT = (
    "Analyze each image to determine the [Rule], and if there are multiple images, sort them in "
    "ascending order of [Rule]. Output the results as a JSON list of dictionaries in this format: "
    "[{'image_id': number, 'value': value}, ...], where value is the [Rule] ([Value_Range]). "
    "Ensure the list is sorted correctly with strictly followed syntax."
)
LOOKED = "I looked."  # what the given answer says it thought


@dataclass(frozen=True, slots=True)
class Rule:
    """What the value of a picture is.

    text: as in a sentence, "the person's age"; a leading "the" is the template's own and is taken
    off.   low, high: the values that are to be expected, low < high, in the task's unit.
    """

    text: str
    low: float
    high: float


def instruct(rule: Rule) -> str:
    """The user's sentence for a rule; the same for any number of pictures."""
    asked = rule.text.removeprefix("the ")
    between = f"{number(rule.low)} to {number(rule.high)}"
    return INSTRUCT.replace("[Value_Range]", between).replace("[Rule]", asked)


def messages(rule: Rule, count: int) -> list[dict[str, Any]]:
    """The conversation about `count` >= 1 pictures, as chat templates take it.

    Its {"type": "image"} parts stand for the pictures, in their order.
    """
    asked: list[dict[str, str]] = []
    for k in range(1, count + 1):
        asked += [{"type": "text", "text": f"Image {k}: "}, {"type": "image"}]
    asked.append({"type": "text", "text": instruct(rule)})
    return [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
        {"role": "user", "content": asked},
    ]


def truth_answer(values: Sequence[float]) -> str:
    """The right answer about images 1..n with these finite values: ascending, ties by id.

    Values are printed with two decimals, or as many as it takes to keep different ones different
    and each within 1%; whole ones without any. That is what supervised training teaches and what
    the Response Mutation puts in.
    """
    printed = _printed(values)
    order = sorted(range(len(values)), key=lambda i: values[i])
    items = [{"image_id": i + 1, "value": printed[i]} for i in order]
    return f"<think>{LOOKED}</think><answer>{json.dumps(items)}</answer>"


def number(value: float) -> int | float:
    """The same finite number, an int if it is whole: printed as 30 and not as 30.0."""
    return int(value) if float(value).is_integer() else float(value)


def _printed(values: Sequence[float]) -> list[int | float]:
    for decimals in range(2, 16):
        short = [round(float(value), decimals) for value in values]
        close = all(math.isclose(a, b, rel_tol=0.01) for a, b in zip(short, values, strict=True))
        if close and len(set(short)) == len(set(values)):
            return [number(value) for value in short]
    return [number(value) for value in values]
