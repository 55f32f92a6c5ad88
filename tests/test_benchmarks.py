"""What the benchmark compares with does the same work: the plain port plays the same game."""

from __future__ import annotations

import pytest
import torch

from benchmarks.training import STEPS, Fixed, Sizes, ours, plain_steps, port, steps

SMALL = Sizes(k=2, clip=(4, 32, 32), filter_width=4, blocks=1, target_width=8, dense=16, budget_width=0.25,
              rates=(1e-4, 1e-4, 1e-5))


def test_the_first_twenty_updates_are_those_of_the_plain_port() -> None:
    """Both start from the same weights and draw the same dropout; every loss agrees to 1e-4."""
    game, feeds = ours(SMALL), Fixed(SMALL.clips())
    mine, theirs = steps(game, feeds), plain_steps(port(game, SMALL), feeds)
    for update in range(20):
        name = list(STEPS)[update % len(STEPS)]
        losses = []
        for side in (mine, theirs):
            torch.manual_seed(update)
            losses.append(side[name]())
        assert losses[0] == pytest.approx(losses[1], rel=1e-4), f"{name}, update {update}"
