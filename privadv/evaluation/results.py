"""What an evaluation found: one result a row, with every attacker, every prediction and the floors beside it."""

from __future__ import annotations

from statistics import fmean
from typing import Literal

from privadv.config import Section
from privadv.models.checkpoint import ReaderRef
from privadv.models.reader import Treatment
from privadv.store import Blob

Start = Literal["warm", "scratch", "mixed", "reconstruction", "nearest", "imagenet"]
"""What an attacker makes of its raw-trained self.

``warm`` starts from it and is led from raw to stored clips, ``scratch`` does without. ``mixed`` starts from it and goes on
learning from raw and stored clips together. ``reconstruction`` and ``nearest`` leave it as it is: it reads what a U-Net paints
back from stored clips, or tells which raw clip a stored one is most like. ``imagenet`` leaves raw clips aside: it starts from
published weights, as the seed work's attackers do.
"""


ALIKE: tuple[Start, ...] = ("scratch", "imagenet")
"""Starts that are the same on every row."""
ALONE: tuple[Start, ...] = ("warm", *ALIKE)
"""The starts of attackers that end up reading a row's own clips and nothing else, and so can go on reading them."""


def on_raw(name: str) -> str:
    """The name of the reader that the attacker ``name`` was on raw video."""
    reader, _, start = name.rpartition("/")
    return name if start in ALIKE else f"{reader}/scratch"


PROTOCOL = 2
"""How readers are trained and scored on a row, where no configuration says it: raised by every change that moves numbers.

Numbers of two protocols are neither pooled nor compared. 2: the attacker that compares with raw clips leaves out, of a training
clip, the raw clip that it was.
"""


class AttributeScores(Section):
    """How one attribute is read from the test clips; None where all of them or none of them show it.

    ``prevalence``: the share of the clips that show it, which is the average precision of a blind guess.
    ``balanced_accuracy``: of saying yes where a reader finds it likelier than not.
    """

    prevalence: float
    average_precision: float | None
    auroc: float | None
    balanced_accuracy: float | None


class ReaderResult(Section):
    """One fresh reader on one row: the target (A_T) or an attacker (A_B).

    ``seen``: a budget model of its architecture family took part in training. ``converged``: it fits its own training
    clips; an attacker that does not is no evidence of privacy. ``predictions``: classes on the test clips, in order.
    For a multi-label task ``scores`` are logits (N, classes) instead, ``accuracy`` is the share of right yes and no,
    ``validation`` cMAP and ``train_accuracy`` balanced. ``metrics``: what else it was measured by. ``finals``: it went on
    after the suite's first round; ``steps`` and ``seconds`` are of both.
    """

    name: str
    family: str
    input: Treatment
    start: Start
    seen: bool
    accuracy: float
    validation: float
    train_loss: float
    train_accuracy: float
    converged: bool
    steps: int
    finals: bool = False
    seconds: float
    predictions: tuple[int, ...]
    metrics: dict[str, float] = {}
    scores: tuple[tuple[float, ...], ...] = ()
    attributes: tuple[AttributeScores, ...] = ()

    @property
    def score(self) -> float:
        """What A_T and A_B are made of: accuracy, or for attributes cMAP, the mean of their average precisions."""
        precisions = [one.average_precision for one in self.attributes if one.average_precision is not None]
        return fmean(precisions) if precisions else self.accuracy


class ReaderOutcome(Section):
    """A reader's result with its curves. ``weights``: on raw video, what readers of other rows start from; elsewhere what the
    reader itself goes on from in another task, if it may.
    """

    kind: Literal["reader"] = "reader"
    result: ReaderResult
    curves: dict[str, list[tuple[int, float]]]
    weights: ReaderRef | None = None


class RowResult(Section):
    """A row of the report. ``groups``: the take of every test clip, which the bootstrap draws together.

    ``private_ids`` and ``private_groups``: those of the clips that attackers were tested on, where another set labels
    the privacy task; else empty. ``blind_validation``: what seeing nothing reaches of the privacy task's validation clips.
    ``protocol``: that of the code that attacked, see PROTOCOL.
    """

    kind: Literal["row"] = "row"
    protocol: int = 1
    row: str
    seed: int
    clips: str
    target: ReaderResult
    attackers: tuple[ReaderResult, ...]
    clip_ids: tuple[str, ...]
    target_labels: tuple[int, ...]
    budget_labels: tuple[int, ...] | tuple[tuple[int, ...], ...]
    groups: tuple[str, ...]
    private_ids: tuple[str, ...] = ()
    private_groups: tuple[str, ...] = ()
    floors: dict[str, float]
    blind_validation: float
    metrics: dict[str, float]
    warm: dict[str, ReaderRef] = {}
    curves: Blob | None = None
    samples: Blob | None = None
    seconds: float = 0.0
