"""Bytes of a picture file -> an upright 8-bit RGB picture, or `Unreadable` with a one-line reason.

What is done to a picture, in this order:

* opened by the Pillow class that its first bytes call for. `Image.open` is not used: its check
  against decompression bombs is one global number for all users of Pillow, it warns, and its list
  of formats holds some that start other programs (PostScript through Ghostscript) or guess;
* refused if its header announces more pixels than the machine has memory for (`limits.py`);
* a JPEG decoded at 1/2, 1/4 or 1/8 size (`draft`, scaling in the DCT domain), where a small result
  was asked for: never below twice that size on either side;
* first frame only. 16-bit to 8-bit by the scale 65535 -> 255. Transparency on white. CMYK through
  its ICC profile where it carries one, else Pillow's plain conversion (Adobe's inverted CMYK is
  undone by Pillow). Profiles of RGB pictures are NOT applied: models were trained without that;
* turned upright by its EXIF orientation.

Raise `DECODE_VERSION` (`reading.py`) when the same bytes give other pixels. A truncated file is
refused, not filled with grey. All functions can run in many threads at once.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from imgrank.images import raw
from imgrank.images.formats import Kind, missing_bytes, sniff
from imgrank.images.limits import LARGE, machine_pixel_cap, pixel_cap
from imgrank.images.reading import Unreadable

__all__ = [
    "Header",
    "decode",
    "pixel_cap",
    "read_header",
    "to_input",
    "to_square",
]

Resample = Literal["bilinear", "bicubic"]
_METHODS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

LONGEST = 50
"""Times the short side, beyond which the ends of a strip are cut off before it is resized by its
short side: a line of one pixel would become a picture of gigabytes, of which the middle is used."""

_PLUGINS: dict[Kind, tuple[str, str]] = {
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "DDS": ("PIL.DdsImagePlugin", "DdsImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "HEIC": ("pillow_heif", "HeifImageFile"),
    "ICNS": ("PIL.IcnsImagePlugin", "IcnsImageFile"),
    "ICO": ("PIL.IcoImagePlugin", "IcoImageFile"),
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),  # of an MPO it reads the first picture
    "JPEG 2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "PCX": ("PIL.PcxImagePlugin", "PcxImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
    "PSD": ("PIL.PsdImagePlugin", "PsdImageFile"),
    "QOI": ("PIL.QoiImagePlugin", "QoiImageFile"),
    "SGI": ("PIL.SgiImagePlugin", "SgiImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
}

_alone = threading.Lock()  # held while a large picture is decoded

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header says; no pixel was decoded. width, height: upright, in pixels.

    exif: the photographic tags (the Exif IFD), by number, as Pillow reads them; may be empty.
    camera: maker and model, as they stand there; "" if nothing does.
    """

    width: int
    height: int
    exif: dict[int, Any]
    camera: str = ""


def decode(data: bytes, size: int | None = None, *, max_pixels: int | None = None) -> Image.Image:
    """The picture in a file's bytes: upright, mode RGB.

    size: side in pixels of the small view that is wanted; a JPEG is then decoded at a reduced size,
    at least `2 * size` on both sides (or its full size, if that is smaller). None: full size.
    max_pixels: refuse larger pictures; None: what this machine has memory for.
    Raises `Unreadable`, and nothing else, for whatever the bytes are.
    """
    with _one_line_reasons(data):
        image, orientation = _open(data)
        _refuse_if_larger(image.size, machine_pixel_cap() if max_pixels is None else max_pixels)
        if size is not None and image.format == "JPEG":
            image.draft("RGB", (2 * size, 2 * size))
        with _alone if image.width * image.height > LARGE else contextlib.nullcontext():
            image.load()
            turn = _TURNS.get(orientation or _orientation(image))
            rgb = _to_rgb(image)
            return rgb if turn is None else rgb.transpose(turn)


def read_header(data: bytes) -> Header:
    """Size and EXIF of a picture without decoding its pixels. Raises `Unreadable` only.

    Of a RAW file: the size of the sensor's picture, not of the embedded preview.
    """
    with _one_line_reasons(data):
        if sniff(data) == "RAW":
            width, height = raw.sensor_size(data)
            return Header(width, height, *_exif_of_raw(data))
        image, _ = _open(data)
        width, height = image.size
        if _orientation(image) >= 5:
            width, height = height, width
        return Header(width, height, *_exif(image))


