"""RAW files by their embedded preview; LibRaw is played by the test."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
from pictures import pixels, quadrants, saved, with_orientation

from imgrank.images.decode import Unreadable, decode, read_header


def fake_rawpy(preview: Any, kind: str, flip: int) -> types.ModuleType:
    """LibRaw's side of the conversation, as rawpy 0.28 speaks it."""
    module: Any = types.ModuleType("rawpy")
    module.ThumbFormat = types.SimpleNamespace(JPEG="jpeg", BITMAP="bitmap")
    module.LibRawNoThumbnailError = type("LibRawNoThumbnailError", (Exception,), {})
    module.LibRawUnsupportedThumbnailError = type("Unsupported", (Exception,), {})

    class Opened:
        sizes = types.SimpleNamespace(width=6000, height=4000, flip=flip)

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *error: object) -> None: ...

        def extract_thumb(self) -> Any:
            if preview is None:
                raise module.LibRawNoThumbnailError
            return types.SimpleNamespace(format=kind, data=preview)

    module.imread = lambda file: Opened()
    return module  # type: ignore[no-any-return]


@pytest.mark.parametrize(("flip", "turn"), [(0, 0), (3, 2), (5, 1), (6, 3)])
def test_raw_preview_is_turned_as_the_camera_was_held(
    monkeypatch: pytest.MonkeyPatch, flip: int, turn: int
) -> None:
    expected = np.rot90(np.asarray(quadrants()), turn)  # anticlockwise
    bitmap = np.asarray(quadrants())
    monkeypatch.setitem(sys.modules, "rawpy", fake_rawpy(bitmap, "bitmap", flip))
    assert np.array_equal(pixels(b"FUJIFILMCCD-RAW"), expected)
    jpeg = saved(quadrants(), "JPEG", quality=100, subsampling=0)
    monkeypatch.setitem(sys.modules, "rawpy", fake_rawpy(jpeg, "jpeg", flip))
    assert np.abs(pixels(b"FUJIFILMCCD-RAW").astype(int) - expected).max() <= 4
    header = read_header(b"FUJIFILMCCD-RAW")
    assert (header.width, header.height) == ((4000, 6000) if flip in (5, 6) else (6000, 4000))


def test_raw_preview_with_its_own_orientation_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = with_orientation(quadrants(), "JPEG", 3)
    monkeypatch.setitem(sys.modules, "rawpy", fake_rawpy(jpeg, "jpeg", 6))
    assert decode(b"FUJIFILMCCD-RAW").size == (48, 32)


def test_raw_without_a_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", fake_rawpy(None, "", 0))
    with pytest.raises(Unreadable, match="without an embedded preview"):
        decode(b"FUJIFILMCCD-RAW")
