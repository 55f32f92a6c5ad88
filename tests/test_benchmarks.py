"""What the benchmark compares with does the same work: the plain port plays the same game."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import extraction, plain
from benchmarks.__main__ import SECTIONS
from benchmarks.growth import Point, Size, _config, _rows
from benchmarks.measure import Cost, Row, Work
from benchmarks.processes import Spent, apart
from benchmarks.report import Measured, markdown
from benchmarks.stacked import Stacked, one_by_one
from benchmarks.training import STEPS, Fixed, Sizes, of_a_round, ours, plain_steps, port, steps, take
from privadv.algorithms.kbeam import KBeam
from privadv.data.workers import worker_pool

SMALL = Sizes(k=2, clip=(4, 32, 32), filter_width=4, blocks=1, target_width=8, dense=16, budget_width=0.25,
              rates=(1e-4, 1e-2, 1e-3))


def test_the_first_twenty_updates_are_those_of_the_plain_port() -> None:
    """In 64 bit two games from the same weights stay one, rounding to 8 bit and all."""
    game, other, mine, theirs = both(SMALL, torch.float64)
    seen = set()
    for update in range(20):
        name = list(STEPS)[update % len(STEPS)]
        losses = updated(name, update, mine, theirs)
        assert losses[0] == pytest.approx(losses[1], rel=1e-7), f"{name}, update {update}"
        assert game.strongest == other.strongest
        seen.add(losses[0])
    assert len(seen) == 20  # the game moves


def test_in_32_bit_twenty_updates_of_filter_and_target_stay_those_of_the_plain_port(unrounded: None) -> None:
    """Each side goes on from its own weights."""
    _, _, mine, theirs = both(replace(SMALL, rates=(1e-4, 1e-2, 3e-4)), torch.float32)
    for update in range(20):
        ours_, other = updated("target", update, mine, theirs)
        assert ours_ == pytest.approx(other, rel=1e-4), f"update {update}"


def test_in_32_bit_every_update_has_the_loss_of_the_plain_port(unrounded: None) -> None:
    """Each begins with our weights: Adam and the batch norms of two clips turn a last bit into a step, so that budget models part
    in a few updates, the port's own on one thread and on two as well. They learn slowly: a loss near 0, the small difference of
    large logits, would have their last bits.
    """
    game, other, mine, theirs = both(replace(SMALL, rates=(1e-4, 1e-4, 1e-3)), torch.float32)
    for update in range(20):
        name = list(STEPS)[update % len(STEPS)]
        take(other, game)
        losses = updated(name, update, mine, theirs)
        assert losses[0] == pytest.approx(losses[1], rel=1e-4), f"{name}, update {update}"


def test_in_32_bit_every_update_has_the_gradients_of_the_plain_port(unrounded: None) -> None:
    """But where a last bit switches a ReLU, which on some processors happens in more than half of a phase's updates."""
    game, other, mine, theirs = both(SMALL, torch.float32)
    apart_by: dict[str, list[float]] = {name: [] for name in STEPS}
    for update in range(20):
        name = list(STEPS)[update % len(STEPS)]
        take(other, game)
        updated(name, update, mine, theirs)
        for own, one in learners(name, game, other):
            apart_by[name].append(float(gradient(own).sub(gradient(one)).norm() / gradient(one).norm()))
    assert all(np.quantile(each, 0.25) < 1e-3 and max(each) < 0.5 for each in apart_by.values()), apart_by


def test_in_32_bit_a_release_seldom_falls_to_the_other_side_of_a_grey_level() -> None:
    game, other, *_ = both(SMALL, torch.float32)
    levels = 255 * (game.players.degradation(SMALL.clips()) - other.filter(SMALL.clips())).abs()
    assert levels.max() < 1.01 and (levels > 0.5).float().mean() < 1e-3


