"""Options of the commands that may ask a language model, and the few lines that ask it.

    @llm_options                                   # --rephrase METHOD, --llm URL, ...
    text = rephrased(given, query, settings, notify)
    texts = rephrased_all(given, queries, settings, notify, progress)
    how = rephrased_by(given, settings)            # "k_list by NAME at URL"

Without --rephrase the texts are those that were given. `given` is the dict of a command's options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli.options import Command, refuse_without, stack
from imgrank.errors import ChatError
from imgrank.settings import Settings

if TYPE_CHECKING:
    from imgrank.llm.chat import Chat
    from imgrank.store.answers import Answers

__all__ = [
    "chat_from",
    "endpoint_options",
    "llm_options",
    "refuse_rephrasing",
    "rephrased",
    "rephrased_all",
    "rephrased_by",
]

METHODS = ("detail", "k_list", "kw_dict", "reorg", "repeat")  # rephrasing.METHODS, unimported
SHOWN = 5  # failures that are told one by one
Notify = Callable[[str], None]


def endpoint_options(command: Command) -> Command:
    """Which language model is asked."""
    return stack(
        command,
        click.option(
            "--llm",
            metavar="URL",
            help="An OpenAI-compatible chat endpoint, such as http://localhost:8080/v1; none is "
            "asked that is not named. A key goes into IMGRANK_LLM_KEY.  [IMGRANK_LLM_URL]",
        ),
        click.option(
            "--llm-model",
            metavar="NAME",
            help="The model, as the endpoint calls it.  [IMGRANK_LLM_MODEL]",
        ),
    )


def llm_options(command: Command) -> Command:
    """Whether the query is rephrased, how, and by whom."""
    return stack(
        command,
        click.option(
            "--rephrase",
            metavar="METHOD",
            type=click.Choice(METHODS),
            help="Ask with more than the bare query. By a language model (--llm), which is sent "
            "the query: detail, k_list (a list of details), kw_dict (key words with descriptions), "
            "reorg (other wordings). repeat says the query over and over and needs none.",
        ),
        click.option(
            "--words",
            type=click.IntRange(5, 500),
            default=50,
            show_default=True,
            help="With --rephrase: about how long.",
        ),
        endpoint_options,
        click.option(
            "--plain-if-failed",
            is_flag=True,
            help="With --rephrase: warn and take the plain query where the endpoint fails.",
        ),
    )


def refuse_rephrasing(*, endpoint: bool = True) -> None:
    """For a command line without --rephrase: raises UsageError for what counts with it alone.

    endpoint: whether --llm is among that.
    """
    refuse_without("--rephrase", "words", "plain_if_failed")
    if endpoint:
        refuse_without("--rephrase", "llm", "llm_model")


def chat_from(given: Mapping[str, Any], settings: Settings, notify: Notify) -> Chat:
    """Who is asked; opens nothing. Raises UsageError if nobody is named, saying how."""
    from imgrank.llm.chat import Chat, endpoint_of

    return Chat(endpoint_of(settings, given["llm"], given["llm_model"], notify), notify)


def rephrased(given: Mapping[str, Any], query: str, settings: Settings, notify: Notify) -> str:
    """What is really asked for `query`; the command shows it.

    Raises UsageError where no model is named, ChatError where it fails (not with
    --plain-if-failed), MissingExtra without the client.
    """
    (text,) = rephrased_all(given, [query], settings, notify)
    return text


def rephrased_by(given: Mapping[str, Any], settings: Settings) -> str:
    """How that comes about: "k_list by NAME at URL", "repeat"; "" without --rephrase."""
    method = given["rephrase"]
    if method in (None, "repeat"):
        return method or ""
    return f"{method} by {chat_from(given, settings, lambda text: None).endpoint.source}"


def rephrased_all(
    given: Mapping[str, Any],
    queries: Sequence[str],
    settings: Settings,
    notify: Notify,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """What is really asked for each query, in their order; errors as `rephrased`.

    progress: how many are done, of how many.
    """
    if given["rephrase"] is None:
        return list(queries)
    from imgrank.llm import rephrasing

    found: list[str] = []
    plain = 0
    with _asking(given, settings, notify) as (chat, kept):
        several = rephrasing.rephrase_all(
            queries, given["rephrase"], chat, words=given["words"], kept=kept
        )
        with closing(several) as answers:
            for query, answer in zip(queries, answers, strict=True):
                if isinstance(answer, ChatError):
                    if not given["plain_if_failed"]:
                        raise answer
                    plain += 1
                    if plain <= SHOWN:
                        notify(f"'{query}' is asked as it stands: {answer}")
                    answer = query
                found.append(answer)
                progress(len(found), len(queries))
    if plain > SHOWN:
        notify(f"so are {plain - SHOWN} more queries")
    return found


@contextmanager
def _asking(
    given: Mapping[str, Any], settings: Settings, notify: Notify
) -> Iterator[tuple[Chat | None, Answers | None]]:
    """The model and the kept answers; neither for a method that needs none."""
    if given["rephrase"] == "repeat":
        yield None, None
        return
    from imgrank.store.store import Store

    with chat_from(given, settings, notify) as chat:
        budget = settings.feature_budget
        with Store(settings.store_path, feature_budget=budget, notify=notify) as store:
            yield chat, store.answers