def to_square(
    image: Image.Image, size: int, resample: Resample = "bicubic"
) -> NDArray[np.uint8]:  # [S, S, 3]
    """The whole picture squashed to `size` x `size`, uint8 [S, S, 3], aspect not kept.

    Pillow's antialiased resize: the same pixels as OpenCLIP's transform with `resize_mode`
    "squash" gives for the same decoded picture (torchvision's `Resize` calls it too).
    """
    return np.array(image.resize((size, size), _METHODS[resample]))


def to_input(
    image: Image.Image,
    size: int,
    interpolation: str = "bicubic",
    resize_mode: str = "shortest",
    fill: int = 0,
) -> NDArray[np.uint8]:  # [S, S, 3]
    """The picture as a model's config wants it, uint8 [S, S, 3]: the same pixels as OpenCLIP's
    transform gives for the same decoded picture.

    interpolation: "bicubic" or "bilinear".
    resize_mode: "shortest": the short side becomes `size`, the middle is cut out; "longest": the
    long side becomes `size`, the rest is grey `fill`; "squash": as `to_square`.
    """
    method = _METHODS["bilinear" if interpolation == "bilinear" else "bicubic"]
    if resize_mode == "squash":
        return np.array(image.resize((size, size), method))
    if resize_mode == "shortest":
        image = _without_far_ends(image)
        short, long = sorted(image.size)
        other = int(size * long / short)
        width, height = (size, other) if image.width <= image.height else (other, size)
    elif resize_mode == "longest":
        ratio = max(image.size) / size
        width, height = (max(1, round(side / ratio)) for side in image.size)
    else:
        raise ValueError(f"no such resize_mode: {resize_mode!r}")
    resized = image.resize((width, height), method)
    if resize_mode == "longest":  # an odd rest goes to the right and to the bottom
        square = Image.new("RGB", (size, size), (fill, fill, fill))
        square.paste(resized, ((size - width) // 2, (size - height) // 2))
        return np.array(square)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.array(resized.crop((left, top, left + size, top + size)))


def _without_far_ends(image: Image.Image) -> Image.Image:
    short, long = sorted(image.size)
    if long <= LONGEST * short:
        return image
    start = (long - LONGEST * short) // 2
    stop = start + LONGEST * short
    wide = image.width > image.height
    return image.crop((start, 0, stop, short) if wide else (0, start, short, stop))


@contextlib.contextmanager
def _one_line_reasons(data: bytes) -> Iterator[None]:
    """Turns whatever a decoder raises into `Unreadable`: damaged files raise nearly anything."""
    try:
        yield
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable("too large for the memory of this machine") from None
    except Image.DecompressionBombError as error:  # from inside a plugin, before we see a size
        raise Unreadable("announces more pixels than any real picture has") from error
    except Exception as error:
        said = error.args[0] if error.args else ""
        text = (
            said.decode("ascii", "replace") if isinstance(said, bytes) else str(error)
        )  # LibRaw's
        why = next(iter(text.strip().splitlines()), type(error).__name__)[:120]
        raise Unreadable(f"damaged or unsupported {sniff(data)}: {why}") from error


def _open(data: bytes) -> tuple[ImageFile.ImageFile, int]:
    """The opened file and an orientation that outranks the file's own (0: none does)."""
    kind = sniff(data)
    if kind == "RAW":
        preview, orientation = raw.preview(data)
        return _open_as("JPEG" if sniff(preview) == "JPEG" else "PPM", preview), orientation
    if not data:
        raise Unreadable("empty file")
    if kind is None:
        raise Unreadable("not a picture in a known format")
    if kind == "PostScript" or kind == "PDF":
        raise Unreadable(f"{kind} is a program for a page, not a picture; it is never run")
    if kind == "JPEG XL":
        raise Unreadable("JPEG XL is not supported; convert it to PNG or JPEG")
    if kind in ("AVIF", "HEIC") and (missing := missing_bytes(data)):
        count = "1 byte" if missing == 1 else f"{missing:,} bytes"
        raise Unreadable(f"truncated {kind}: the file is cut short by {count}")
    return _open_as(kind, data), 0


def _open_as(kind: Kind, data: bytes) -> ImageFile.ImageFile:
    module, name = _PLUGINS[kind]
    try:
        opener = getattr(importlib.import_module(module), name)
    except ImportError:
        if kind == "HEIC":
            raise Unreadable("HEIC needs: pip install 'imgrank[heic]'") from None
        raise Unreadable(f"{kind} needs a newer Pillow: pip install -U pillow") from None
    image: ImageFile.ImageFile = opener(io.BytesIO(data), "")
    return image


def _refuse_if_larger(size: tuple[int, int], cap: int) -> None:
    width, height = size
    if width * height > cap:
        raise Unreadable(
            f"{width} x {height} pixels; this machine has memory for {cap / 1e6:.0f} megapixels"
        )


def _orientation(image: ImageFile.ImageFile) -> int:
    """EXIF orientation 1..8; 1 where there is none or the EXIF block is damaged.

    Pillow turns TIFF itself (and has swapped the size by then); for HEIC libheif does.
    """
    if image.format == "TIFF":
        return 1
    try:
        found = _exif_block(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # a picture with damaged EXIF is still a picture
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _exif_block(image: ImageFile.ImageFile) -> Image.Exif:
    """The EXIF of an opened file. PNG's own method would decode all pixels to look behind them."""
    if image.format == "PNG" and image.tile:
        block = Image.Exif()
        block.load(image.info.get("exif", b""))
        return block
    return image.getexif()


def _exif(image: ImageFile.ImageFile) -> tuple[dict[int, Any], str]:
    """Photographic tags, and the camera."""
    try:
        return _tags(_exif_block(image))
    except Exception:
        return {}, ""


def _exif_of_raw(data: bytes) -> tuple[dict[int, Any], str]:
    """Most RAW files are TIFF files and carry EXIF as such; else that of the preview, if any."""
    try:
        block = Image.Exif()
        block.load(data)
        found = _tags(block)
    except Exception:
        found = {}, ""
    return found if found[0] else _exif(_open(data)[0])


def _tags(block: Image.Exif) -> tuple[dict[int, Any], str]:
    words = (block.get(tag) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    camera = " ".join(word.strip(" \0") for word in words if isinstance(word, str))
    return dict(block.get_ifd(ExifTags.IFD.Exif)), camera


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes -> RGB, transparency on white."""
    mode = image.mode
    if mode in ("F", "I") or mode.startswith("I;16"):
        return _deep_grey_to_rgb(image)
    if mode in ("CMYK", "LAB"):
        return _through_profile(image)
    if mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(mode[:-1] + "A")
    transparent = "transparency" in image.info or (
        image.mode == "P" and image.palette is not None and image.palette.mode == "RGBA"
    )
    if image.mode in ("LA", "PA", "RGBA") or transparent:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def _deep_grey_to_rgb(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey -> RGB.

    16 bits: 65535 -> 255. Float in [0, 1]: 1 -> 255; in [0, 255]: as it is. Anything else has no
    scale of its own: its lowest value becomes black and its highest white.
    """
    values = np.asarray(image)
    grey = values.astype(np.float32)
    grey[~np.isfinite(grey)] = 0.0
    low, high = float(grey.min()), float(grey.max())
    scales = (1.0, 255.0) if image.mode == "F" else (65535.0,)
    if low >= 0 and high <= scales[-1]:
        low, high = 0.0, next(scale for scale in scales if high <= scale)
    grey = (grey - low) * (255.0 / max(high - low, 1e-30))
    result = np.rint(grey).clip(0, 255).astype(np.uint8)
    key = image.info.get("transparency")
    if isinstance(key, int):
        result[values == key] = 255
    return Image.fromarray(result).convert("RGB")


def _through_profile(image: Image.Image) -> Image.Image:
    """LAB by its meaning; CMYK by its own ICC profile, plainly if that is absent or damaged."""
    from PIL import ImageCms  # seldom needed, and another shared library to load

    try:
        if image.mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (KeyError, OSError, TypeError, ValueError, ImageCms.PyCMSError):
        converted = None
    return image.convert("RGB") if converted is None else converted
