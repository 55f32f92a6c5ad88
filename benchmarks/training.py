"""A K-beam round's steps at the paper's sizes, ours against the straightforward port from the same weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.measure import Row, alone, faster, paired
from privadv.algorithms.base import Batch, Feeds, Players
from privadv.algorithms.kbeam import KBeam, KBeamConfig
from privadv.models.clip import C3D
from privadv.models.degradation import TransformNet
from privadv.models.frame import MobileNet
from privadv.models.reader import ReaderSpec

SEED_SECONDS = {"max": 8.9, "min": 5.2, "target": 23.2}
"""The seed's own TensorFlow 1.8 code on two such CPU cores: K = 4, batch 2, 16 x 112 x 112, float32."""

SEED_MATMUL = 0.19
"""Seconds of a 2000 x 2000 float32 matrix product on the machine of SEED_SECONDS."""

K, BATCH, CLIP = 4, 2, (3, 16, 112, 112)


class Fixed(Feeds):
    """One batch for ever, so that both sides see the same clips."""

    shared = True

    def __init__(self, clips: Tensor) -> None:
        self.clips = clips
        self.labels = torch.arange(len(clips), device=clips.device)

    def target(self) -> Batch:
        return self.clips, self.labels % 8

    def budget(self) -> Batch:
        return self.clips, self.labels % 13

    def validation(self) -> Iterator[Batch]:
        yield self.target()


def ours(device: str = "cpu") -> KBeam:
    """The project's K-beam at the paper's sizes."""
    torch.manual_seed(0)
    budget = nn.ModuleList(ReaderSpec(network=MobileNet(width=0.6)).build(13) for _ in range(K))
    players = Players(TransformNet().build(), ReaderSpec(network=C3D()).build(8), budget)
    for module in (players.degradation, players.target, players.budget):
        module.to(device)
    return KBeam(KBeamConfig(max_steps=1, min_steps=1, target_steps=1, budget_bar=2, target_bar=2), players)


def port(game: KBeam, device: str = "cpu") -> plain.Game:
    """The port with the weights of ``game``."""
    filter_, target = plain.Filter().to(device), plain.C3D(8).to(device)
    budget = [plain.MobileNet(13).to(device) for _ in range(K)]
    copies = [
        (filter_, game.players.degradation),
        (target, game.players.target),
        *zip(budget, game.players.budget, strict=True),
    ]
    for copy, original in copies:
        take(copy, original)
    return plain.Game(filter_, target, budget)


@torch.no_grad()
def take(copy: nn.Module, original: nn.Module) -> None:
    """Copy parameters in their order: both sides list them alike."""
    for mine, its in zip(copy.parameters(), original.parameters(), strict=True):
        mine.copy_(its)


def steps(game: KBeam, feeds: Feeds) -> dict[str, object]:
    """One step of each phase, by name."""
    return {
        "max": lambda: game._max(feeds),
        "min": lambda: game._min(feeds),
        "target": lambda: target_step(game, feeds),
    }


def target_step(game: KBeam, feeds: Feeds) -> None:
    """The target phase's one update, without the measurements of validation around it."""
    game.target_update(feeds)


def rows(repeats: int = 5) -> list[Row]:
    """CPU rows: each step against the port, the seed's own code, and the machine's matrix product."""
    game = ours()
    other, feeds = port(game), Fixed(torch.rand(BATCH, *CLIP, generator=torch.Generator().manual_seed(1)))
    clips, (_, labels), (_, private) = feeds.clips, feeds.target(), feeds.budget()
    theirs = {
        "max": lambda: other.max_step(clips, private),
        "min": lambda: other.min_step(clips, private),
        "target": lambda: other.target_step(clips, labels),
    }
    found = []
    for name, work in steps(game, feeds).items():
        row = faster(
            "training",
            f"K-beam {name} step, K = {K}",
            work,
            "plain port",
            theirs[name],
            BATCH,
            "clips/s",
            ">= 1",
            repeats,
        )  # type: ignore[arg-type]
        seconds = BATCH / row.ours
        found += [
            row,
            Row(
                "training",
                f"K-beam {name} step, seconds",
                seconds,
                "the seed's code",
                SEED_SECONDS[name],
                "s",
                SEED_SECONDS[name] / seconds,
                ">= 2",
            ),
        ]
    return [*found, *_matmul(repeats)]


def _matmul(repeats: int) -> list[Row]:
    """How much of the machine's matrix product rate the C3D step reaches."""
    square = torch.rand(2000, 2000)
    reader = ReaderSpec(network=C3D()).build(8)
    clips = torch.rand(BATCH, *CLIP)

    def learn() -> None:
        reader(clips).sum().backward()

    step, product, _ = paired(learn, lambda: square @ square, repeats)
    rate = BATCH * 3 * c3d_flops() / step
    ceiling = 2 * 2000**3 / product
    return [
        Row(
            "training",
            "C3D forward and backward",
            rate / 1e9,
            "float32 matmul",
            ceiling / 1e9,
            "GFLOP/s",
            rate / ceiling,
            ">= 0.75",
        ),
        alone("training", "2000 x 2000 float32 matmul (the seed's machine: 0.19)", product, "s"),
    ]


def c3d_flops() -> float:
    """Floating-point operations of one clip's forward pass through C3D at 16 x 112 x 112."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ReaderSpec(network=C3D()).build(8)(torch.rand(1, *CLIP))
    return counter.get_total_flops()
