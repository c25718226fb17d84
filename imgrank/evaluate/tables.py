"""From the runs of an evaluation to plain values; see `evaluation.py` for what they are."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from statistics import mean
from typing import Any

import numpy as np

from imgrank.data.catalogue import about
from imgrank.data.split import Part
from imgrank.evaluate.bands import by_age
from imgrank.evaluate.levels import facts_of
from imgrank.evaluate.measure import (
    Answered,
    Measured,
    Rows,
    baseline,
    difference,
    in_unit,
    means,
    measure_query,
    over_models,
    plain,
)
from imgrank.evaluate.published import another_split, figures_of
from imgrank.evaluate.runs import Request, Run
from imgrank.evaluate.standing import order_differences, order_rows
from imgrank.evaluate.windows import by_windows

__all__ = ["mean_row", "query_row", "table_of"]

FORMAT = 1
LIBRARIES = ("imgrank", "torch", "open_clip_torch", "timm", "numpy", "scipy", "pillow")
OF_WINDOWS = "transformers"  # what a model that looks at several pictures runs in


def table_of(request: Request, runs: Sequence[Run]) -> dict[str, Any]:
    """All that is said of the runs."""
    first = runs[0]
    name = request.data
    paper = figures_of(name, _comparable(request, runs))
    there = np.unique(
        np.concatenate([first.data.rows(request.part, e) for e in first.asked.labels])
    )
    note = another_split(name, request.root, request.part, len(there), request.partial)
    if not note and len(first.rounds.rows) < len(there):
        note = f"only {len(first.rounds.rows)} of {len(there)} pictures were asked about alone"
    out = {
        "format": FORMAT,
        "data": name,
        "part": request.part,
        "split": about(name).split,
        "partial": request.partial,
        "intervals": "95 %, bootstrap",
        "rounds": request.rounds,
        "seed": request.seed,
        "versions": _versions(runs),
        "models": [_model(run, request) for run in runs],
        "over_models": _over(runs),
        "differences": _differences(runs),
        "paper": paper,
        "paper_note": note if paper else "",
    }
    if request.sizes:
        out |= {"sizes": list(request.sizes), "groups": request.groups, "alone": request.alone}
        out["order_differences"] = order_differences(runs, request)
    return out


def _comparable(request: Request, runs: Sequence[Run]) -> set[str]:
    """Queries and means that the paper may have figures of: its means are over all its queries."""
    keys = {key for run in runs for key in run.queries}
    keys |= {group.query for run in runs for each in run.orders.values() for group in each.groups}
    if request.queries:
        return keys
    keys |= {key for run in runs for key in run.means} | ({"mean"} if len(keys) > 1 else set())
    return keys - {"mean"} if request.attributes else keys


def _model(run: Run, request: Request) -> dict[str, Any]:
    part: Part = request.part
    return {
        "model": run.name,
        "fold": run.fold,
        "pictures": len(run.rounds.rows) - len({skip.path for skip in run.answers.skips}),
        "intervals_over": run.rounds.over,
        "queries": [query_row(run, query, part) for query in run.answers.queries],
        "means": [mean_row(key, mean, run, part) for key, mean in run.means.items()],
        "refused": [{"query": key, "why": why} for key, why in run.asked.refused],
        "skipped": [{"path": str(s.path), "reason": s.reason} for s in run.answers.skips],
        **({"orders": order_rows(run, request)} if request.sizes else {}),
    }


def query_row(run: Run, query: Answered, part: Part) -> dict[str, Any]:
    """All that is said of one query."""
    labels, answer = query.labels, query.answer
    measured = run.queries[labels.key]
    return {
        "query": labels.key,
        "task": labels.task,
        "subject": labels.subject,
        "method": answer.method,
        "model": answer.model,
        "revision": answer.revision,
        "prompt": answer.prompt,
        "note": answer.note,
        "unit": answer.unit,
        "truth_unit": labels.unit,
        "in_unit": in_unit(query),
        "classes": list(labels.classes),
        "n": measured.n,
        **measured.table(),
        **({"levels": facts_of(query.levels)} if query.levels is not None else {}),
        **({"bands": bands} if (bands := by_age(query, run.rounds)) else {}),
        "baseline": baseline(run.data, labels, part, query.ranks),
    }


def mean_row(key: str, measured: Measured, run: Run, part: Part) -> dict[str, Any]:
    """With the means of the baselines over the same queries."""
    prefix = key.removeprefix("mean").strip()
    queries = [
        q for q in run.answers.queries if not prefix or q.labels.key.startswith(f"{prefix}/")
    ]
    own = [q for q in queries if q.labels.key not in measured.left_out]
    blind = [baseline(run.data, q.labels, part, q.ranks) for q in own]
    figures = [name for name in ("mae", "accuracy") if name in measured.values]
    return {
        "query": key,
        "queries": len(own),
        "left_out": list(measured.left_out),
        "n": measured.n,
        **measured.table(),
        "baseline": {name: plain(mean(each[name] for each in blind)) for name in figures},
    }


def _over(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Means over folds or seeds; of models of different kinds they would say nothing."""
    kinds = {tuple(dict.fromkeys(job.answer.method for job in run.asked.jobs)) for run in runs}
    if len(runs) < 2 or len(kinds) > 1:
        return []
    keys = [key for key in (*runs[0].queries, *runs[0].means) if all(_has(r, key) for r in runs)]
    return [
        {"query": key, "models": len(runs), **over_models([_of(run, key) for run in runs])}
        for key in keys
    ]


