"""A generated, openly synthetic video set in the shape of SBU Kinect Interaction.

Seven actors form thirteen unordered pairs that play eight two-person interactions. *What* happens lives in the motion of
articulated figures; *who* it is lives in appearance: clothing patterns, the arrangement of colours that all actors share,
hair, skin and slight differences of proportion. Speed, phase, camera, light, background and noise are drawn anew for
every video. Nothing here is a photograph of anybody, and no result on it says how a filter does on real people.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from privadv.config import Section
from privadv.console import progress
from privadv.data.video import write_h264

PAIRS = (
    (1, 2),
    (1, 3),
    (1, 7),
    (2, 3),
    (2, 6),
    (2, 7),
    (3, 4),
    (3, 5),
    (3, 6),
    (2, 4),
    (4, 6),
    (2, 5),
    (3, 7),
)
ACTIONS = ("approach", "depart", "kick", "push", "shake hands", "hug", "exchange object", "punch")


class SyntheticConfig(Section):
    """What is generated: every pair plays every action once a take; takes are split train, then val, then test."""

    seed: int = 0
    train_takes: int = 6
    val_takes: int = 1
    test_takes: int = 2
    width: int = 160
    height: int = 120
    fps: int = 15

    @property
    def takes(self) -> int:
        return self.train_takes + self.val_takes + self.test_takes


@dataclass(frozen=True)
class Video:
    """One video to generate: the acting actor comes first, as in SBU's ordered folders."""

    actors: tuple[int, int]
    action: int
    take: int

    @property
    def name(self) -> str:
        return f"s{self.actors[0]:02d}s{self.actors[1]:02d}_{self.action + 1:02d}_{self.take:03d}.mp4"


def videos(config: SyntheticConfig) -> list[Video]:
    """All videos of the set, in a fixed order; the acting actor alternates with the take."""
    return [
        Video(pair if (take + action) % 2 else (pair[1], pair[0]), action, take)
        for pair in PAIRS
        for action in range(len(ACTIONS))
        for take in range(1, config.takes + 1)
    ]


