"""A K-beam round's steps at the paper's sizes, ours against the straightforward port from the same weights."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.measure import CLOCKS, Clock, Cost, Row, Work, compared, cost, median, paired, rates, total
from benchmarks.stacked import Stacked, one_by_one
from privadv.algorithms.base import Batch, Feeds, Players
from privadv.algorithms.kbeam import KBeam, KBeamConfig
from privadv.console import progress
from privadv.memory import give_freed_memory_back, keep_freed_memory
from privadv.models.clip import C3D
from privadv.models.degradation import TransformNet
from privadv.models.frame import MobileNet
from privadv.models.reader import ReaderSpec

SEED_SECONDS = {"max": 17.6, "min": 9.7, "target": 43.2}
"""CPU seconds of the seed's own TensorFlow 1.8 code on two cores: K = 4, batch 2, 16 x 112 x 112, float32."""

SIDE = 2000
PRODUCT = 2 * SIDE**3 / 1e9
"""GFLOP of a float32 matrix product of SIDE x SIDE."""

SEED_MATMUL = 0.19
"""Wall seconds of a 2000 x 2000 float32 matrix product on the machine of SEED_SECONDS."""

SCHEDULE = KBeamConfig()
STEPS = {"max": "filter max step", "min": "budget min step", "target": "target step"}
UPDATES = {"max": SCHEDULE.max_steps, "min": SCHEDULE.min_steps, "target": SCHEDULE.target_steps}
"""Of a K-beam round as the paper schedules it, unless a bar ends a phase early."""
STACKING = "gradients of the budget models, one after the other"
ACTIONS, PEOPLE = 8, 13


@dataclass(frozen=True)
class Sizes:
    """What both sides build: K budget models, clips (batch, 3, T, H, W), the networks' widths, the learning rates."""

    k: int = 4
    batch: int = 2
    clip: tuple[int, int, int] = (16, 112, 112)
    filter_width: int = 32
    blocks: int = 5
    target_width: int = 64
    dense: int = 4096
    budget_width: float = 0.6
    rates: plain.Rates = (1e-4, 1e-2, 1e-5)

    def c3d(self) -> ReaderSpec:
        return ReaderSpec(network=C3D(width=self.target_width, dense=self.dense, size=self.clip))

    def mobilenet(self) -> ReaderSpec:
        return ReaderSpec(network=MobileNet(width=self.budget_width))

    def clips(self) -> Tensor:
        """The same noise each time."""
        return torch.rand(self.batch, 3, *self.clip, generator=torch.Generator().manual_seed(1))


PAPER = Sizes()


class Fixed(Feeds):
    """One batch for ever, so that both sides see the same clips."""

    shared = True

    def __init__(self, clips: Tensor) -> None:
        self.clips = clips
        self.labels = torch.arange(len(clips), device=clips.device)

    def target(self) -> Batch:
        return self.clips, self.labels % ACTIONS

    def budget(self) -> Batch:
        return self.clips, self.labels % PEOPLE

    def validation(self) -> Iterator[Batch]:
        yield self.target()


def rows(repetitions: int) -> list[Row]:
    """Each step against the port and the seed's code; the matrix product of this machine beside that of the seed's."""
    matmul = _matmul(repetitions)
    game = ours(PAPER)
    feeds = Fixed(PAPER.clips())
    mine, theirs = steps(game, feeds), plain_steps(port(game, PAPER), feeds)
    found, costs = [], {}
    with progress("training", len(STEPS) + 3) as bar:
        for name, what in STEPS.items():
            costs[name] = pairs = paired(
                settled(mine[name], keep_freed_memory), settled(theirs[name], give_freed_memory_back), repetitions
            )
            mine_cpu = statistics.median(own.cpu for own, _ in pairs)
            seed = SEED_SECONDS[name]
            found += compared(what, "plain PyTorch", pairs)
            found.append(Row(what, "CPU s", mine_cpu, "the seed's code, its machine", seed, seed / mine_cpu))
            for how, pace in _paces(matmul).items():
                other = f"that at our matmul's pace, {how}"
                found.append(Row(what, "CPU s", mine_cpu, other, seed * pace, seed * pace / mine_cpu))
            own, product = flops(mine[name]) / 1e9 / mine_cpu, PRODUCT / matmul.cpu
            found.append(Row(what, "GFLOP/CPU s", own, "float32 matmul", product, own / product))
            bar.advance(1)
        found += [*of_a_round(costs, PAPER, "cpu"), *of_a_round(costs, PAPER, "wall")]
        keep_freed_memory()
        found += compared(STACKING, "stacked, by vmap", paired(*stacking(game, feeds), repetitions))
        bar.advance(1)
        found += _matmul_rows(matmul)
        bar.advance(1)
        found += _ceiling(repetitions)
        bar.advance(1)
    return found


def of_a_round(
    costs: Mapping[str, list[tuple[Cost, Cost]]], sizes: Sizes, clock: Clock, other: str = "plain PyTorch", how: str = ""
) -> list[Row]:
    """Clips and rounds a second that UPDATES come to, if each costs what was measured of one."""
    whole = [
        [total([pair[side].over(1 / UPDATES[name]) for name, pair in zip(costs, turn, strict=True)]) for side in (0, 1)]
        for turn in zip(*costs.values(), strict=True)
    ]
    pairs = [(own, theirs) for own, theirs in whole]
    clips = sizes.batch * sum(UPDATES.values())
    what = f"round of {', '.join(f'{count} {name}' for name, count in UPDATES.items())} steps, K = {sizes.k}{how}"
    every = ((f"clips/{CLOCKS[clock]}", clips), (f"rounds/1000 {CLOCKS[clock]}", 1000))
    return [rates(what, unit, pairs, clock, work, other, work) for unit, work in every]


