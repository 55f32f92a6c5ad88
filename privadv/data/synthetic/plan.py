"""Which videos there are: who plays what with whom, and in which take."""

from __future__ import annotations

from dataclasses import dataclass

import pydantic

from privadv.config import Section, Seed

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

    seed: Seed = 0
    train_takes: pydantic.PositiveInt = 6
    val_takes: pydantic.PositiveInt = 1
    test_takes: pydantic.PositiveInt = 2
    width: pydantic.PositiveInt = 160
    height: pydantic.PositiveInt = 120
    fps: pydantic.PositiveInt = 15

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