def generate(config: SyntheticConfig, folder: Path) -> None:
    """Write every video as H.264 into ``folder``; the same config writes the same frames."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = videos(config)
    workers = max(1, os.cpu_count() or 1)
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        progress("synthetic videos", len(todo)) as bar,
    ):
        for _ in pool.map(partial(_write, config, folder), todo, chunksize=8):
            bar.advance()


def _write(config: SyntheticConfig, folder: Path, video: Video) -> None:
    write_h264(folder / video.name, render(config, video), config.fps)


# ---------------------------------------------------------------- who: appearance

NAVY, AMBER = (44, 62, 138), (228, 168, 84)
SKIN = ((222, 184, 154), (186, 142, 110), (146, 106, 80))
HAIR = ((40, 34, 32), (146, 92, 48), (202, 174, 112))


@dataclass(frozen=True)
class Actor:
    """All that tells one actor from another; everybody wears the same two colours in about equal areas.

    ``period`` is the pattern's, in body heights; ``height`` and ``girth`` are relative to the common body.
    """

    top: str
    bottom: str
    period: float
    skin: int
    hair: int
    style: str
    height: float
    girth: float


CAST = {
    1: Actor("navy rings", "amber rings", 0.12, 0, 0, "short", 1.030, 0.95),
    2: Actor("amber rings", "navy rings", 0.12, 1, 1, "long", 0.980, 1.00),
    3: Actor("rings", "checks", 0.13, 2, 1, "short", 1.000, 1.05),
    4: Actor("halves", "halves", 0.12, 0, 2, "long", 0.970, 0.97),
    5: Actor("checks", "checks", 0.11, 1, 0, "bald", 1.020, 1.04),
    6: Actor("rings", "halves", 0.22, 2, 0, "short", 0.990, 1.00),
    7: Actor("halves", "checks", 0.14, 1, 2, "bald", 1.010, 0.98),
}


@dataclass(frozen=True)
class Cloth:
    """What a garment's surface shows at limb coordinates in body heights."""

    pattern: str
    period: float

    def paint(self, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        """RGB (..., 3) at (..., ) coordinates along and across the limb."""
        half = self.period / 2
        first = {
            "rings": lambda: along % self.period < half,
            "navy rings": lambda: along % self.period < 1.4 * half,
            "amber rings": lambda: along % self.period < 0.6 * half,
            "checks": lambda: (np.floor(along / half) + np.floor(across / half)) % 2 == 0,
            "halves": lambda: across > 0,
        }[self.pattern]()
        return np.where(first[..., None], np.array(NAVY, np.float32), np.array(AMBER, np.float32))


# ---------------------------------------------------------------- what: motion


@dataclass(frozen=True)
class Motion:
    """One figure over T frames. Angles in radians from straight down, positive towards where the figure faces.

    ``x`` is the hip's place in body heights, ``facing`` +1 (right) or -1; limbs are (2, T): upper and lower part.
    """

    x: np.ndarray
    facing: np.ndarray
    lean: np.ndarray
    near_arm: np.ndarray
    far_arm: np.ndarray
    near_leg: np.ndarray
    far_leg: np.ndarray


def _bump(phase: np.ndarray, start: float, peak: float, end: float) -> np.ndarray:
    """Rises smoothly from 0 at ``start`` to 1 at ``peak`` and falls back to 0 at ``end``."""
    rise, fall = (phase - start) / (peak - start), (end - phase) / (end - peak)
    return 0.5 - 0.5 * np.cos(math.pi * np.clip(np.minimum(rise, fall), 0, 1))


def _ramp(phase: np.ndarray, start: float, end: float) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(math.pi * np.clip((phase - start) / (end - start), 0, 1))


def _limb(upper: np.ndarray | float, lower: np.ndarray | float, like: np.ndarray) -> np.ndarray:
    return np.stack([np.broadcast_to(upper, like.shape), np.broadcast_to(lower, like.shape)]).astype(
        np.float64
    )


def _stand(x: float, facing: int, phase: np.ndarray, rng: np.random.Generator) -> Motion:
    """At ease, with the sway, the posture and an idle gesture of this take."""
    sway = rng.uniform(0.03, 0.09) * np.sin(2 * math.pi * (phase * rng.uniform(0.6, 1.4) + rng.uniform()))
    arm, stance = rng.uniform(-0.15, 0.25, 2), rng.uniform(0.03, 0.2)
    moment = rng.uniform(0.1, 0.9)
    gesture = rng.uniform(0, 0.9) * _bump(phase, moment - 0.25, moment, moment + 0.25)
    return Motion(
        x=np.full_like(phase, x),
        facing=np.full_like(phase, facing),
        lean=0.5 * sway + rng.uniform(-0.04, 0.06),
        near_arm=_limb(arm[0] + sway + 0.5 * gesture, arm[0] + 0.2 + sway + gesture, phase),
        far_arm=_limb(arm[1] - sway, arm[1] + 0.2, phase),
        near_leg=_limb(stance, stance - 0.06, phase),
        far_leg=_limb(-stance, -stance - 0.06, phase),
    )


def _walk(person: Motion, x: np.ndarray, phase: np.ndarray, facing: int, rng: np.random.Generator) -> Motion:
    """Walk along ``x``: legs and arms swing in opposition while the hip moves."""
    speed = np.abs(np.gradient(x))
    swing = np.clip(speed / (speed.max() + 1e-6) * 1.5, 0, 1)
    step = np.sin(2 * math.pi * (phase * rng.uniform(2.4, 3.2) + rng.uniform())) * swing
    bend = 0.45 * swing * (0.5 + 0.5 * np.cos(2 * math.pi * phase * 3))
    return replace(
        person,
        x=x,
        facing=np.full_like(phase, facing),
        lean=person.lean + 0.08 * swing,
        near_leg=_limb(0.55 * step, 0.55 * step - bend, phase),
        far_leg=_limb(-0.55 * step, -0.55 * step - bend, phase),
        near_arm=_limb(-0.5 * step, -0.5 * step + 0.3, phase),
        far_arm=_limb(0.5 * step, 0.5 * step + 0.3, phase),
    )


def _reach(rest: np.ndarray, upper: float, lower: float, amount: np.ndarray) -> np.ndarray:
    """Move a limb from rest towards the angles (upper, lower)."""
    return rest + (np.array([[upper], [lower]]) - rest) * amount


def _approach(
    one: Motion, two: Motion, phase: np.ndarray, gain: float, rng: np.random.Generator
) -> tuple[Motion, Motion]:
    start, end = one.x[0] - one.facing[0] * rng.uniform(0.34, 0.46), one.x[0]
    return _walk(one, start + (end - start) * _ramp(phase, 0.0, 0.95), phase, int(one.facing[0]), rng), two


def _depart(
    one: Motion, two: Motion, phase: np.ndarray, gain: float, rng: np.random.Generator
) -> tuple[Motion, Motion]:
    start, end = one.x[0], one.x[0] - one.facing[0] * rng.uniform(0.34, 0.46)
    return _walk(one, start + (end - start) * _ramp(phase, 0.05, 1.0), phase, -int(one.facing[0]), rng), two


def _kick(
    one: Motion, two: Motion, phase: np.ndarray, gain: float, rng: np.random.Generator
) -> tuple[Motion, Motion]:
    up, hit = _bump(phase, 0.15, 0.5, 0.85), _bump(phase, 0.4, 0.62, 1.1)
    one = replace(
        one,
        near_leg=_reach(one.near_leg, 1.45 * gain, 1.35 * gain, up),
        lean=one.lean - 0.3 * gain * up,
        near_arm=_reach(one.near_arm, -0.6, -0.4, up),
        far_arm=_reach(one.far_arm, 0.5, 0.9, up),
    )
    return one, replace(two, lean=two.lean - 0.25 * gain * hit, x=two.x - two.facing * 0.06 * hit)


def _push(
    one: Motion, two: Motion, phase: np.ndarray, gain: float, rng: np.random.Generator
) -> tuple[Motion, Motion]:
    out, back = _bump(phase, 0.12, 0.5, 0.95), _ramp(phase, 0.4, 0.75)
    one = replace(
        one,
        near_arm=_reach(one.near_arm, 1.4, 1.6, out),
        far_arm=_reach(one.far_arm, 1.3, 1.5, out),
        lean=one.lean + 0.3 * gain * out,
        x=one.x + one.facing * 0.07 * out,
        far_leg=_reach(one.far_leg, -0.4, -0.5, out),
    )
    return one, replace(
        two,
        lean=two.lean - 0.35 * gain * _bump(phase, 0.4, 0.62, 1.1),
        x=two.x - two.facing * 0.2 * gain * back,
        near_arm=_reach(two.near_arm, 0.7, 1.2, _bump(phase, 0.4, 0.6, 1.0)),
    )


def _shake_hands(
    one: Motion, two: Motion, phase: np.ndarray, gain: float, rng: np.random.Generator
) -> tuple[Motion, Motion]:
    out = _bump(phase, 0.02, 0.25, 1.25) ** 0.5
    pump = 0.28 * gain * np.sin(2 * math.pi * phase * rng.uniform(2.6, 3.4)) * (out > 0.7)
    return (
        replace(one, near_arm=_reach(one.near_arm, 0.75, 1.45, out) + pump, lean=one.lean + 0.1 * out),
        replace(two, near_arm=_reach(two.near_arm, 0.75, 1.45, out) + pump, lean=two.lean + 0.1 * out),
    )


def _hug(
    one: Motion, two: Motion, phase: np.ndarray, gain: float, rng: np.random.Generator
) -> tuple[Motion, Motion]:
    near, arms = _bump(phase, 0.0, 0.45, 1.3), _bump(phase, 0.1, 0.45, 1.2)

    def hug(person: Motion) -> Motion:
        return replace(
            person,
            x=person.x + person.facing * 0.155 * near,
            lean=person.lean + 0.12 * arms,
            near_arm=_reach(person.near_arm, 1.35, 1.75, arms),
            far_arm=_reach(person.far_arm, 1.1, 1.9, arms),
        )

    return hug(one), hug(two)


def _exchange(
    one: Motion, two: Motion, phase: np.ndarray, gain: float, rng: np.random.Generator
) -> tuple[Motion, Motion]:
    give, take = _bump(phase, 0.0, 0.4, 0.75), _bump(phase, 0.2, 0.55, 0.95)
    carried = np.clip(1 - give, 0, 1)
    one_arm = _reach(_reach(one.near_arm, 0.3, 1.5, carried), 1.05, 1.4, give)
    return replace(one, near_arm=one_arm), replace(two, near_arm=_reach(two.near_arm, 1.05, 1.4, take))


def _punch(
    one: Motion, two: Motion, phase: np.ndarray, gain: float, rng: np.random.Generator
) -> tuple[Motion, Motion]:
    guard, out, hit = _bump(phase, 0.0, 0.2, 1.2), _bump(phase, 0.32, 0.5, 0.75), _bump(phase, 0.45, 0.6, 1.0)
    near = _reach(_reach(one.near_arm, 0.3, 2.5, guard), 1.75 * gain, 1.85 * gain, out)
    one = replace(
        one, near_arm=near, far_arm=_reach(one.far_arm, 0.4, 2.5, guard), lean=one.lean + 0.22 * gain * out
    )
    return one, replace(two, lean=two.lean - 0.5 * gain * hit, near_arm=_reach(two.near_arm, 0.6, 2.0, hit))


_PLAY = (_approach, _depart, _kick, _push, _shake_hands, _hug, _exchange, _punch)


def _play(video: Video, phase: np.ndarray, rng: np.random.Generator) -> tuple[Motion, Motion]:
    """The acting and the other figure; which of them stands left is drawn."""
    side = int(rng.choice((-1, 1)))
    gap = rng.uniform(0.42, 0.60)
    one, two = _stand(side * gap / 2, -side, phase, rng), _stand(-side * gap / 2, side, phase, rng)
    return _PLAY[video.action](one, two, phase, rng.uniform(0.6, 1.1), rng)


# ---------------------------------------------------------------- how it is filmed


@dataclass(frozen=True)
class Camera:
    """Scale in pixels a body height, the floor's place, tilt in radians, drift in pixels a frame."""

    scale: float
    origin: tuple[float, float]
    tilt: float
    drift: tuple[float, float]


_MARGIN = 4


class _Canvas:
    """Frames (T, H, W, 3) with a margin, on which figures are painted part by part over all frames at once."""

    def __init__(self, frames: np.ndarray, camera: Camera) -> None:
        self.frames, self.camera = frames, camera

    def capsule(
        self, a: np.ndarray, b: np.ndarray, radius: float, colour: Cloth | tuple[int, int, int]
    ) -> None:
        """Paint a thick segment between body points a and b (T, 2), both and the radius in body heights."""
        scale = self.camera.scale
        start, end = self._pixels(a), self._pixels(b)
        reach = int(np.ceil(np.linalg.norm(end - start, axis=1).max() / 2 + radius * scale)) + 2
        centre = np.floor((start + end) / 2).astype(int)
        limit = np.array(self.frames.shape[2:0:-1])
        centre = np.clip(centre, reach + 1, limit - reach - 2)
        offsets = np.arange(-reach, reach + 1)
        rows, columns = centre[:, 1, None] + offsets, centre[:, 0, None] + offsets
        along, across, distance = _limb_coordinates(rows, columns, start, end)
        cover = np.clip(radius * scale - distance + 0.5, 0, 1)[..., None]
        paint = (
            colour.paint(along / scale, across / scale)
            if isinstance(colour, Cloth)
            else np.array(colour, np.float32)
        )
        index = (np.arange(len(rows))[:, None, None], rows[:, :, None], columns[:, None, :])
        self.frames[index] += cover * (paint - self.frames[index])

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        """Body points (T, 2), y up from the floor, to pixels of the canvas."""
        camera = self.camera
        cos, sin = math.cos(camera.tilt), math.sin(camera.tilt)
        x = camera.scale * (points[:, 0] * cos - points[:, 1] * sin) + camera.origin[0]
        y = -camera.scale * (points[:, 0] * sin + points[:, 1] * cos) + camera.origin[1]
        time = np.arange(len(points))
        return np.stack([x + camera.drift[0] * time, y + camera.drift[1] * time], axis=1) + _MARGIN


def _limb_coordinates(
    rows: np.ndarray, columns: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along, across and distance (T, h, w) in pixels of window pixels from the segments start-end (T, 2)."""
    axis = (end - start).astype(np.float32)
    length = np.linalg.norm(axis, axis=1)
    axis = np.where(length[:, None] > 1e-3, axis / np.maximum(length, 1e-3)[:, None], np.array([0, 1], np.float32))
    dx = (columns - start[:, :1]).astype(np.float32)[:, None, :]
    dy = (rows - start[:, 1:]).astype(np.float32)[:, :, None]
    ax, ay = axis[:, 0, None, None], axis[:, 1, None, None]
    along, across = dx * ax + dy * ay, dy * ax - dx * ay
    beyond = along - np.clip(along, 0, length[:, None, None])
    return along, across, np.hypot(beyond, across)


_TRUNK, _NECK, _ARM, _LEG = 0.29, 0.035, (0.155, 0.165), (0.235, 0.235)


def _joint(origin: np.ndarray, angle: np.ndarray, length: float, facing: np.ndarray) -> np.ndarray:
    return origin + length * np.stack([np.sin(angle) * facing, -np.cos(angle)], axis=1)


def _chain(
    origin: np.ndarray, limb: np.ndarray, lengths: tuple[float, float], motion: Motion, size: float
) -> list[np.ndarray]:
    middle = _joint(origin, limb[0], lengths[0] * size, motion.facing)
    return [origin, middle, _joint(middle, limb[1], lengths[1] * size, motion.facing)]


def _paint_person(canvas: _Canvas, actor: Actor, motion: Motion) -> np.ndarray:
    """Paint one figure back to front; returns the near hand's place (T, 2)."""
    size, girth = actor.height, actor.girth
    top, bottom = Cloth(actor.top, actor.period), Cloth(actor.bottom, actor.period)
    drop = [
        sum(length * np.cos(leg[i]) for i, length in enumerate(_LEG))
        for leg in (motion.near_leg, motion.far_leg)
    ]
    hip = np.stack([motion.x, size * np.maximum(drop[0], drop[1]) + 0.03], axis=1)
    neck = _joint(hip, math.pi - motion.lean, _TRUNK * size, motion.facing)
    shoulder = hip + 0.92 * (neck - hip)
    head = _joint(neck, math.pi - 1.3 * motion.lean, (_NECK + 0.055) * size, motion.facing)
    near_arm, far_arm = (
        _chain(shoulder, limb, _ARM, motion, size) for limb in (motion.near_arm, motion.far_arm)
    )
    near_leg, far_leg = (_chain(hip, limb, _LEG, motion, size) for limb in (motion.near_leg, motion.far_leg))

    def limb(joints: list[np.ndarray], radius: tuple[float, float], cloth: Cloth) -> None:
        canvas.capsule(joints[1], joints[2], radius[1] * girth, cloth)
        canvas.capsule(joints[0], joints[1], radius[0] * girth, cloth)

    limb(far_arm, (0.030, 0.026), top)
    canvas.capsule(far_arm[2], far_arm[2], 0.027, SKIN[actor.skin])
    limb(far_leg, (0.046, 0.036), bottom)
    limb(near_leg, (0.048, 0.038), bottom)
    canvas.capsule(hip, shoulder, 0.082 * girth, top)
    _paint_head(canvas, actor, neck, head, motion.facing)
    limb(near_arm, (0.033, 0.029), top)
    canvas.capsule(near_arm[2], near_arm[2], 0.029, SKIN[actor.skin])
    return near_arm[2]


def _paint_head(
    canvas: _Canvas, actor: Actor, neck: np.ndarray, head: np.ndarray, facing: np.ndarray
) -> None:
    up = (head - neck) / np.linalg.norm(head - neck, axis=1, keepdims=True)
    back = np.stack([-facing, np.zeros_like(facing)], axis=1)
    if actor.style == "long":
        canvas.capsule(head + 0.018 * back, head + 0.030 * back - 0.075 * up, 0.042, HAIR[actor.hair])
    canvas.capsule(neck, head, 0.022, SKIN[actor.skin])
    canvas.capsule(head, head, 0.062, SKIN[actor.skin])
    if actor.style != "bald":
        canvas.capsule(
            head + 0.030 * up + 0.020 * back, head + 0.034 * up - 0.012 * back, 0.036, HAIR[actor.hair]
        )


def _scene(config: SyntheticConfig, rng: np.random.Generator) -> np.ndarray:
    """A still background (H + 2 margins, W + 2 margins, 3): wall, floor and clutter in muted shades of shared colours."""
    height, width = config.height + 2 * _MARGIN, config.width + 2 * _MARGIN
    wall, floor = rng.uniform(95, 190, 3) * 0.3 + rng.uniform(95, 190) * 0.7, rng.uniform(80, 160)
    slope = np.linspace(-1, 1, width)[None, :, None] * rng.uniform(-18, 18) + np.linspace(-1, 1, height)[
        :, None, None
    ] * rng.uniform(-18, 18)
    scene = np.broadcast_to(wall, (height, width, 3)).astype(np.float32) + slope.astype(np.float32)
    horizon = _MARGIN + int(config.height * rng.uniform(0.76, 0.88))
    scene[horizon:] = scene[horizon:] * 0.4 + 0.6 * floor
    for _ in range(int(rng.integers(6, 15))):
        top, left = int(rng.integers(_MARGIN, horizon)), int(rng.integers(_MARGIN, width - _MARGIN))
        high, wide = (int(v) for v in rng.integers(6, 34, 2))
        patch = scene[top : top + high, left : left + wide]
        patch += rng.uniform(0.25, 0.85) * (_clutter(patch.shape, rng) - patch)
    grain = rng.normal(0, 1, (height // 4 + 1, width // 4 + 1, 1)).repeat(4, 0).repeat(4, 1)[:height, :width]
    return scene + (rng.uniform(1, 5) * grain).astype(np.float32)


def _clutter(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A patch in one of the shared shades, or woven like a garment, so that colours and stripes alone name nobody."""
    shades = np.array((NAVY, AMBER, *SKIN, *HAIR), np.float32)
    if rng.uniform() < 0.4:
        return shades[rng.integers(len(shades))]
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    pattern = str(rng.choice(("rings", "checks", "navy rings", "amber rings")))
    return Cloth(pattern, rng.uniform(6, 24)).paint(rows, columns)


def _film(scene: np.ndarray, camera: Camera, frames: int) -> np.ndarray:
    """The scene over time under the camera's drift, by bilinear shifts: (T, H', W', 3)."""
    film = np.empty((frames, *scene.shape), np.float32)
    for t in range(frames):
        dx, dy = (camera.drift[i] * t for i in (0, 1))
        ix, iy = math.floor(dx), math.floor(dy)
        fx, fy = dx - ix, dy - iy
        base = np.roll(scene, (iy, ix), (0, 1))
        right, down = np.roll(base, 1, 1), np.roll(base, 1, 0)
        film[t] = (
            (1 - fx) * (1 - fy) * base
            + fx * (1 - fy) * right
            + fy * (1 - fx) * down
            + fx * fy * np.roll(down, 1, 1)
        )
    return film


def _camera(config: SyntheticConfig, rng: np.random.Generator) -> Camera:
    scale = config.height * rng.uniform(0.62, 0.82)
    origin = (config.width / 2 + rng.uniform(-5, 5), config.height * rng.uniform(0.90, 0.97))
    return Camera(scale, origin, rng.uniform(-0.05, 0.05), tuple(rng.uniform(-0.06, 0.06, 2)))


def _develop(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light, white balance and sensor noise, then 8 bit without the margin."""
    film = film[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    gain = rng.uniform(0.72, 1.15) * rng.uniform(0.8, 1.2, 3)
    gamma = rng.uniform(0.85, 1.2)
    film = 255 * (np.clip(film, 0, 255) / 255) ** gamma * gain.astype(np.float32)
    film = film + rng.standard_normal(film.shape, np.float32) * rng.uniform(2, 6)
    return np.clip(film, 0, 255).astype(np.uint8)


def render(config: SyntheticConfig, video: Video) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) uint8 of one video, a function of the config's seed and the video alone."""
    rng = np.random.default_rng([config.seed, *video.actors, video.action, video.take])
    frames = int(rng.integers(18, 31))
    phase = np.linspace(rng.uniform(-0.1, 0.2), rng.uniform(0.75, 1.1), frames)
    camera = _camera(config, rng)
    canvas = _Canvas(_film(_scene(config, rng), camera, frames), camera)
    hands = [
        _paint_person(canvas, CAST[actor], motion)
        for actor, motion in reversed(list(zip(video.actors, _play(video, phase, rng), strict=True)))
    ]
    if ACTIONS[video.action] == "exchange object":
        passed = _ramp(phase, 0.42, 0.55)[:, None]
        box = hands[1] * (1 - passed) + hands[0] * passed
        canvas.capsule(box - 0.012, box + 0.012, 0.040, tuple(rng.integers(40, 230, 3)))
    return iter(_develop(canvas.frames, rng))