def settled(work: Work, memory: Callable[[], None]) -> Work:
    """``work`` as it goes on under a policy of memory: the other side's leaves its pages behind, or none."""

    def twice() -> Cost:
        memory()
        work()
        return cost(work)

    return twice


def ours(sizes: Sizes, device: str = "cpu") -> KBeam:
    """The project's K-beam."""
    torch.manual_seed(0)
    budget = nn.ModuleList(sizes.mobilenet().build(PEOPLE) for _ in range(sizes.k))
    filter_ = TransformNet(width=sizes.filter_width, blocks=sizes.blocks).build()
    players = Players(filter_, sizes.c3d().build(ACTIONS), budget)
    for module in (players.degradation, players.target, players.budget):
        module.to(device)
    lr_max, lr_min, lr_target = sizes.rates
    config = KBeamConfig(
        max_steps=1, min_steps=1, target_steps=1, budget_bar=2, lr_max=lr_max, lr_min=lr_min, lr_target=lr_target
    )
    return KBeam(config, players)


def port(game: KBeam, sizes: Sizes, device: str = "cpu") -> plain.Game:
    """The port with the weights of ``game``."""
    convolved = next(one for one in game.players.target.modules() if isinstance(one, nn.Linear)).in_features
    filter_ = plain.Filter(sizes.filter_width, sizes.blocks)
    target = plain.C3D(ACTIONS, sizes.target_width, sizes.dense, convolved)
    budget = [plain.MobileNet(PEOPLE, sizes.budget_width) for _ in range(sizes.k)]
    for module in (filter_, target, *budget):
        module.to(device, next(game.players.degradation.parameters()).dtype)
    copy = plain.Game(filter_, target, budget, sizes.rates)
    take(copy, game)
    return copy


@torch.no_grad()
def take(copy: plain.Game, game: KBeam) -> None:
    """Copy the weights and running statistics of ``game`` in their order: both sides list them alike."""
    originals = (game.players.degradation, game.players.target, *game.players.budget)
    for module, original in zip((copy.filter, copy.target, *copy.budget), originals, strict=True):
        pairs = (zip(mine(), its(), strict=True) for mine, its in
                 ((module.parameters, original.parameters), (module.buffers, original.buffers)))
        for mine, its in itertools.chain(*pairs):
            mine.copy_(its)


def steps(game: KBeam, feeds: Feeds) -> dict[str, Callable[[], object]]:
    """One update of each phase of ours, without the measurements of validation around the target's."""
    return {
        "max": lambda: game._max(feeds)["degradation_fool"],
        "min": lambda: game._min(feeds)["budget_loss_min"],
        "target": lambda: game.target_update(feeds).item(),
    }


def plain_steps(game: plain.Game, feeds: Feeds) -> dict[str, Callable[[], object]]:
    """The same of the port."""
    return {
        "max": lambda: game.max_step(*feeds.budget()),
        "min": lambda: min(game.min_step(*feeds.budget())),
        "target": lambda: game.target_step(*feeds.target()),
    }


def stacking(game: KBeam, feeds: Feeds) -> tuple[Work, Work]:
    """The gradients of all budget models on a batch: as the algorithms compute them, and of their stack."""
    clips, labels = feeds.budget()
    stacked = Stacked(list(game.players.budget))
    return (
        lambda: one_by_one(list(game.players.budget), clips, labels),
        lambda: stacked.backward(clips, labels),
    )


def _matmul(repetitions: int) -> Cost:
    square = torch.rand(SIDE, SIDE)
    return median(lambda: square @ square, max(5, repetitions))


def _matmul_rows(one: Cost) -> list[Row]:
    what = "2000x2000 float32 matmul"
    wall = Row(what, "wall s", one.wall, "the seed's machine", SEED_MATMUL, SEED_MATMUL / one.wall)
    return [Row(what, "CPU s", one.cpu), wall]


def _paces(one: Cost) -> dict[str, float]:
    """CPU seconds here for one of the seed's machine, by the matrix product: on how many threads it ran there is not known."""
    return {f"if that took {threads}": one.cpu / (count * SEED_MATMUL) for threads, count in (("1 thread", 1), ("2 threads", 2))}


def _ceiling(repetitions: int) -> list[Row]:
    """How much of a matrix product's rate a learning step of C3D reaches, by CPU seconds; and of the same product as a
    convolution, which is another library's, as C3D's are.
    """
    square, reader, clips = torch.rand(SIDE, SIDE), PAPER.c3d().build(ACTIONS), PAPER.clips()
    pixels, weights = square.view(1, SIDE, 40, 50), square.view(SIDE, SIDE, 1, 1)
    keep_freed_memory()

    def learn() -> None:
        reader(clips).sum().backward()

    return [
        rates("C3D forward and backward", "GFLOP/CPU s",
              paired(learn, plain_product, repetitions), "cpu", flops(learn) / 1e9, name, PRODUCT)
        for name, plain_product in (
            ("float32 matmul", lambda: square @ square),
            ("the same as a 1x1 convolution", lambda: torch.conv2d(pixels, weights)),
        )
    ]  # fmt: skip


def flops(work: Work) -> float:
    """Floating-point operations of matrix products and convolutions that a call takes, its backward pass among them."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
