"""A whole run: one section a stage, complete in one YAML file."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import pydantic
import torch

from privadv.cluster import Cluster
from privadv.config import Section, Seed, load_yaml
from privadv.errors import PrivadvError
from privadv.evaluation.rows import MOVING
from privadv.evaluation.variants import check
from privadv.models.checkpoint import FilterSpec
from privadv.models.reader import Network
from privadv.stages.attack import Config as Attack
from privadv.stages.extract_frames import Config as ExtractFrames
from privadv.stages.pretrain_budget import Config as PretrainBudget
from privadv.stages.pretrain_degradation import Config as PretrainDegradation
from privadv.stages.pretrain_target import Config as PretrainTarget
from privadv.stages.render import Config as Render
from privadv.stages.report import Config as Report
from privadv.stages.selection import SELECTABLE
from privadv.stages.train_adversarial import Config as TrainAdversarial

CLASSES = 3
Shape = tuple[int, ...]


class RunConfig(Section):
    """The run ``name``; ``rows`` are evaluated besides raw and filter. Every random draw after extraction follows ``seed``, but
    for the noise of baselines and controls, which are rendered once for all seeds.

    ``fan_out``: one task attacks a row with the whole suite, or every attacker is a task of its own; the results are the
    same, up to the rounding of sums where the fits of a task share its CPU threads. ``cluster`` says where a cluster runs
    the stages, and nothing of what they compute.
    """

    name: str = pydantic.Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    seed: Seed = 0
    rows: tuple[str, ...] = ("raw", "filter", "gray", "framediff")
    extract_frames: ExtractFrames = ExtractFrames()
    pretrain_degradation: PretrainDegradation = PretrainDegradation()
    pretrain_target: PretrainTarget = PretrainTarget()
    pretrain_budget: PretrainBudget = PretrainBudget()
    train_adversarial: TrainAdversarial = TrainAdversarial()
    render: Render = Render()
    attack: Attack
    report: Report = Report()
    fan_out: Literal["row", "attacker"] = "row"
    cluster: Cluster = Cluster()

    @classmethod
    def load(cls, path: Path) -> RunConfig:
        """The run of a YAML file; raises PrivadvError in one line for anything that is wrong in it."""
        return cls.parse(load_yaml(path), str(path))

    @pydantic.model_validator(mode="after")
    def _numbers_are_finite(self) -> Self:
        if endless := _endless(self.model_dump()):
            raise ValueError(f"key '{endless}' is no finite number: write one")
        return self

    @pydantic.model_validator(mode="after")
    def _rows_exist(self) -> Self:
        if len(set(self.rows)) < len(self.rows):
            raise ValueError(f"rows {list(self.rows)} name one twice")
        for row in self.rows:
            try:
                check(row)
            except PrivadvError as error:
                raise ValueError(str(error)) from None
        return self

    @pydantic.model_validator(mode="after")
    def _the_suite_knows_the_rows(self) -> Self:
        # What stands there without being asked for is no mistake of a run that has fewer rows.
        known = {*self.rows, *Attack.model_fields["full_rows"].default}
        for key in ("full_rows", "chosen"):
            strangers = [row for row in getattr(self.attack, key) if row not in known]
            if strangers:
                raise ValueError(f"attack.{key} names {strangers}, no rows of this run: it has {', '.join(self.rows)}")
        return self

    @pydantic.model_validator(mode="after")
    def _stills_say_what_videos_would(self) -> Self:
        clips = self.extract_frames.private or self.extract_frames
        if not (clips.frames == 1 or SELECTABLE[clips.dataset].still):
            return self
        where = f"{'private' if self.extract_frames.private else 'extract_frames'} ({clips.dataset})"
        why = f"live on what moves, but {where} has single frames: nothing would leak there alone"
        moving = [row for row in self.rows if row.partition(":")[0] in MOVING or row in MOVING]
        if moving:
            raise ValueError(f"rows {moving} {why}: leave them out")
        if getattr(self.pretrain_degradation.network, "motion", False):
            raise ValueError(f"filters with pretrain_degradation.network.motion {why}: set motion: false, appearance: true")
        return self

    @pydantic.model_validator(mode="after")
    def _a_rate_has_noise(self) -> Self:
        rate = getattr(self.train_adversarial.algorithm, "rate", 0)
        shipped = self.train_adversarial.release or self.pretrain_degradation.network.release
        if rate and not shipped.noise:
            raise ValueError("train_adversarial.algorithm.rate bounds what noise lets through, but the release has none: set "
                             "pretrain_degradation.network.release.noise, or rate: 0")  # fmt: skip
        return self

    @pydantic.model_validator(mode="after")
    def _boxes_are_there(self) -> Self:
        masking, rows = self.render.masking, [row for row in self.rows if row.startswith("mask:")]
        if rows and masking is None:
            raise ValueError(f"rows {rows} need boxes: set render.masking")
        if masking and masking.boxes and masking.resize != self.extract_frames.resize:
            raise ValueError("render.masking.resize must be that of extract_frames: boxes are placed by it")
        return self

    @pydantic.model_validator(mode="after")
    def _networks_can_work(self) -> Self:
        clips, private = self.extract_frames, self.extract_frames.private or self.extract_frames
        shown, seen = ((frames, *clips.crop) for frames in (clips.frames, private.frames))
        budget, attackers = self.pretrain_budget.readers, self.attack.attackers
        readers = {
            "pretrain_target.reader": (self.pretrain_target.reader, shown),
            **{f"pretrain_budget.readers.{number}": (reader, seen) for number, reader in enumerate(budget)},
            "attack.target": (self.attack.target, shown),
            **{f"attack.attackers.{number}.reader": (attacker.reader, seen) for number, attacker in enumerate(attackers)},
        }
        readers = {where: (reader, reader.network_sees(shape)) for where, (reader, shape) in readers.items()}
        for reader, shape in readers.values():
            size = getattr(reader.network, "size", shape)
            if size != shape:
                raise ValueError(f"a {reader.family} of size {list(size)} cannot read clips of {list(shape)}")
        works: dict[str, tuple[Any, ...]] = {
            "pretrain_degradation": (_paint, self.pretrain_degradation.network, shown),
            **{where: (_read, reader.network, shape) for where, (reader, shape) in readers.items()},
        }
        for where, work in works.items():
            if wrong := _wrong(*work):
                raise ValueError(f"{where}.network: cannot work ({wrong}): mend its sizes")
        return self

    @pydantic.model_validator(mode="after")
    def _mistakes_are_the_paper_s(self) -> Self:
        wanted = getattr(self.train_adversarial.algorithm, "sigmoid_target", "uniform")
        if wanted == "present" and self.attack.profile != "paper":
            raise ValueError("sigmoid_target: present is a mistake of the seed's code: attack.profile: paper alone takes it")
        return self

    @pydantic.model_validator(mode="after")
    def _seen_is_told(self) -> Self:
        models, readers = self.train_adversarial.models, self.pretrain_budget.readers
        if models is not None and models > len(readers):
            raise ValueError(f"train_adversarial.models = {models}, but pretrain_budget.readers names {len(readers)}")
        families = {reader.family for reader in readers[:models]}
        if families != set(self.attack.seen):
            raise ValueError(f"attack.seen must name the families of the budget models that play: {sorted(families)}")
        return self


def _endless(value: Any, key: str = "") -> str:
    """The dotted key of a number within ``value`` that is infinite or none; empty where there is no such number."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else key
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return next(filter(None, (_endless(one, f"{key}.{name}".lstrip(".")) for name, one in inside)), "")


@cache
def _wrong(work: Callable[[Any, Shape], None], network: Any, shape: Shape) -> str:
    """What is wrong where ``network``, without weights, works on such clips: found before hours of other stages."""
    try:
        with torch.device("meta"), torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("error", "Initializing zero-element")
            work(network, shape)
    except (ValueError, RuntimeError, ArithmeticError, AssertionError, LookupError, UserWarning) as error:
        return " ".join(str(error).split())[:160] or type(error).__name__
    return ""


def _paint(network: FilterSpec, shape: Shape) -> None:
    network.build().paint(torch.empty(2, 3, *shape))


def _read(network: Network, shape: Shape) -> None:
    """Raises ValueError where a network does not tell so many classes as it is asked to."""
    logits = network.build(CLASSES)(torch.empty(2, 3, *shape))
    if logits.shape != (2, CLASSES):
        raise ValueError(f"of 2 clips and {CLASSES} classes it gives logits of shape {list(logits.shape)}")
