"""How it is filmed: scene, camera, light and noise, and the frames that come of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from privadv.data.synthetic.appearance import AMBER, CAST, HAIR, NAVY, SKIN, Cloth
from privadv.data.synthetic.figure import MARGIN, Camera, Canvas, paint_person
from privadv.data.synthetic.motion import play, ramp
from privadv.data.synthetic.plan import ACTIONS, SyntheticConfig, Video


def _scene(config: SyntheticConfig, rng: np.random.Generator) -> np.ndarray:
    """A still background (H + 2 margins, W + 2 margins, 3): wall, floor and clutter in muted shades of shared colours."""
    height, width = config.height + 2 * MARGIN, config.width + 2 * MARGIN
    wall, floor = rng.uniform(95, 190, 3) * 0.3 + rng.uniform(95, 190) * 0.7, rng.uniform(80, 160)
    slope = np.linspace(-1, 1, width)[None, :, None] * rng.uniform(-18, 18) + np.linspace(-1, 1, height)[
        :, None, None
    ] * rng.uniform(-18, 18)
    scene = np.broadcast_to(wall, (height, width, 3)).astype(np.float32) + slope.astype(np.float32)
    horizon = MARGIN + int(config.height * rng.uniform(0.76, 0.88))
    scene[horizon:] = scene[horizon:] * 0.4 + 0.6 * floor
    for _ in range(int(rng.integers(6, 15))):
        top, left = int(rng.integers(MARGIN, horizon)), int(rng.integers(MARGIN, width - MARGIN))
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
    film = film[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    gain = rng.uniform(0.72, 1.15) * rng.uniform(0.8, 1.2, 3)
    gamma = rng.uniform(0.85, 1.2)
    # In 64 bit: of 32, NumPy's power differs in its last digit between kinds of processors, and so would the clips.
    light = np.power(np.clip(film, 0, 255) / 255, gamma, dtype=np.float64)
    film = (255 * light * gain).astype(np.float32)
    film = film + rng.standard_normal(film.shape, np.float32) * rng.uniform(2, 6)
    return np.clip(film, 0, 255).astype(np.uint8)


def render(config: SyntheticConfig, video: Video) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) uint8 of one video, a function of the config's seed and the video alone."""
    rng = np.random.default_rng([config.seed, *video.actors, video.action, video.take])
    frames = int(rng.integers(18, 31))
    phase = np.linspace(rng.uniform(-0.1, 0.2), rng.uniform(0.75, 1.1), frames)
    camera = _camera(config, rng)
    canvas = Canvas(_film(_scene(config, rng), camera, frames), camera)
    hands = [
        paint_person(canvas, CAST[actor], motion)
        for actor, motion in reversed(list(zip(video.actors, play(video.action, phase, rng), strict=True)))
    ]
    if ACTIONS[video.action] == "exchange object":
        passed = ramp(phase, 0.42, 0.55)[:, None]
        box = hands[1] * (1 - passed) + hands[0] * passed
        canvas.capsule(box - 0.012, box + 0.012, 0.040, tuple(rng.integers(40, 230, 3)))
    return iter(_develop(canvas.frames, rng))
