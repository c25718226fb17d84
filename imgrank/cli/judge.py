"""`imgrank judge`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli import options as shared
from imgrank.cli.asking import agreed
from imgrank.cli.llm import chat_from, llm_options, refuse_rephrasing, rephrased_all
from imgrank.cli.sheet import drawn, printed, rendered
from imgrank.errors import UsageError

if TYPE_CHECKING:
    from imgrank.api import Options
    from imgrank.evaluate.judge import Judged, Pair
    from imgrank.evaluate.judge_search import Compared
    from imgrank.images import Skip
    from imgrank.llm.chat import Chat
    from imgrank.settings import Settings

FORMATS = ("table", "tsv", "json")
CRITERIA = ("accuracy", "aesthetics", "diversity")  # evaluate.judge.CRITERIA, unimported
FREE = 100
"""Questions that are asked without --yes."""
EPILOG = """\b
Examples:
  imgrank judge photos --queries q.txt --against B --llm URL --llm-model M  # needs a model of yours
  imgrank judge photos --queries q.txt --rephrase k_list -f json  # needs a model of yours
"""


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--queries",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The queries, one a line.",
)
@click.option("--model", metavar="A", help="A model with words.  [as `imgrank search` takes]")
@click.option("--against", metavar="B", help="Another.  [with --rephrase: the same]")
@click.option(
    "--top",
    type=click.IntRange(1, 10),
    default=5,
    show_default=True,
    metavar="N",
    help="Pictures in a row.",
)
@click.option(
    "--criteria",
    metavar="NAME,...",
    help="Only some of accuracy, aesthetics and diversity; one question is asked for all.  [all]",
)
@click.option("--yes", is_flag=True, help=f"Do not ask before more than {FREE} questions.")
@click.option(
    "--rounds", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap."
)
@llm_options
@click.option("-f", "--format", "format_", type=click.Choice(FORMATS), help="[table, or tsv]")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A new file.")
@shared.scan_options
@shared.run_options
def judge(
    paths: tuple[str, ...],
    file: Path,
    model: str | None,
    against: str | None,
    top: int,
    criteria: str | None,
    yes: bool,
    rounds: int,
    seed: int,
    format_: str | None,
    output: Path | None,
    strict: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Let a vision-language model judge which of two searches finds the better pictures.

    THE PICTURES FOUND ARE SENT to the endpoint that --llm names. For every query the first pictures
    of A and of B are shown to the model as two rows of one picture, and again with the rows
    swapped. Only if it prefers the same search both times, that has won; else they are similar. So
    there are two questions a query, none where both find the same pictures. Verdicts are kept:
    run it again to go on after an interruption, or to see the figures again, and nothing is asked
    twice.

    Shown: how often A won, was similar, lost; win rate W / (W + L) and win-and-similar rate
    (W + S) / (W + S + L), with 95 % bootstrap intervals over queries; how often the first row was
    chosen. A verdict that cannot be read is asked for again, then counts as similar and is counted.

    With --rephrase A is asked with the rephrased queries, and B with the queries as they stand.
    """
    wanted = _criteria(criteria)
    if given["rephrase"] is None:
        refuse_rephrasing(endpoint=False)
    if against is None and given["rephrase"] is None:
        raise UsageError("with what is A to be compared? --against MODEL, or --rephrase METHOD.")
    with shared.Reporter(quiet) as reporter, shared.Output(output, format_) as out:
        named, options = shared.build_options(paths, reporter, **given)
        settings = options.settings
        assert settings is not None
        from imgrank.evaluate import judge_report

        with chat_from(given, settings, reporter.notify) as chat:
            found, skips = _compared(file, (model, against), top, named, options, reporter, given)
            judged = _judged(chat, found.pairs, wanted, settings, reporter, yes=yes)
        facts = {**_names(found, given), "judge": chat.endpoint.source, "top": top}
        table = judge_report.table(judged, wanted, facts, rounds=rounds, seed=seed)
        out.stream.write(_rendered(table, out.format).encode())
        return reporter.finish(
            [*skips, *found.skips], computed=found.computed, known=found.known, strict=strict
        )


def _criteria(text: str | None) -> list[str]:
    """Those that are named, in their usual order. Raises UsageError for another."""
    if text is None:
        return list(CRITERIA)
    names = {name.strip().lower() for name in text.split(",")}
    if unknown := sorted(names - set(CRITERIA)):
        raise UsageError(f"there is no criterion '{unknown[0]}'; there are {', '.join(CRITERIA)}.")
    return [name for name in CRITERIA if name in names]


def _compared(
    file: Path,
    models: tuple[str | None, str | None],
    top: int,
    paths: Sequence[Path],
    options: Options,
    reporter: shared.Reporter,
    given: Mapping[str, Any],
) -> tuple[Compared, list[Skip]]:
    """What A and B find for the queries of a file, and what could not be listed."""
    from imgrank.calls import pictures_of
    from imgrank.data.queries import read_queries
    from imgrank.evaluate.judge_search import compare

    settings = options.settings
    assert settings is not None
    queries = read_queries(file)
    texts = None
    if given["rephrase"] is not None:
        texts = rephrased_all(given, queries, settings, reporter.notify, reporter.progress)
        reporter.stop()
    files, skips = pictures_of(paths, options)
    model, against = models
    found = compare(
        [each.path for each in files],
        queries,
        (model, model if against is None else against),
        top,
        settings,
        texts=texts,
        notify=reporter.notify,
        progress=reporter.progress,
    )
    reporter.stop()
    return found, skips


def _names(found: Compared, given: Mapping[str, Any]) -> dict[str, str]:
    method = given["rephrase"]
    return {"a": f"{found.a}, {method}" if method else found.a, "b": found.b}


def _judged(
    chat: Chat,
    pairs: Sequence[Pair],
    criteria: Sequence[str],
    settings: Settings,
    reporter: shared.Reporter,
    *,
    yes: bool,
) -> list[Judged]:
    """Asks for what is not known, after saying how much that is."""
    from imgrank.evaluate.judge import Judge
    from imgrank.store.store import Store

    budget = settings.feature_budget
    with Store(settings.store_path, feature_budget=budget, notify=reporter.notify) as store:
        asking = Judge(chat, criteria, store.answers)
        cases = asking.cases(pairs)
        missing = sum(case.missing for case in cases)
        same = sum(not case.keys for case in cases)
        known = sum(len(case.keys) for case in cases) - missing
        reporter.notify(
            f"{len(cases)} queries, {same} with the same pictures from both; {known} verdicts are "
            f"known; {missing} questions to {chat.endpoint.source}"
        )
        if missing > FREE and not yes:
            sure = agreed(
                f"Ask {missing} questions?",
                default=False,
                otherwise=f"{missing} questions may cost something; --yes asks them.",
            )
            if not sure:
                raise UsageError("nothing was asked.")
        judged = asking.judge(cases, reporter.progress)
        reporter.stop()
        return judged


def _rendered(table: Mapping[str, Any], format_: str) -> str:
    from imgrank.evaluate import judge_report

    return rendered(table, format_, lambda: judge_report.tsv(table), lambda: _for_people(table))


def _for_people(table: Mapping[str, Any]) -> str:
    from imgrank.evaluate import judge_report

    heading = f"{table['a']} against {table['b']}, judged by {table['judge']}"
    return printed([heading, drawn(*judge_report.cells(table)), *judge_report.notes(table)])
