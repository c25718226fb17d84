"""A small ray caster: solids on a plane, one soft key light with shadows, an even fill light.

The plane is z = 0; a solid stands on it at (x, y). One ray a pixel; the point on the light is drawn
anew for each pixel, so that averaging pixels makes shadows soft. No reflections of solids in one
another: metal mirrors a sky that is bright above and dark at the horizon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Camera", "Solid", "cast", "visible_share"]

Array = npt.NDArray[np.float32]
FAR = np.float32(np.inf)
EPS = 1e-3
PROBE = 40  # side, in pixels, at which it is found what hides what


@dataclass(frozen=True, slots=True)
class Camera:
    """Looks at the origin from `height` above the plane, `distance` away, at the angle `around`
    (radians). half_width: tangent of half the horizontal field of view.   aspect: height by width
    of the frame, which is then squashed to a square, as every picture is here."""

    height: float
    distance: float
    around: float
    half_width: float
    aspect: float = 1.0


@dataclass(frozen=True, slots=True)
class Solid:
    """shape: cube, sphere or cylinder.   size: the radius; for a cube, that of its diagonal face
    circle.   turn: radians about the vertical.   rgb: 0..1."""

    shape: str
    x: float
    y: float
    size: float
    turn: float
    rgb: tuple[float, float, float]
    metal: bool


def visible_share(solids: Sequence[Solid], camera: Camera) -> list[float]:
    """Of each solid, the share of its pixels that no other one hides; 0 if the frame lacks it."""
    origin, rays = _rays(camera, PROBE)
    near = np.stack([_hit(s, origin, rays)[0] for s in solids]) if solids else np.empty((0, 1))
    first = near.argmin(0) if len(near) else near
    shares = []
    for n, depth in enumerate(near):
        own = np.isfinite(depth)
        # Those at the edge of the frame are cut off: fewer than so many pixels are none.
        shares.append(float((own & (first == n)).sum() / own.sum()) if own.sum() >= 4 else 0.0)
    return shares


def cast(solids: Sequence[Solid], camera: Camera, size: int, rng: np.random.Generator) -> Array:
    """float32 [size, size, 3], 0..255. rng: of the light, the ground and the grain."""
    origin, rays = _rays(camera, size)
    ground_level, key = rng.uniform(0.4, 0.7), _light(camera, rng)
    fill, strength = rng.uniform(0.35, 0.5), rng.uniform(0.55, 0.85)

    down = np.minimum(rays[:, 2], -1e-4)
    depth = (-origin[2] / down).astype(np.float32)
    normal = np.zeros_like(rays)
    normal[:, 2] = 1
    base = np.full_like(rays, np.float32(ground_level))
    metal = np.zeros(len(rays), bool)
    for solid in solids:
        found, face = _hit(solid, origin, rays)
        nearer = found < depth
        depth[nearer], normal[nearer] = found[nearer], face[nearer]
        base[nearer], metal[nearer] = solid.rgb, solid.metal
    depth = np.minimum(depth, 60)
    points = origin + depth[:, None] * rays + EPS * normal

    to_light = key - points
    far = np.sqrt(_dot(to_light, to_light))
    to_light /= far[:, None]
    spot = to_light + (rng.uniform(-1, 1, points.shape) / far[:, None]).astype(np.float32)
    spot /= np.sqrt(_dot(spot, spot))[:, None]
    lit = np.clip(_dot(normal, to_light), 0, 1)
    for solid in solids:
        at, _ = _hit(solid, points, spot)
        lit[at < far] *= 0.3
    lit *= np.clip(1.25 - far / 30, 0.25, 1)  # a lamp, not the sun
    half = to_light - rays
    half /= np.sqrt(_dot(half, half))[:, None]
    shine = np.clip(_dot(normal, half), 0, 1) * (lit > 0.1)
    shine = shine**4
    mirrored = rays - 2 * _dot(rays, normal)[:, None] * normal
    sky = np.clip(0.35 + 0.65 * mirrored[:, 2], 0.1, 1)
    diffuse = fill + strength * lit
    gleam = np.where(metal, 0.9 * shine**16, 0.12 * shine**3)
    level = np.where(metal, 0.35 * diffuse + 0.75 * sky, diffuse)
    gleam[depth >= 60] = 0
    on_ground = (points[:, 2] < 2 * EPS) & ~metal
    gleam[on_ground] *= 0.3
    fade = np.exp(-np.maximum(depth - 14, 0) / 12)[:, None]
    colour = base * level[:, None] + gleam[:, None]
    colour = colour * fade + 0.55 * ground_level * (1 - fade)
    colour += rng.normal(0, 0.012, (len(colour), 1)).astype(np.float32)
    shown: Array = (255 * np.clip(colour, 0, 1)).astype(np.float32)
    return shown.reshape(size, size, 3)


def _dot(one: Array, other: Array) -> Array:
    """[N, 3], [N, 3] -> [N]."""
    out: Array = np.einsum("ni,ni->n", one, other)
    return out


def _rays(camera: Camera, size: int) -> tuple[Array, Array]:
    """Place of the camera [3] and directions [size^2, 3], row by row, of length 1."""
    ground = camera.distance * np.array([math.cos(camera.around), math.sin(camera.around)])
    origin = np.array([*ground, camera.height])
    ahead = -origin / np.linalg.norm(origin)
    right = np.cross(ahead, [0, 0, 1])
    right /= np.linalg.norm(right)
    above = np.cross(right, ahead)
    steps = (np.arange(size) + 0.5) / size * 2 - 1
    u, v = np.meshgrid(steps * camera.half_width, -steps * camera.half_width * camera.aspect)
    rays = ahead + u.reshape(-1, 1) * right + v.reshape(-1, 1) * above
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return origin.astype(np.float32), rays.astype(np.float32)


def _light(camera: Camera, rng: np.random.Generator) -> Array:
    """Place of the key light [3]: high, to a side of the camera."""
    angle = camera.around + rng.uniform(-1.2, 1.2)
    away = rng.uniform(4, 9)
    place = [away * math.cos(angle), away * math.sin(angle), rng.uniform(5, 9)]
    return np.array(place, dtype=np.float32)


def _hit(solid: Solid, origin: Array, rays: Array) -> tuple[Array, Array]:
    """Distance [N] along each ray to the solid (infinite: missed) and normal [N, 3] there.

    origin: [3] or [N, 3]."""
    depth = np.full(len(rays), FAR, dtype=np.float32)
    normal = np.zeros_like(rays)
    centre = np.array([solid.x, solid.y, _half_height(solid)], dtype=np.float32)
    start = np.broadcast_to(origin - centre, rays.shape)
    along = _dot(start, rays)
    apart = _dot(start, start) - along**2
    bound = solid.size if solid.shape == "sphere" else 1.5 * solid.size
    near = np.flatnonzero((apart < bound**2) & (along < 0))  # most rays miss: found out cheaply
    o, d = start[near], rays[near]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if solid.shape == "sphere":
            t, n = _hit_sphere(solid.size, along[near], apart[near], o, d)
        elif solid.shape == "cube":
            t, n = _hit_box(_half_height(solid), solid.turn, o, d)
        else:
            t, n = _hit_cylinder(solid.size, o, d)
    good = np.isfinite(t) & (t > EPS)
    depth[near[good]], normal[near[good]] = t[good], n[good]
    return depth, normal


def _half_height(solid: Solid) -> float:
    return solid.size / math.sqrt(2) if solid.shape == "cube" else solid.size


def _hit_sphere(r: float, along: Array, apart: Array, o: Array, d: Array) -> tuple[Array, Array]:
    t = -along - np.sqrt(np.maximum(r * r - apart, 0))
    return t, (o + t[:, None] * d) / r


def _hit_box(half: float, turn: float, o: Array, d: Array) -> tuple[Array, Array]:
    """Slabs in the box's own axes. A ray along a slab divides by 0: infinite, as it should be."""
    c, s = math.cos(turn), math.sin(turn)
    axes = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=np.float32)  # columns
    o, d = o @ axes, d @ axes
    one, two = (-half - o) / d, (half - o) / d
    enter, leave = np.minimum(one, two), np.maximum(one, two)
    axis, t = enter.argmax(1), enter.max(1)
    t = np.where(t <= leave.min(1), t, FAR)
    rows = np.arange(len(o))
    normal = np.zeros_like(o)
    normal[rows, axis] = -np.sign(d[rows, axis])
    return t, normal @ axes.T


def _hit_cylinder(r: float, o: Array, d: Array) -> tuple[Array, Array]:
    """Upright, of radius r and height 2 r: its side, or its top and bottom."""
    a = (d[:, :2] ** 2).sum(1)
    b = (o[:, :2] * d[:, :2]).sum(1)
    side = (-b - np.sqrt(b * b - a * ((o[:, :2] ** 2).sum(1) - r * r))) / a  # NaN: missed
    side = np.where(np.abs(o[:, 2] + side * d[:, 2]) <= r, side, FAR)
    cap = (r * -np.sign(d[:, 2]) - o[:, 2]) / d[:, 2]
    at = o[:, :2] + cap[:, None] * d[:, :2]
    cap = np.where((at**2).sum(1) <= r * r, cap, FAR)
    t = np.fmin(side, cap)
    normal = np.zeros_like(o)
    on_side = side <= cap
    normal[on_side, :2] = (o + t[:, None] * d)[on_side, :2] / r
    normal[~on_side, 2] = -np.sign(d[~on_side, 2])
    return t, normal
