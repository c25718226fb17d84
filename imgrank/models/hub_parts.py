"""A large file of the Hub in several goes, with Ctrl-C, kill -9 or a cut connection between them.

The client (huggingface_hub 2) names its own half files at random and deletes or forgets them. So
large files are appended here to `.NAME.HASH.part` beside where they will be, by the client's own
`http_get`; HASH is the start of the promised sha256, so that a part is never continued with
another commit's file. Nothing here says that a file is right: `models/hub.py` compares it.

hf_xet has no part of this: its transfers, which the client restarts from nought, cannot be gone on
with. A repository kept in Xet answers plain HTTP at the same address, up to 50 GB a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgrank.models.hub import RemoteFile

__all__ = ["append", "arrived", "misfit", "part_name", "resumable"]

LARGE = 1 << 20  # bytes; what is smaller comes again in no time
CHUNK = 1 << 20  # bytes; what an interruption loses at most. The client's own is ten times that


def part_name(remote: RemoteFile) -> str:
    return f".{remote.name}.{remote.sha256[:16]}.part"


def resumable(remote: RemoteFile) -> bool:
    """Whether it is worth a part, and plain HTTP serves it; of files in git no sha256 is known."""
    from huggingface_hub import constants

    return bool(remote.sha256) and LARGE <= remote.bytes <= constants.MAX_HTTP_DOWNLOAD_SIZE


def arrived(folder: Path, remote: RemoteFile) -> int:
    """Bytes of the file that are in the folder already, whole or as a part; not compared yet."""
    sizes = (_size(folder / remote.name), _size(folder / part_name(remote)))
    return remote.bytes if sizes[0] == remote.bytes else sizes[1] if sizes[1] <= remote.bytes else 0


def append(
    part: Path,
    remote: RemoteFile,
    url: str,
    token: str | bool | None,
    count: Callable[[int], None],
    bar: Callable[[Callable[[int], None], int], type[Any]],
) -> None:
    """Ask for what the part lacks, and write it. url: of the Hub, which leads to its store.

    count: is told what is there at once, then what comes; together always the part's size.
    bar: makes the client's class of a bar from `count` and what was counted before.
    Raises what the client raises; the part then holds all that came, but for a last `CHUNK`.
    """
    from huggingface_hub import constants, get_hf_file_metadata
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    if _size(part) > remote.bytes:
        part.unlink()
    part.parent.mkdir(parents=True, exist_ok=True)
    start = _size(part)
    count(start)
    if start == remote.bytes:
        return
    # Its trouble of a moment (5xx) is waited out here; `http_get` does not.
    get_hf_file_metadata(
        url, token=token, timeout=constants.HF_HUB_ETAG_TIMEOUT, retry_on_errors=True
    )
    # Not the store's address, which is signed for a while only: each try asks the Hub for another.
    # On the way to another host the transport drops the token, and keeps the range.
    headers = {**build_hf_headers(token=token), "Accept-Encoding": "identity"}
    with part.open("ab") as file, _in_chunks():
        http_get(
            url,
            file,
            resume_size=start,
            headers=headers,
            expected_size=remote.bytes,
            displayed_filename=remote.name,
            tqdm_class=bar(count, start),
        )


def misfit(error: OSError, part: Path, remote: RemoteFile) -> bool:
    """Whether the server has nothing that goes on from this part: it refuses the range, or sends
    more than is missing."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return status == 416 or _size(part) > remote.bytes


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


@contextmanager
def _in_chunks() -> Iterator[None]:
    """A chunk that is incomplete when the connection breaks is lost: bad lines need small ones."""
    from huggingface_hub import constants

    before, constants.DOWNLOAD_CHUNK_SIZE = constants.DOWNLOAD_CHUNK_SIZE, CHUNK
    try:
        yield
    finally:
        constants.DOWNLOAD_CHUNK_SIZE = before
