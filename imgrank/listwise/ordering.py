"""A set of pictures under a model that looks at eight of them at once (`--model rarl:...`).

Up to eight pictures are one window. More are asked about in two rounds (`windows.py`): random
windows of eight; then windows shifted by half over the order that came of them; a picture's score
is its value less what its windows gave all their pictures too much. Scores so stay in the task's
unit, the offsets being 0 in the mean, and may lie a little beyond the ends of the scale.

Pictures that an answer of the first round leaves out are asked about again, once together in a
smaller window, then each alone (unless none of several answers had any value). One that still has
no value has no place in the order, as a picture without a date has none in one by date: a last
place would read as a judgement and would move its file with the others. It is named as left out
(`cli/sort.py`), and its file stays.

Scores are of a set: they depend on which other pictures there are. They are kept under the ranker's
identity, the prompt and a digest of the sorted contents: the same pictures, wherever they lie, are
ordered once; another picture among them makes another set, with other windows. Copies of one
picture count once. Windows themselves are kept too (`asking.py`), and drawn by the digest of the
set, so that the same command goes on where an interrupted one was.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from imgrank.images import ImageFile, Skip
from imgrank.images.reading import DECODE_VERSION, Unreadable, read_file
from imgrank.listwise.asking import Asker
from imgrank.listwise.patience import Agree, Patience
from imgrank.pipeline import Progress, Table, default_threads
from imgrank.rankers.base import Job, SetRanker
from imgrank.store.digest import digest_bytes
from imgrank.store.values import Batch, FileRow, Score, ScoreRow

if TYPE_CHECKING:
    from imgrank.store.store import Store

__all__ = ["readable", "score_set"]

DECODES = f"decode {DECODE_VERSION}", "decodes"
"""Under which it is kept that a content can be decoded: an unreadable one must not take a place in
a window, which is known only once its pixels were looked at."""

VERSION = 1  # raise it when the same answers give other scores

AT_ONCE = 64  # pictures that were looked at, in one transaction


def score_set(
    files: Sequence[ImageFile],
    job: Job,
    store: Store,
    *,
    threads: int | None = None,
    notify: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
    slow: bool | Agree = False,
) -> Table:
    """Scores of every file among these, by a ranker of scope "set"; from the store where known.

    A file that cannot be read becomes a skip; one that the model gave no value has None.
    slow: see `patience.Patience`.   KeyboardInterrupt passes through; answered windows are kept.
    Raises UsageError if it would take long and nobody wants that.
    """
    threads = threads or default_threads()
    digests, skips = readable(files, job, store, threads)
    paths = {digest: path for path, digest in digests.items()}
    contents = sorted(paths)
    values = _kept(contents, job, store)
    asked = 0
    if values is None:
        plan = _planned(len(contents), cast(SetRanker, job.ranker).window)
        patience = Patience(len(files), plan, notify, progress, slow)
        asker = Asker(job, store, paths, patience, threads)
        values = _ordered(contents, asker, notify)
        asked = asker.asked
        key = _key(contents, job)
        rows = [ScoreRow(digest, *key, Score(value)) for digest, value in values.items()]
        store.put(Batch(scores=rows))
    table = Table(skips=skips)
    for file in files:
        if file.path in digests:
            value = values[digests[file.path]]
            table.paths.append(file.path)
            table.scores.append([None if math.isnan(value) else Score(value)])
    table.computed, table.known = (len(table.paths), 0) if asked else (0, len(table.paths))
    return table


# ---- one set -------------------------------------------------------------------------------------


def _ordered(
    contents: Sequence[bytes], asker: Asker, notify: Callable[[str], None]
) -> dict[bytes, float]:
    """The value of every content; NaN for one that the model never gave one."""
    from imgrank.listwise.windows import first_round, fit, order_of, second_round

    size, count = asker.ranker.window, len(contents)
    place = {content: i for i, content in enumerate(contents)}

    def ask(windows: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        found = asker.calls([[contents[i] for i in window] for window in windows])
        return [{place[content]: value for content, value in call.items()} for call in found]

    def again(windows: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        asker.patience.planned += len(windows)
        return ask(windows)

    first = first_round(count, size, int(_name(contents)[:15], 16))
    calls = ask(first)
    lacking = [sorted(set(w) - c.keys()) for w, c in zip(first, calls, strict=True)]
    number = sum(map(len, lacking))
    if number == count and len(first) > 1:
        notify(f"  none of {len(first)} answers has a value, so that nothing is asked again")
    elif number:
        notify(f"  {number} of {count} pictures had no value in the first answers; asked again")
        calls += again(list(_smaller(first, lacking)))
        calls += again([[i] for i in sorted(set().union(*lacking).difference(*calls))])
    values = fit(calls, count)
    order = [i for i in order_of(values) if math.isfinite(values[i])]
    second = second_round(order, size)
    if len(first) > 1 and 1 < len(order) <= size:  # nothing else ties what the first round parted
        second = [tuple(order)]
    values = fit([*calls, *ask(second)], count)
    return dict(zip(contents, map(float, values), strict=True))


def _smaller(windows: Sequence[Sequence[int]], lacking: Sequence[list[int]]) -> Iterator[list[int]]:
    """Windows of what some lack: together, or in halves where that is the whole window."""
    for window, some in zip(windows, lacking, strict=True):
        if 0 < len(some) < len(window):
            yield some
        elif len(some) > 1:
            half = (len(some) + 1) // 2
            yield from (some[:half], some[half:])


def _planned(count: int, size: int) -> int:
    """Windows of both rounds, without those that are asked again."""
    from imgrank.listwise.windows import first_round, second_round

    return len(first_round(count, size)) + len(second_round(range(count), size))


def _kept(contents: Sequence[bytes], job: Job, store: Store) -> dict[bytes, float] | None:
    found = store.scores(contents, *_key(contents, job))
    return {d: found[d].value for d in contents} if len(found) == len(contents) else None


def _key(contents: Sequence[bytes], job: Job) -> tuple[str, str]:
    return (
        f"{job.ranker.identity} windows {VERSION}",
        f"{job.answer.prompt} among {_name(contents)}",
    )


def _name(contents: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(contents)).hexdigest()[:32]


# ---- which pictures can be read ------------------------------------------------------------------


def readable(
    files: Sequence[ImageFile], job: Job, store: Store, threads: int
) -> tuple[dict[Path, bytes], list[Skip]]:
    """Digests of the files whose pixels can be decoded, and the others. Those that are known to be
    decodable are not opened."""
    known = store.known_digests(files)
    fine = store.scores(list(set(known.values())), *DECODES)
    digests = {path: digest for path, digest in known.items() if digest in fine}
    missing = [file for file in files if file.path not in digests]
    skips: list[Skip] = []
    if not missing:
        return digests, skips
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for at in range(0, len(missing), AT_ONCE):
            some = missing[at : at + AT_ONCE]
            seen = list(pool.map(lambda file: _look(file, job.ranker.source.prepare), some))
            skips += [item for item in seen if isinstance(item, Skip)]
            new = [item for item in seen if isinstance(item, FileRow)]
            one = Score(1.0)
            rows = [ScoreRow(row.digest, *DECODES, one) for row in new]
            store.put(Batch(files=new, scores=rows))
            digests |= {row.file.path: row.digest for row in new}
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return digests, skips


def _look(file: ImageFile, prepare: Callable[[bytes], Any]) -> FileRow | Skip:
    """Runs in a worker thread."""
    try:
        data = read_file(file.path)
        prepare(data)
    except Unreadable as error:
        return Skip(file.path, str(error))
    return FileRow(file, digest_bytes(data))
