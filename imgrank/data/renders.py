"""Pictures drawn here, with known numbers of objects: no files, the same on every machine.

Two kinds. Scenes: cubes, spheres and cylinders of rubber or metal on a grey plane, seen by a camera
above it, after the manner of CLEVR (Johnson et al., CVPR 2017), whose queries they share: "objects
in red", "objects in metal", "objects in cube". Flat: circles, squares, triangles and stars on plain
or patterned backgrounds. `data/raycast.py` draws the former.

Their counts are exact, but they are no photographs. A solid of which less than 30 % can be seen is
taken out. Flat things are told apart by distance: they may overlap a little.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from imgrank.data.labelled import About, Labelled, Labels, Pixels, ReadOptions
from imgrank.data.raycast import Camera, Solid, cast, visible_share
from imgrank.data.split import Part

__all__ = [
    "ABOUT",
    "COLOURS",
    "FLAT",
    "MATERIALS",
    "SOLIDS",
    "Picture",
    "Thing",
    "draw",
    "plan",
    "read",
]

ABOUT = About(
    title="Drawn scenes of solids, and flat shapes, with known numbers of each",
    paper="",
    source="drawn by imgrank itself: nothing to fetch",
    licence="that of imgrank",
    layout="(no files; any --root will do)",
    split="ours, by number: 80 % training, 10 % validation, 10 % test; every picture stands alone",
    queries="count of objects, of those in each of 8 colours, 2 materials, 3 solid shapes, and of "
    "4 flat ones",
    note="The queries of solids are CLEVR's. Drawing takes about 0.1 s a picture.",
)
COUNT = 3000
MOST = 10  # things in a picture
FLAT_SHARE = 0.35
LEAST_SEEN = 0.3  # share of a solid that must be seen

COLOURS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    # Hue in degrees, saturation, value: ranges from which a colour is drawn.
    "gray": ((0, 360), (0.0, 0.08), (0.35, 0.8)),
    "red": ((-10, 10), (0.65, 0.95), (0.5, 0.95)),
    "blue": ((205, 240), (0.4, 0.95), (0.45, 0.95)),
    "green": ((90, 150), (0.35, 0.95), (0.3, 0.75)),
    "brown": ((20, 33), (0.55, 0.85), (0.3, 0.55)),
    "purple": ((262, 305), (0.3, 0.9), (0.45, 0.85)),
    "cyan": ((168, 192), (0.35, 0.95), (0.6, 0.95)),
    "yellow": ((44, 60), (0.45, 0.95), (0.75, 1.0)),
}
MATERIALS = ("rubber", "metal")
SOLIDS = ("cube", "sphere", "cylinder")
FLAT = ("circle", "square", "triangle", "star")


@dataclass(frozen=True, slots=True)
class Thing:
    """One counted object. rgb: 0..1.   x, y: on the plane of a scene, about -3..3, or, flat, in
    0..1 of the picture.   size: half its extent, in the same unit.   turn: radians."""

    shape: str
    colour: str
    material: str  # "" where it is flat
    rgb: tuple[float, float, float]
    x: float
    y: float
    size: float
    turn: float


@dataclass(frozen=True, slots=True)
class Picture:
    """What `draw` needs. seed: of the background, the light and the camera."""

    flat: bool
    things: tuple[Thing, ...]
    seed: int


def read(root: Path, options: ReadOptions) -> Labelled:
    """`COUNT` pictures; `root` is not looked at. Counts of scenes and of flat pictures are NaN for
    queries that only the other kind has. Split by index: 80 % training, 10 %, 10 %."""
    pictures = [plan(index) for index in range(COUNT)]
    parts: tuple[Part, ...] = tuple(_part(index) for index in range(COUNT))
    names = tuple(f"renders/1/{index}" for index in range(COUNT))

    def render(index: int, size: int) -> Pixels:
        return draw(pictures[index], size)

    return Labelled(
        "renders",
        paths=tuple(Path(name) for name in names),
        keys=names,
        parts=parts,
        groups=names,
        labels=_labels(pictures),
        render=render,
        mirrored=False,
    )


def plan(index: int, seed: int = 0) -> Picture:
    """The picture of this number: what is on it, decided by (seed, index) alone."""
    rng = np.random.default_rng((seed, index))
    flat = bool(rng.random() < FLAT_SHARE)
    wanted = int(rng.integers(1, MOST + 1))
    shapes = _some(rng, FLAT if flat else SOLIDS)
    colours = _some(rng, tuple(COLOURS))
    materials = ("",) if flat else _some(rng, MATERIALS)
    things: list[Thing] = []
    for _ in range(30 * wanted):
        if len(things) == wanted:
            break
        thing = _thing(rng, flat, shapes, colours, materials)
        if all(_apart(thing, other, flat) for other in things):
            things.append(thing)
    picture = Picture(flat, tuple(things), seed=int(rng.integers(2**31)))
    return picture if flat else _seen(picture)


def draw(picture: Picture, size: int) -> Pixels:
    """uint8 [size, size, 3]; drawn at twice the size, then averaged."""
    big = _draw_flat(picture, 2 * size) if picture.flat else _draw_scene(picture, 2 * size)
    small: Pixels = big.reshape(size, 2, size, 2, 3).mean((1, 3)).round().astype(np.uint8)
    return small


def _labels(pictures: Sequence[Picture]) -> tuple[Labels, ...]:
    every = [("objects", "objects", ("", ""))]
    every += [(f"color/{c}", f"objects in {c}", ("colour", c)) for c in COLOURS]
    every += [(f"material/{m}", f"objects in {m}", ("material", m)) for m in MATERIALS]
    every += [(f"shape/{s}", f"objects in {s}", ("shape", s)) for s in SOLIDS]
    every += [(f"{s}s", f"{s}s", ("shape", s)) for s in FLAT]
    return tuple(
        Labels(
            key,
            "count",
            f"sort images by the number of {subject}.",
            np.array([_count(picture, *what) for picture in pictures], dtype=np.float32),
            subject=subject,
        )
        for key, subject, what in every
    )


def _count(picture: Picture, field: str, value: str) -> float:
    """How many things have this value; NaN where no thing of this kind of picture could."""
    if not field:
        return len(picture.things)
    if field == "material" and picture.flat:
        return math.nan
    if field == "shape" and value not in (FLAT if picture.flat else SOLIDS):
        return math.nan
    return float(sum(getattr(thing, field) == value for thing in picture.things))


def _part(index: int) -> Part:
    return "test" if index % 10 == 9 else "validation" if index % 10 == 8 else "train"


def _some(rng: np.random.Generator, values: tuple[str, ...]) -> tuple[str, ...]:
    """All of the values, or, half of the time, one or two: so that counts of one also rise high."""
    if rng.random() < 0.5:
        return values
    chosen = rng.choice(len(values), size=int(rng.integers(1, 3)), replace=False)
    return tuple(values[n] for n in chosen)


def _thing(
    rng: np.random.Generator,
    flat: bool,
    shapes: tuple[str, ...],
    colours: tuple[str, ...],
    materials: tuple[str, ...],
) -> Thing:
    colour = colours[rng.integers(len(colours))]
    hue, saturation, value = (rng.uniform(low, high) for low, high in COLOURS[colour])
    rgb = colorsys.hsv_to_rgb((hue / 360) % 1, saturation, value)
    if flat:
        size = float(rng.uniform(0.03, 0.1))
        x, y = (float(rng.uniform(size, 1 - size)) for _ in range(2))
    else:
        size = (0.7, 0.35)[rng.integers(2)] * float(rng.uniform(0.9, 1.1))
        x, y = (float(rng.uniform(-3, 3)) for _ in range(2))
    turn = float(rng.uniform(0, 2 * math.pi))
    shape, material = shapes[rng.integers(len(shapes))], materials[rng.integers(len(materials))]
    return Thing(shape, colour, material, rgb, x, y, size, turn)


def _apart(one: Thing, other: Thing, flat: bool) -> bool:
    gap = 0.9 if flat else 1.1  # flat things may overlap a little
    return math.hypot(one.x - other.x, one.y - other.y) > gap * (one.size + other.size)


def _camera(rng: np.random.Generator) -> Camera:
    return Camera(
        height=float(rng.uniform(3.6, 5.4)),
        distance=float(rng.uniform(9.3, 10.7)),
        around=float(rng.uniform(0, 2 * math.pi)),
        half_width=math.tan(math.radians(float(rng.uniform(22, 26)))),
        aspect=1.0 if rng.random() < 0.7 else 2 / 3,
    )


def _solids(picture: Picture) -> list[Solid]:
    return [
        Solid(t.shape, t.x, t.y, t.size, t.turn, t.rgb, t.material == "metal")
        for t in picture.things
    ]


def _seen(picture: Picture) -> Picture:
    """The picture without what is hidden behind other solids or lies outside the frame."""
    camera = _camera(np.random.default_rng(picture.seed))
    shares = visible_share(_solids(picture), camera)
    kept = zip(picture.things, shares, strict=True)
    return replace(picture, things=tuple(thing for thing, seen in kept if seen >= LEAST_SEEN))


def _draw_scene(picture: Picture, size: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(picture.seed)
    return cast(_solids(picture), _camera(rng), size, rng)


def _draw_flat(picture: Picture, size: int) -> Pixels:
    """uint8 [size, size, 3]."""
    rng = np.random.default_rng(picture.seed)
    image = Image.fromarray(_background(rng, size, {t.colour for t in picture.things}))
    pen = ImageDraw.Draw(image)
    for thing in picture.things:
        fill = tuple(round(255 * c) for c in thing.rgb)
        rim = tuple(round(150 * c) for c in thing.rgb) if rng.random() < 0.5 else None
        x, y, r = thing.x * size, thing.y * size, thing.size * size
        if thing.shape == "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill, rim, width=max(1, size // 120))
        else:
            pen.polygon(_corners(thing.shape, x, y, r, thing.turn), fill, rim)
    return np.asarray(image)


def _corners(shape: str, x: float, y: float, r: float, turn: float) -> list[tuple[float, float]]:
    points = {"square": 4, "triangle": 3, "star": 10}[shape]
    radii = [r * (0.45 if shape == "star" and n % 2 else 1.0) for n in range(points)]
    angles = [turn + 2 * math.pi * n / points for n in range(points)]
    return [(x + a * math.cos(t), y + a * math.sin(t)) for a, t in zip(radii, angles, strict=True)]


def _background(rng: np.random.Generator, size: int, taken: set[str]) -> Pixels:
    """uint8 [size, size, 3]: pale or dark, plain, shaded, striped or grainy; no colour of a thing
    as strong as the thing's."""
    base = rng.uniform(0.05, 0.25) if rng.random() < 0.3 else rng.uniform(0.8, 1.0)
    if "gray" not in taken and rng.random() < 0.3:
        base = rng.uniform(0.3, 0.7)
    tint = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.15), base))
    y, x = np.mgrid[0:size, 0:size] / size
    angle, kind = rng.uniform(0, 2 * math.pi), rng.integers(4)
    along = x * math.cos(angle) + y * math.sin(angle)
    pattern = np.zeros((size, size))
    if kind == 1:
        pattern = 0.12 * along
    elif kind == 2:
        pattern = 0.05 * np.sign(np.sin(along * rng.uniform(20, 60)))
    elif kind == 3:
        pattern = rng.normal(0, 0.04, (size, size))
    shown = np.clip(tint + pattern[..., None], 0, 1)
    return (255 * shown).round().astype(np.uint8)
