"""What the benchmark compares with does the same work: the plain port plays the same game."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.__main__ import SECTIONS
from benchmarks.growth import Point, Size, _config, _rows
from benchmarks.measure import Row
from benchmarks.processes import Spent, apart
from benchmarks.report import Measured, markdown
from benchmarks.stacked import Stacked, one_by_one
from benchmarks.training import STEPS, Fixed, Sizes, ours, plain_steps, port, steps, take
from privadv.data.workers import worker_pool

SMALL = Sizes(k=2, clip=(4, 32, 32), filter_width=4, blocks=1, target_width=8, dense=16, budget_width=0.25,
              rates=(1e-4, 1e-2, 1e-3))


@pytest.mark.parametrize(("dtype", "afresh", "tolerance"), [(torch.float64, False, 1e-7), (torch.float32, True, 1e-4)])
def test_the_first_twenty_updates_are_those_of_the_plain_port(
    dtype: torch.dtype, afresh: bool, tolerance: float
) -> None:
    """In 64 bit two games from the same weights stay one. In 32 bit Adam, batch norm and the rounding to 8 bit turn last bits
    into steps, so that there every update starts from our weights, and a release of which a pixel fell to the other side of
    a grey level is another input: that must be rare.
    """
    game, feeds = ours(SMALL), Fixed(SMALL.clips().to(dtype))
    for module in (game.players.degradation, game.players.target, game.players.budget):
        module.to(dtype)
    other = port(game, SMALL)
    mine, theirs = steps(game, feeds), plain_steps(other, feeds)
    seen, compared = set(), []
    for update in range(20):
        name = list(STEPS)[update % len(STEPS)]
        if afresh:
            take(other, game)
        levels = 255 * (game.players.degradation(feeds.clips) - other.filter(feeds.clips)).abs()
        assert levels.max() < 1.01 and (levels > 0.5).float().mean() < 1e-3
        losses = []
        for side in (mine, theirs):
            torch.manual_seed(update)
            losses.append(side[name]())
        seen.add(losses[0])
        if levels.max() < 0.5:
            assert losses[0] == pytest.approx(losses[1], rel=tolerance), f"{name}, update {update}"
            assert game.strongest == other.strongest
            compared.append(update)
    assert len(seen) == 20  # the game moves
    assert len(compared) == 20 if dtype is torch.float64 else len(compared) > 10


def test_a_stack_of_models_has_the_gradients_that_they_have_alone() -> None:
    models, clips, labels = list(ours(SMALL).players.budget.double()), SMALL.clips().double(), torch.tensor([3, 5])
    stacked = Stacked(models)
    stacked.backward(clips, labels)
    one_by_one(models, clips, labels)
    for name, weights in stacked.weights.items():
        for k, model in enumerate(models):
            torch.testing.assert_close(weights.grad[k], model.get_parameter(name).grad)


def test_a_section_that_was_not_measured_again_keeps_its_figures() -> None:
    def measured(section: str, figure: float) -> Measured:
        return Measured(section, (Row("a step", "CPU s", figure, "another", 3.0, 3.0 / figure),), "make bench", 3, 1, 0.0)

    page = markdown([measured("training", 1.5), measured("footprint", 7.25)], "")
    assert "| a step | CPU s | 1.5 | another | 3 | 2 |" in page
    assert page.count("*not measured*") == len(SECTIONS) - 2
    renewed = markdown([measured("training", 2.5)], page)
    parts = {part.partition("\n")[0]: part for part in renewed.split("## ")}
    assert "| 2.5 |" in parts["Training"] and "| 7.25 |" in parts["Footprint"]
    assert renewed.count("| a step |") == 2 and "*not measured*" in parts["Extraction"]
    assert markdown([measured("training", 2.5)], renewed) == renewed


def test_growth_says_with_what_power_time_grows() -> None:
    line = [[Point("attack", Size(attackers=n), Spent(None, cpu, 1.0, 500.0))] for n, cpu in ((4, 3.0), (8, 5.0), (16, 12.0))]
    time_, memory = _rows("attackers", line)
    assert (time_.ours, time_.theirs, time_.other) == (3.0, 12.0, "time grows with the power 1.00")
    assert "4 to 16 attackers" in time_.what and (memory.ours, memory.theirs) == (500.0, 500.0)


@pytest.mark.parametrize("size", [Size(), Size(takes=4), Size(models=4), Size(attackers=16)])
def test_a_larger_run_is_the_smoke_run_with_more_of_one_thing(size: Size) -> None:
    config = _config(size)
    assert config.extract_frames.synthetic.train_takes == size.takes
    assert (len(config.pretrain_budget.readers), len(config.attack.attackers)) == (size.models, size.attackers)


def test_work_in_a_process_of_its_own_is_weighed_there() -> None:
    small, large = (apart(np.ones, size) for size in (1, 40 << 20))  # 335 MB, all of it touched
    assert large.memory - small.memory > 300 and small.memory < 200, (small.memory, large.memory)
    assert large.cpu < 30 and large.wall > 0


def busy_workers(numbers: int) -> None:
    with worker_pool(2) as pool:
        list(pool.map(sum, [range(numbers)] * 2))


def test_apart_counts_what_workers_take() -> None:
    """Forked from a process that has loaded numpy, so that no import is among it."""
    least, most = (apart(busy_workers, numbers, loaded=["numpy"]) for numbers in (1, 30_000_000))
    assert least.cpu < 0.5 < most.cpu - least.cpu and least.memory > 20, (least, most)
