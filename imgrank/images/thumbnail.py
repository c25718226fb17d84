"""Small WebP copies of picture files, for pages.

Decoded and turned as everywhere (`decode.py`), a JPEG at a reduced size. Two things differ from
what models see, since people look at these: colours go through the picture's own ICC profile to
sRGB, and small is made by Lanczos. The same file gives the same bytes (of one Pillow and libwebp).
"""

from __future__ import annotations

import io
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from imgrank.images import Skip
from imgrank.images.decode import decode, read_header
from imgrank.images.formats import Kind, sniff
from imgrank.images.reading import Unreadable, read_file

__all__ = ["Thumbnail", "Wanted", "reduced", "thumbnail", "thumbnails"]

QUALITY = 70
"""Of WebP, 0 to 100. At 320 pixels, 100 photographs of COCO take 8.7 KB each at 50, 9.7 at 60, 10.9
at 70, 13.8 at 80. Beside each other these look alike; above 70 more begins to cost."""

EFFORT = 2
"""Of WebP, 0 to 6. 4 takes twice the time for 4 % fewer bytes."""

IN_BROWSERS: frozenset[Kind | None] = frozenset(
    ("AVIF", "BMP", "GIF", "ICO", "JPEG", "PNG", "WebP")
)
"""What every browser shows as it is."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """webp: a WebP file.   width, height: of the original, upright, in pixels."""

    webp: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture file, and how large its copy may be: pixels on the long side, never enlarged.

    side: ordinarily.   instead: of a picture that a browser cannot show in full (HEIC, TIFF, RAW,
    ...), whose copy is all that there is to see.
    """

    path: Path
    side: int
    instead: int


def thumbnails(wanted: Iterable[Wanted], *, threads: int) -> Iterator[Thumbnail | Skip]:
    """One for each, in their order; a `Skip` where there is none. Never raises for a picture.

    A few pictures a thread are in flight, so memory does not grow with their number.
    """
    rest = iter(wanted)
    with ThreadPoolExecutor(threads) as pool:
        flying: deque[Future[Thumbnail | Skip]] = deque()
        try:
            for one in islice(rest, 4 * threads):
                flying.append(pool.submit(_of_file, one))
            while flying:
                yield flying.popleft().result()
                for one in islice(rest, 1):
                    flying.append(pool.submit(_of_file, one))
        finally:  # an interrupt does not wait for those that nobody wants any more
            for future in flying:
                future.cancel()


def thumbnail(data: bytes, side: int, instead: int | None = None) -> Thumbnail:
    """Of the bytes of a picture file; `side` and `instead` as in `Wanted`. Raises `Unreadable`."""
    header = read_header(data)
    if instead is not None and sniff(data) not in IN_BROWSERS:
        side = instead
    small = reduced(data, side)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=QUALITY, method=EFFORT, exif=b"", icc_profile=b"")
    return Thumbnail(file.getvalue(), header.width, header.height)


def reduced(data: bytes, side: int) -> Image.Image:
    """A small RGB picture of the bytes of a picture file, in sRGB. Raises `Unreadable`."""
    return _to_srgb(_reduced(decode(data, (side + 1) // 2), side))


def _of_file(wanted: Wanted) -> Thumbnail | Skip:
    try:
        _require_file(wanted.path)
        return thumbnail(read_file(wanted.path), wanted.side, wanted.instead)
    except Unreadable as reason:
        return Skip(wanted.path, str(reason))


def _require_file(path: Path) -> None:
    """The path may come from a file that anyone wrote, and opening a pipe would wait for ever."""
    try:
        ordinary = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        raise Unreadable("no such file any more") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL, or a surrogate that stands for no byte
        raise Unreadable("not a possible file name") from None
    if not ordinary:
        raise Unreadable("not an ordinary file")


def _reduced(image: Image.Image, side: int) -> Image.Image:
    """The long side `side` pixels long; not enlarged."""
    ratio = side / max(image.size)
    if ratio >= 1:
        return image
    width, height = (max(1, round(length * ratio)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)


def _to_srgb(image: Image.Image) -> Image.Image:
    """Colours through the RGB profile that the file carries; as they are without one.

    The profile of a picture that was CMYK or grey is of no use for RGB: it was applied, or lost.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or profile[16:20] != b"RGB ":  # ICC.1, 7.2.6: colour space
        return image
    from PIL import ImageCms  # as in decode.py: seldom needed

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target) or image
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):  # a damaged profile
        return image