def _differences(runs: Sequence[Run]) -> list[dict[str, Any]]:
    out = []
    for other in runs[1:]:
        names = {"first": runs[0].name, "second": other.name}
        for key, one, two in _on_the_same(runs[0], other):
            out.append({"query": key, **names, **difference(one, two)})
    return out


def _on_the_same(first: Run, second: Run) -> Iterator[tuple[str, Measured, Measured]]:
    """Figures of two models for the same queries and pictures; a picture that one of them says
    nothing of counts for neither."""
    if first.fold != second.fold or first.queries.keys() != second.queries.keys():
        return
    if not np.array_equal(first.rounds.rows, second.rounds.rows):
        return
    pairs = list(zip(first.answers.queries, second.answers.queries, strict=True))
    if all(np.array_equal(a.rows, b.rows) for a, b in pairs):
        one = {**first.queries, **first.means}
        two = {**second.queries, **second.means}
    else:
        both = [np.intersect1d(a.rows, b.rows) for a, b in pairs]
        one, two = (
            _measured(
                [_of_rows(pair[n], rows) for pair, rows in zip(pairs, both, strict=True)], run
            )
            for n, run in enumerate((first, second))
        )
    for key in one:
        if key in two:
            yield key, one[key], two[key]


def _measured(answered: Sequence[Answered], run: Run) -> dict[str, Measured]:
    queries = {each.labels.key: measure_query(each, run.rounds) for each in answered}
    return {**queries, **means(queries)}


def _of_rows(answered: Answered, rows: Rows) -> Answered:
    """The same of some of the rows alone."""
    kept = np.isin(answered.rows, rows)
    levels = answered.levels
    if levels is not None:
        levels = replace(levels, p=levels.p[kept])
    return replace(answered, rows=answered.rows[kept], scores=answered.scores[kept], levels=levels)


def _has(run: Run, key: str) -> bool:
    return key in run.queries or key in run.means


def _of(run: Run, key: str) -> Measured:
    return run.queries[key] if key in run.queries else run.means[key]


def _versions(runs: Sequence[Run]) -> dict[str, str]:
    found = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    if any(by_windows(job) for run in runs for job in run.asked.jobs):
        with suppress(PackageNotFoundError):  # known answers need none
            found[OF_WINDOWS] = version(OF_WINDOWS)
    return found