@pytest.fixture
def unrounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases that are not rounded to 8 bit, on either side: a pixel that falls to the other side is another input."""
    monkeypatch.setattr(torch.Tensor, "round", lambda given: given)


def both(sizes: Sizes, dtype: torch.dtype) -> tuple[KBeam, plain.Game, dict[str, Work], dict[str, Work]]:
    """Two games from the same weights, and their steps."""
    game, feeds = ours(sizes), Fixed(sizes.clips().to(dtype))
    for module in (game.players.degradation, game.players.target, game.players.budget):
        module.to(dtype)
    other = port(game, sizes)
    return game, other, steps(game, feeds), plain_steps(other, feeds)


def updated(name: str, seed: int, *sides: dict[str, Work]) -> list[Any]:
    """The loss of one update on each side, with the same dropout."""
    losses = []
    for side in sides:
        torch.manual_seed(seed)
        losses.append(side[name]())
    return losses


def learners(name: str, game: KBeam, other: plain.Game) -> Iterable[tuple[nn.Module, nn.Module]]:
    """Who moves in a step."""
    players = game.players
    if name == "min":
        return zip(players.budget, other.budget, strict=True)
    return [(players.degradation, other.filter), *([(players.target, other.target)] if name == "target" else [])]


def gradient(module: nn.Module) -> torch.Tensor:
    return torch.cat([weights.grad.flatten() for weights in module.parameters() if weights.grad is not None])


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
    assert "| a step | CPU s | 1.50 | another | 3 | 2 |" in page
    assert page.count("*not measured*") == len(SECTIONS) - 2
    renewed = markdown([measured("training", 2.5)], page)
    parts = {part.partition("\n")[0]: part for part in renewed.split("## ")}
    assert "| 2.50 |" in parts["Training"] and "| 7.25 |" in parts["Footprint"]
    assert renewed.count("| a step |") == 2 and "*not measured*" in parts["Extraction"]
    assert markdown([measured("training", 2.5)], renewed) == renewed


def test_a_round_is_as_many_updates_as_the_paper_schedules() -> None:
    second = [(Cost(1.0, 1.0), Cost(2.0, 2.0))]
    costs = {"max": second, "min": [(Cost(0.5, 0.1), Cost(1.0, 0.3))], "target": [(Cost(2.0, 2.0), Cost(3.0, 4.0))]}
    clips, rounds = of_a_round(costs, Sizes(batch=2), "wall")
    assert clips.ours == pytest.approx(2 * 260 / (30 * 1 + 200 * 0.1 + 30 * 2))
    assert clips.ratio == pytest.approx((30 * 2 + 200 * 0.3 + 30 * 4) / 110)
    assert rounds.ours == pytest.approx(1000 / 110) and "30 max, 200 min, 30 target" in rounds.what


def test_a_package_that_is_not_there_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "DECODERS", Path("nowhere/bin/python"))
    monkeypatch.setattr(extraction, "count_frames", lambda path: 60)
    monkeypatch.setattr(extraction, "paired", lambda *_: [(Cost(1, 1), Cost(1, 1))])
    notes = {row.other: row.note for row in extraction._ways("a video", Path("a.mp4"), 1)}
    assert notes["ffmpeg command"] == "" and notes["decord"] == "not measured: decord is not installed in nowhere"
    assert set(notes) == {*extraction.OTHERS, "ffmpeg command"}


def test_scattered_frames_are_sixteen_at_uneven_distances() -> None:
    wanted = extraction.scattered(60)
    assert len(set(wanted)) == 16 and wanted == sorted(wanted) and set(wanted) < set(range(60))
    assert len(set(np.diff(wanted))) > 3


ON_A_GPU = '''
import sys
from dataclasses import replace

class Without:
    """A finder of modules and of packages' versions that knows nothing of some."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *where):
        return None if name.partition(".")[0] in {forbidden} else self.finder.find_spec(name, *where)

    def find_distributions(self, context):
        return () if context.name in {forbidden} else getattr(self.finder, "find_distributions", lambda _: ())(context)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import gc
import torch._dynamo, torch.utils.flop_counter
from benchmarks import gpu
from benchmarks.__main__ import main
gc.freeze()  # else every measurement looks through all of torch first
gpu.SIZES, gpu.SQUARE, gpu.DEVICE = replace(gpu.SIZES, **{sizes}), 8, "cpu"
gpu.captured = lambda work: work
gpu.here = lambda: True
torch.cuda.synchronize = lambda: None
torch.cuda.get_device_name = lambda: "a GPU"
sys.exit(main(["--only", "gpu", "--repetitions", "1", "--threads", "1", "--output", sys.argv[1]]))
'''


def test_the_gpu_s_rows_need_nothing_but_torch_and_what_the_models_import(tmp_path: Path) -> None:
    """On the CPU, in small."""
    forbidden = ("av", "PIL", "docker", "kfp", "kubernetes", "matplotlib", "minio", "mlflow", "onnx", "pandas", "psutil",
                 "safetensors", "skimage", "sklearn", "scipy", "torchvision", "typer")
    sizes = {"k": 2, "batch": 2, "clip": (2, 32, 32), "filter_width": 4, "blocks": 1, "target_width": 8, "dense": 16,
             "budget_width": 0.25}
    script = ON_A_GPU.replace("{forbidden}", repr(forbidden)).replace("{sizes}", repr(sizes))
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "page.md")], check=True, stdout=subprocess.DEVNULL)
    page = (tmp_path / "page.md").read_text()
    figures = page.split("## GPU")[1]
    assert "not measured" not in figures and ", av " not in figures and "a GPU, CUDA" in figures
    for what in ("target step, bfloat16", "K = 2, tf32 | clips/wall s", "TFLOP/s", "in a CUDA graph", "stacked, by vmap"):
        assert what in figures


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
