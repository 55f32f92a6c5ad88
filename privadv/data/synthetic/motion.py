"""What happens: the eight interactions as joint angles over time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np


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


def ramp(phase: np.ndarray, start: float, end: float) -> np.ndarray:
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
    return _walk(one, start + (end - start) * ramp(phase, 0.0, 0.95), phase, int(one.facing[0]), rng), two


def _depart(
    one: Motion, two: Motion, phase: np.ndarray, gain: float, rng: np.random.Generator
) -> tuple[Motion, Motion]:
    start, end = one.x[0], one.x[0] - one.facing[0] * rng.uniform(0.34, 0.46)
    return _walk(one, start + (end - start) * ramp(phase, 0.05, 1.0), phase, -int(one.facing[0]), rng), two


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
    out, back = _bump(phase, 0.12, 0.5, 0.95), ramp(phase, 0.4, 0.75)
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


def play(action: int, phase: np.ndarray, rng: np.random.Generator) -> tuple[Motion, Motion]:
    """The acting and the other figure; which of them stands left is drawn."""
    side = int(rng.choice((-1, 1)))
    gap = rng.uniform(0.42, 0.60)
    one, two = _stand(side * gap / 2, -side, phase, rng), _stand(-side * gap / 2, side, phase, rng)
    return _PLAY[action](one, two, phase, rng.uniform(0.6, 1.1), rng)
