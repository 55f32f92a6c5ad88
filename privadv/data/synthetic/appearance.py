"""Who it is: the cast, and the cloth, skin and hair that tell one actor from another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
