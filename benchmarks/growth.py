"""What every stage takes, in seconds and memory, as clips, budget models and attackers grow in number; with a figure."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks import one_stage
from benchmarks.evaluation import a_store
from benchmarks.measure import Row
from benchmarks.processes import Spent, apart
from privadv.console import progress
from privadv.plan import settled
from privadv.run_config import RunConfig
from privadv.stages.stage import LOADED

CONFIG, FIGURE = Path("configs/smoke.yaml"), Path("docs/images/growth.png")
AXES = {"takes": "clips", "models": "budget models K", "attackers": "attackers N"}
TIMES = (1, 2, 4)
REPEATED = False
OPTIMIZING = ("torch._dynamo",)  # which an optimizer's first step imports
DRAWING = ("matplotlib.figure", "matplotlib.backends.backend_agg")
LATE = {"pretrain_degradation": OPTIMIZING, "train_adversarial": OPTIMIZING, "report": DRAWING}
"""What a stage imports only as it works, which is no work of its own."""
CONCERNED = {"models": ("pretrain_budget", "train_adversarial"), "attackers": ("attack", "report")}
"""The stages whose work an axis is; clips are everybody's."""


@dataclass(frozen=True)
class Size:
    """``takes`` of 104 videos in every split, K budget models, N attackers of the filter's row."""

    takes: int = 1
    models: int = 1
    attackers: int = 4

    def of(self, axis: str) -> int:
        return 3 * 104 * self.takes if axis == "takes" else getattr(self, axis)


@dataclass(frozen=True)
class Point:
    """A stage at a size."""

    stage: str
    size: Size
    spent: Spent


def rows(repetitions: int) -> list[Row]:
    """Each stage at 1, 2 and 4 times the clips, the budget models and the attackers, once each; draws the figure too."""
    sizes = {axis: [Size(**{axis: times * getattr(Size(), axis)}) for times in TIMES] for axis in AXES}
    every = list(dict.fromkeys(size for line in sizes.values() for size in line))
    with progress("growth", len(every)) as bar:
        measured: dict[Size, list[Point]] = {}
        for size in every:
            measured[size] = list(_stages(size))
            bar.advance(1)
    lines = {axis: [measured[size] for size in line] for axis, line in sizes.items()}
    _draw(lines)
    return [row for axis, line in lines.items() for row in _rows(axis, line)]


def _rows(axis: str, line: list[list[Point]]) -> Iterator[Row]:
    """The least and the largest size of each stage that works on them, and how time grows: the exponent between the two."""
    for least, *_, most in zip(*line, strict=True):
        if axis != "takes" and least.stage not in CONCERNED[axis]:
            continue
        grown = most.size.of(axis) / least.size.of(axis)
        exponent = math.log(most.spent.cpu / least.spent.cpu) / math.log(grown)
        what = f"{least.stage}, {least.size.of(axis)} to {most.size.of(axis)} {AXES[axis]}"
        note = f"time grows with the power {exponent:.2f}"
        yield Row(what, "CPU s", least.spent.cpu, note, most.spent.cpu)
        yield Row(what, "peak MB", least.spent.memory, "", most.spent.memory)


def _stages(size: Size) -> Iterator[Point]:
    """Every stage in a process of its own, on what the one before it made; the videos are generated beforehand."""
    config = _config(size)
    with (
        tempfile.TemporaryDirectory(prefix="privadv-bench-") as folder,
        patch.dict("os.environ", {"PRIVADV_WORKSPACE": folder}),
        a_store(Path(folder) / "s3"),
    ):

        def stage(name: str, **given: Any) -> Point:
            loaded = (*LOADED.get(name, ()), *LATE.get(name, ()))
            return Point(name, size, apart(one_stage.run, name, getattr(config, name), given, loaded=loaded))

        stage("extract_frames")  # generates the videos
        yield (extracted := stage("extract_frames"))
        begun = {"clips": extracted.spent.result, "seed": 0}
        yield (filter_ := stage("pretrain_degradation", **begun))
        begun["degradation"] = filter_.spent.result
        yield (target := stage("pretrain_target", **begun))
        yield (budget := stage("pretrain_budget", **begun))
        yield (game := stage("train_adversarial", **begun, target=target.spent.result, budget=budget.spent.result))
        raw = stage("render", row="raw", clips=begun["clips"], seed=0).spent.result
        yield (shown := stage("render", row="filter", clips=begun["clips"], seed=0, game=game.spent.result))
        warm = stage("attack", row="raw", clips=raw, seed=0).spent.result
        filtered = shown.spent.result
        yield (attacked := stage("attack", row="filter", clips=filtered, seed=0, warm=warm, raw=raw))
        results, learnt = (warm, attacked.spent.result), {**begun, "target": target.spent.result, "budget": budget.spent.result}
        yield stage("report", **learnt, game=game.spent.result, filtered_clips=(filtered,), results=results,
                    configuration=settled(config))


def _config(size: Size) -> RunConfig:
    """The smoke run with more of everything: 20 rounds, 60 updates a reader, one pass over the clips where a stage makes one."""
    data = RunConfig.load(CONFIG).model_dump(mode="json")
    data["extract_frames"]["synthetic"] |= {f"{split}_takes": size.takes for split in ("train", "val", "test")}
    data["pretrain_degradation"]["steps"] = 60
    fit = {"steps": 60, "every": 30}
    data["pretrain_target"]["fit"] |= fit
    data["pretrain_budget"] |= {"readers": [data["pretrain_budget"]["readers"][1]] * size.models, "fit": fit}
    data["train_adversarial"]["algorithm"] |= {"rounds": 20, "min_steps": 4}
    reader = {"network": {"kind": "resnet", "width": 4}, "input": "plain"}
    others = [{"kind": "inception", "width": 8}, {"kind": "densenet", "growth": 4, "layers": 1}, {"kind": "resnet", "width": 4}]
    suite = [{"reader": reader | {"network": {"kind": "r2plus1d", "width": 4}}}]
    for treatment in ("plain", "standardised", "adaptive", "temporal", "local"):
        suite += [{"reader": {"network": network, "input": treatment}} for network in others]
    data["attack"] |= {"attackers": suite[: size.attackers], "seen": ["resnet"], "finals": None, "fit": fit, "raw_fit": fit}
    return RunConfig.parse(data, "growth")


def _draw(lines: dict[str, list[list[Point]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure((11, 6), layout="constrained")
    axes = figure.subplots(2, len(lines), sharex="col")
    for column, (axis, line) in enumerate(lines.items()):
        for points in zip(*line, strict=True):
            sizes = [point.size.of(axis) for point in points]
            for place, values in ((0, [one.spent.cpu for one in points]), (1, [one.spent.memory for one in points])):
                axes[place, column].plot(sizes, values, marker="o", label=points[0].stage)
        for place, unit in ((0, "CPU seconds"), (1, "peak MB of a process")):
            axes[place, column].set(ylim=(0, None), ylabel=unit if column == 0 else "")
            axes[place, column].grid(alpha=0.3)
        axes[1, column].set(xlabel=AXES[axis], xlim=(0, None))
    axes[1, 0].legend(fontsize=7, loc="center", ncols=2)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=110)
