"""`imgrank eval`: a model on a data set, beside baselines and what the paper prints."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli import eval_search, eval_sizes
from imgrank.cli import options as shared
from imgrank.cli.sheet import drawn, printed, rendered
from imgrank.errors import UsageError

if TYPE_CHECKING:
    from imgrank.evaluate.evaluation import Evaluated, Request
    from imgrank.listwise.patience import Agree
    from imgrank.models.registry import Entry
    from imgrank.settings import Settings

FORMATS = ("table", "tsv", "json")
EPILOG = """\b
Examples:
  imgrank eval --data csv --root examples/ratings.csv
  imgrank eval --data beauty-search --root data --model tiny --model mine  # needs a model of yours
"""


@click.command(epilog=EPILOG)
@click.option(
    "--data",
    required=True,
    metavar="NAME",
    help="Data set (see `imgrank data list`), or beauty-search.",
)
@click.option("--root", type=click.Path(path_type=Path), help="Its folder.  [in the data folder]")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="Name or folder; repeatable.  [whoever the router chooses]",
)
@click.option("--fold", type=click.IntRange(0), help="The test fold.  [the checkpoint's own, or 0]")
@click.option(
    "--part",
    type=click.Choice(("test", "validation", "train")),
    default="test",
    show_default=True,
    help="Of the data set.",
)
@click.option("--query", "queries", multiple=True, metavar="KEY", help="Only these; repeatable.")
@click.option("--attributes", is_flag=True, help="Also contrast, ... measured from the pixels.")
@click.option("--partial", is_flag=True, help="Leave out pictures that are missing.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Of the bootstrap.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the bootstrap, and of the groups that are drawn.",
)
@click.option(
    "--scatter",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw predicted against true values.",
)
@click.option(
    "--similarity",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw how alike a model's ranks are.",
)
@click.option("--write", is_flag=True, help="Record it in the model's config and card.")
@click.option("-f", "--format", "format_", type=click.Choice(FORMATS), help="[table, or tsv]")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A new file.")
@click.option("-q", "--quiet", is_flag=True, help="No notices or progress, only errors.")
@click.option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.  [auto]")
@click.option("--precision", metavar="PRECISION", help="Of the image model.  [auto]")
@click.option("--threads", type=click.IntRange(1), help="Decoding threads.  [the cores]")
@click.option("--offline", is_flag=True, default=None, help="Never open a socket.")
@eval_sizes.size_options
@eval_search.search_options
def eval(
    models: tuple[str, ...],
    root: Path | None,
    scatter: Path | None,
    similarity: Path | None,
    write: bool,
    format_: str | None,
    output: Path | None,
    quiet: bool,
    **given: Any,
) -> int:
    """Measure how well models order a data set that people have rated.

    Every picture is scored as `sort` scores it, and what is computed is kept. Figures: Spearman's
    and Pearson's correlation, the share of pairs ordered rightly; the mean absolute error and the
    accuracy where the model's unit is that of the truth, and of ages the error by age; with 95 %
    bootstrap intervals. Of a model with ranks also how often its intervals and sets hold the truth.

    With --sizes also Kendall's tau of groups of pictures that differ by the truth, the same for all
    models. One that looks at several pictures at once (rarl:NAME) is shown each group, and each
    single picture alone; every answer is kept. Other models order a group by its scores.

    Several models (folds, seeds) get a mean and standard deviation, and differences with paired
    intervals. What a paper prints for the same data stands beside, as the paper's.
    Needs the extra "train".

    Of search: `beauty-search` tells before from after an alignment (recall, predicted and human
    beauty of the first pictures; the other models against the first); `captions`, `flickr8k` and
    `coco-captions` recall of captioned pictures; `classes` zero-shot accuracy on ROOT/CLASS/*.jpg;
    `hpir` the choice between two groups of pictures that people compared.
    """
    pictures = {"scatter": scatter, "similarity": similarity}
    eval_search.check(given["data"], {**given, **pictures})
    eval_sizes.check(given["sizes"], {**pictures, "write": write})
    with shared.Reporter(quiet) as reporter, shared.Output(output, format_) as out:
        options = shared.build_options((), reporter, **given)[1]
        settings = options.settings
        assert settings is not None
        if given["data"] in eval_search.MEASURES:
            return eval_search.run(root, models, reporter, out, settings, write, **given)
        entry = _to_write(models, settings) if write else None
        plots = _plots("scatter", scatter, len(models))
        matrices = _plots("similarity", similarity, len(models))
        from imgrank.evaluate.evaluation import evaluate

        request = _request(models, root or settings.data_dir, reporter, given, options.slow)
        found = evaluate(request, settings)
        reporter.stop()
        _draw(found, plots, matrices)
        out.stream.write(_rendered(found.table, out.format).encode())
        if entry is not None:
            from imgrank.evaluate.record import record

            command = _command(entry, request, eval_sizes.words(given))
            record(entry.folder, found, command)
            reporter.notify(f"recorded in {entry.folder}")
        computed = sum(run.answers.computed for run in found.runs)
        known = sum(run.answers.known for run in found.runs)
        return reporter.finish(found.skips, computed=computed, known=known, strict=False)


def _request(
    models: Sequence[str],
    root: Path,
    reporter: shared.Reporter,
    given: Mapping[str, Any],
    slow: bool | Agree,
) -> Request:
    from imgrank.evaluate.evaluation import Request

    return Request(
        data=given["data"],
        root=root,
        models=tuple(models) or (None,),
        fold=given["fold"],
        part=given["part"],
        queries=given["queries"],
        rounds=given["rounds"],
        seed=given["seed"],
        partial=given["partial"],
        attributes=given["attributes"],
        sizes=eval_sizes.parse(given["sizes"]),
        groups=given["groups"] or eval_sizes.GROUPS,
        alone=given["alone"],
        slow=slow,
        notify=reporter.notify,
        progress=reporter.progress,
    )


def _to_write(models: Sequence[str], settings: Settings) -> Entry:
    from imgrank.evaluate.record import check
    from imgrank.models.registry import find

    if len(models) != 1:
        raise UsageError("--write records the figures of one model; name it with --model.")
    entry = find(models[0], settings.models_dir)
    check(entry)
    return entry


def _plots(option: str, path: Path | None, models: int) -> list[Path]:
    """One a model; of several, its number goes into the file's name. None without the option."""
    from imgrank.evaluate.scatter import require_matplotlib

    if path is None:
        return []
    require_matplotlib()
    if path.suffix.lower() != ".png":
        raise UsageError(f"--{option} writes a PNG; {path} has another suffix.")
    several = range(1, models + 1) if models > 1 else ()
    plots = [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in several] or [path]
    for plot in plots:
        if plot.exists():
            raise UsageError(f"{plot} exists already; imgrank overwrites nothing.")
    return plots


def _draw(found: Evaluated, plots: Sequence[Path], matrices: Sequence[Path]) -> None:
    from imgrank.evaluate import scatter, similarity

    for run, path in zip(found.runs, plots, strict=bool(plots)):
        title = f"{found.table['data']}, {found.table['part']} part: {run.name}"
        scatter.draw(run.answers.queries, title, path)
    for run, path in zip(found.runs, matrices, strict=bool(matrices)):
        levels = next((q.levels for q in run.answers.queries if q.levels is not None), None)
        if levels is None:
            raise UsageError(
                f"{run.name} has no ranks whose similarity could be drawn; name a model that "
                "`imgrank train l2rclip` made, or leave --similarity out."
            )
        similarity.draw(levels.embeddings, levels.ranks.names, run.name, path)


def _rendered(table: Mapping[str, Any], format_: str) -> str:
    from imgrank.evaluate import report

    models = dict.fromkeys(model["model"] for model in table["models"])
    heading = f"{table['data']}, {table['part']} part, by {' and '.join(models)}"
    if "sizes" in table:
        return eval_sizes.rendered_groups(table, format_, heading)
    rows = list(report.rows(table))
    return rendered(
        table,
        format_,
        lambda: report.tsv(rows),
        lambda: _for_people(heading, *report.shown(rows), list(report.notes(table))),
    )


def _for_people(
    heading: str, head: Sequence[str], body: Sequence[Sequence[str]], notes: list[str]
) -> str:
    words = [n for n, title in enumerate(head) if title in ("query", "model")]
    return printed([heading, drawn(head, body, left=words), *notes])  # the query first


def _command(entry: Entry, request: Request, more: Sequence[str]) -> str:
    """The line that measures the same again, without paths of this machine."""
    words = ["imgrank", "eval", "--data", request.data, "--root", "DATA", "--model", entry.name]
    if request.fold is not None:
        words += ["--fold", str(request.fold)]
    if request.part != "test":
        words += ["--part", request.part]
    for key in request.queries:
        words += ["--query", key]
    words += ["--attributes"] * request.attributes + ["--partial"] * request.partial
    words += ["--rounds", str(request.rounds)] if request.rounds != 1000 else []
    words += ["--seed", str(request.seed)] if request.seed else []
    return shlex.join([*words, *more])
