"""CLEVR: drawn scenes of solids, and how many of them are of a colour, a material or a shape.

Johnson et al., CLEVR: A diagnostic dataset for compositional language and elementary visual
reasoning (CVPR 2017). Layout of version 1.0: `images/{train,val,test}/*.png` and
`scenes/CLEVR_{train,val}_scenes.json`:

    {"info": {...}, "scenes": [{"image_filename": ..., "objects": [{"color": ..., "material": ...,
     "shape": ..., "size": ..., ...}], ...}]}

The scenes of its test pictures were not published, so its val pictures are the test part here, as
they must have been for paper 001 (appendix A.2), whose queries and wording these are: "the number
of objects in red", "in metal", "in cube". A folder with scenes of test pictures and none of val
ones, as of renders of one's own, is read too: its test pictures are test, and so is a tenth of the
training ones, since they may be few.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.split import Part, split_by_name
from imgrank.errors import DataError

__all__ = ["ABOUT", "ATTRIBUTES", "read"]

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "color": ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"),
    "material": ("rubber", "metal"),
    "shape": ("cube", "sphere", "cylinder"),
}
SALT = "clevr|0"
PUBLISHED = 85_000  # pictures of the two parts whose scenes were published
ABOUT = About(
    title="CLEVR v1.0: drawn scenes of coloured solids",
    paper="Johnson et al., CLEVR: A diagnostic dataset for compositional language and elementary "
    "visual reasoning, CVPR 2017",
    source="cs.stanford.edu/people/jcjohns/clevr (main dataset)",
    licence="CC BY 4.0",
    layout="images/train/*.png (70,000)\n"
    "images/val/*.png (15,000)\n"
    "scenes/CLEVR_train_scenes.json\n"
    "scenes/CLEVR_val_scenes.json (or, of one's own renders, CLEVR_test_scenes.json)",
    split="official: train, of which 2 % are validation (ours, by picture), and val as test, since "
    "the scenes of the test pictures were not published; with test scenes and no val ones: ours, "
    "of train 10 % validation, 10 % test, and all test pictures",
    queries="count of objects in each of 8 colours, 2 materials, 3 shapes",
)


# Which scenes there are beside those of training -> the part that each file is, and the shares of
# the training pictures that are validation and test.
ARRANGEMENTS: dict[tuple[str, ...], tuple[dict[str, Part], float, float]] = {
    ("val",): ({"val": "test"}, 0.02, 0.0),
    ("test",): ({"test": "test"}, 0.1, 0.1),
    ("val", "test"): ({"val": "validation", "test": "test"}, 0.0, 0.0),
    (): ({}, 0.02, 0.0),
}


@dataclass(frozen=True, slots=True)
class _Scene:
    """One picture, and how many of its objects have each value of `_queries` [13]."""

    path: Path
    key: str
    counts: tuple[int, ...]


def read(root: Path, options: ReadOptions) -> Labelled:
    """The counts of all values of the three attributes; keys: "color/red", "shape/cube".

    Raises DataError if a file of scenes is missing (unless `options.partial` and another is
    there), damaged or not of CLEVR's form, or if a picture is missing, see `present`.
    """
    scenes, parts = _scenes(root, options)
    kept = present("clevr", [scene.path for scene in scenes], options)
    scenes = [scenes[n] for n in kept]
    counts = np.array([scene.counts for scene in scenes], dtype=np.float32).T.copy()  # [13, N]
    return Labelled(
        "clevr",
        paths=tuple(scene.path for scene in scenes),
        keys=tuple(scene.key for scene in scenes),
        parts=tuple(parts[n] for n in kept),
        groups=tuple(scene.key for scene in scenes),
        labels=tuple(
            Labels(
                f"{attribute}/{value}",
                "count",
                f"sort images by the number of objects in {value}.",
                column,
                subject=f"objects in {value}",
            )
            for (attribute, value), column in zip(_queries(), counts, strict=True)
        ),
        # Renders of one's own have test scenes and no val ones: these are whole as they are.
        published=PUBLISHED if (root / "scenes" / "CLEVR_val_scenes.json").is_file() else 0,
    )


def _queries() -> list[tuple[str, str]]:
    return [(attribute, value) for attribute, values in ATTRIBUTES.items() for value in values]


def _scenes(root: Path, options: ReadOptions) -> tuple[list[_Scene], list[Part]]:
    """All scenes and their parts, see `ARRANGEMENTS`."""
    files = {part: root / "scenes" / f"CLEVR_{part}_scenes.json" for part in ("train", "val")}
    files["test"] = files["val"].with_name("CLEVR_test_scenes.json")
    there = {part for part, file in files.items() if file.is_file()}
    held_back = tuple(part for part in ("val", "test") if part in there)
    needed = [files["train"]] * ("train" not in there) + [files["val"]] * (not held_back)
    if needed:
        gone = ", ".join(str(file) for file in needed)
        if not (there and options.partial):
            rest = " (--partial goes on without it)" if there else ""
            raise DataError(f"clevr: {gone} is missing{rest}.")
        options.report(f"clevr: {gone} is missing; its pictures are left out")
    published, validation, test = ARRANGEMENTS[held_back]
    scenes = _read_scenes(files["train"], root) if "train" in there else []
    parts = split_by_name([scene.key for scene in scenes], SALT, validation, test)
    for name, part in published.items():
        more = _read_scenes(files[name], root)
        scenes += more
        parts += [part] * len(more)
    return scenes, parts


def _read_scenes(file: Path, root: Path) -> list[_Scene]:
    """The scenes of one file, whose pictures are in the folder of the same part."""
    part = file.name.split("_")[1]
    try:
        with file.open(encoding="utf-8") as stream:
            scenes = json.load(stream, object_hook=_slim)["scenes"]
        return [
            _Scene(
                root / "images" / part / scene["image_filename"],
                f"clevr/{part}/{scene['image_filename']}",
                _counted(scene["objects"]),
            )
            for scene in scenes
        ]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is damaged or cut off: {error}. Unpack it again.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is no file of CLEVR's scenes: {error!r}.") from error


def _slim(thing: dict[str, Any]) -> Any:
    """What is needed of one object of the JSON, as soon as it is read: not the coordinates."""
    if "color" in thing:
        return tuple(thing[attribute] for attribute in ATTRIBUTES)
    if "image_filename" in thing:
        return {name: thing[name] for name in ("image_filename", "objects")}
    return thing


def _counted(objects: list[tuple[str, ...]]) -> tuple[int, ...]:
    """objects: (color, material, shape) of each. Raises ValueError for any other value."""
    values = list(ATTRIBUTES.values())
    for each in objects:
        for value, known in zip(each, values, strict=True):
            if value not in known:
                raise ValueError(f"an object is {value}, which is not in CLEVR")
    return tuple(
        sum(each[column] == value for each in objects)
        for column, known in enumerate(values)
        for value in known
    )
