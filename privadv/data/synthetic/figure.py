"""How figures are painted: limbs as thick segments in body coordinates, over all frames of a video at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from privadv.data.synthetic.appearance import HAIR, SKIN, Actor, Cloth
from privadv.data.synthetic.motion import Motion


@dataclass(frozen=True)
class Camera:
    """Scale in pixels a body height, the floor's place, tilt in radians, drift in pixels a frame."""

    scale: float
    origin: tuple[float, float]
    tilt: float
    drift: tuple[float, float]


MARGIN = 4


class Canvas:
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
        cover = np.clip(radius * scale - distance + 0.5, 0, 1)
        # Most of a window is not covered; what is not, keeps its colour.
        touched = t, row, column = np.nonzero(cover)
        paint = (
            colour.paint(along[touched] / scale, across[touched] / scale)
            if isinstance(colour, Cloth)
            else np.array(colour, np.float32)
        )
        pixels = t, rows[t, row], columns[t, column]
        before = self.frames[pixels]
        self.frames[pixels] = before + cover[touched][:, None] * (paint - before)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        """Body points (T, 2), y up from the floor, to pixels of the canvas."""
        camera = self.camera
        cos, sin = math.cos(camera.tilt), math.sin(camera.tilt)
        x = camera.scale * (points[:, 0] * cos - points[:, 1] * sin) + camera.origin[0]
        y = -camera.scale * (points[:, 0] * sin + points[:, 1] * cos) + camera.origin[1]
        time = np.arange(len(points))
        return np.stack([x + camera.drift[0] * time, y + camera.drift[1] * time], axis=1) + MARGIN


def _limb_coordinates(
    rows: np.ndarray, columns: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along, across and distance (T, h, w) in pixels of window pixels from the segments start-end (T, 2)."""
    axis = (end - start).astype(np.float32)
    length = np.linalg.norm(axis, axis=1)
    axis = np.where(
        length[:, None] > 1e-3, axis / np.maximum(length, 1e-3)[:, None], np.array([0, 1], np.float32)
    )
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


def paint_person(canvas: Canvas, actor: Actor, motion: Motion) -> np.ndarray:
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


def _paint_head(canvas: Canvas, actor: Actor, neck: np.ndarray, head: np.ndarray, facing: np.ndarray) -> None:
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
