"""Which videos or photos an extraction takes, out of which datasets, and that no test clip was trained on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydantic

from privadv.config import Section
from privadv.data.datasets import DATASETS, Dataset
from privadv.data.manifest import SPLITS, Source, Task
from privadv.data.reading import UNLABELLED, Reading
from privadv.data.roots import Folder, Root, open_root
from privadv.data.sampling import How
from privadv.data.stand_ins import STAND_INS, generated, is_synthetic
from privadv.data.synthetic import SyntheticConfig
from privadv.data.synthetic_attributes import AttributesConfig
from privadv.errors import PrivadvError
from privadv.scratch import scratch

SELECTABLE: Mapping[str, Dataset] = DATASETS | {name: stand_in.dataset for name, stand_in in STAND_INS.items()}


class Selection(Section):
    """Clips of one dataset: ``frames`` frames each, at most ``clips`` from a video, chosen by ``sampling``.

    ``root`` is a folder or s3://bucket/prefix; null generates a synthetic set. ``split`` is one of the dataset's own
    (hmdb51: 1, 2, 3, pa; ucf101: 1, 2, 3), "" the usual one. ranked takes the evenest of random draws, dense one
    clip every ``stride`` frames. Where labels belong to frames, only labelled frames are taken.
    """

    dataset: str
    root: str | None = None
    split: str = ""
    frames: pydantic.PositiveInt = 16
    sampling: How = "ranked"
    clips: pydantic.PositiveInt = 1
    stride: pydantic.PositiveInt = 16


class PrivateTest(Selection):
    """Where the privacy task's test clips come from; single frames unless ``frames`` says more."""

    frames: pydantic.PositiveInt = 1
    sampling: How = "dense"


class Private(PrivateTest):
    """The dataset that labels the privacy task; ``test`` takes its test clips from a third one instead."""

    test: PrivateTest | None = None


@dataclass(frozen=True)
class Part:
    """A selection as it lies on disk or in a bucket."""

    selection: Selection
    root: Root
    dataset: Dataset
    reading: Reading

    @property
    def synthetic(self) -> bool:
        """Whether it was generated."""
        names = [source.name for source in self.reading.found.sources]
        return self.selection.dataset in STAND_INS or is_synthetic(names)

    def sources(self, split: str) -> Sequence[Source]:
        """The videos or photos of a split."""
        return self.reading.splits[split]


def problem(selection: Selection, private: Private | None) -> str:
    """Why these datasets cannot be trained and tested on together; "" if they can.

    ``private`` labels the privacy task where ``selection`` does not.
    """
    for one in filter(None, (selection, private, private and private.test)):
        if one.dataset not in SELECTABLE:
            return f"dataset '{one.dataset}' is unknown: choose one of {', '.join(SELECTABLE)}"
        if one.root is None and one.dataset not in STAND_INS:
            return f"dataset '{one.dataset}' needs root, a folder or s3://bucket/prefix"
    target = SELECTABLE[selection.dataset]
    for one in filter(None, (selection, private)):
        if SELECTABLE[one.dataset].test_only:
            return f"dataset '{one.dataset}' is a test set: name it under private.test"
    if target.target == UNLABELLED:
        return f"dataset '{selection.dataset}' labels no target task: name it under private, beside one that does"
    if private is None:
        unlabelled = target.budget == UNLABELLED
        return f"dataset '{selection.dataset}' labels no privacy task: add private, such as vispr" if unlabelled else ""
    return _private_problem(private, SELECTABLE[private.dataset].budget)


def _private_problem(private: Private, task: Task) -> str:
    if task == UNLABELLED:
        return f"dataset '{private.dataset}' labels no privacy task: name another one under private"
    if private.test and SELECTABLE[private.test.dataset].budget != task:
        return f"private.test '{private.test.dataset}' labels another privacy task than '{private.dataset}'"
    if private.test and private.test.frames != private.frames:
        return f"private.test.frames = {private.test.frames}, but private.frames = {private.frames}: make them equal"
    return ""


@dataclass(frozen=True)
class Making:
    """What every selection of an extraction shares: shares, seed, and what synthetic sets are generated from."""

    shares: Mapping[str, float]
    seed: int
    synthetic: SyntheticConfig
    attributes: AttributesConfig

    @contextmanager
    def open(self, selection: Selection) -> Iterator[Part]:
        """Read what lies at the selection's root.

        Raises:
            PrivadvError: nothing of the dataset lies there, or what is tested stands in training too.
        """
        made, dataset = self.synthetic, SELECTABLE[selection.dataset]
        by_take = selection.dataset == "synthetic"
        shares = {"train": made.train_takes, "val": made.val_takes, "test": made.test_takes} if by_take else self.shares
        with self._root(selection) as root:
            try:
                reading = dataset.checked(root, selection.split, shares, self.seed)
            except PrivadvError as error:
                raise PrivadvError(f"{selection.dataset}: {error}") from None
            if reading.leaks:
                raise PrivadvError(
                    f"{selection.dataset}: {len(reading.leaks)} leaks between splits, such as '{reading.leaks[0]}': "
                    f"choose another split; `python -m privadv.data verify` lists them all")
            yield Part(selection, root, dataset, reading)

    @contextmanager
    def _root(self, selection: Selection) -> Iterator[Root]:
        if selection.root is not None:
            yield open_root(selection.root)
            return
        stand_in, workspace = STAND_INS[selection.dataset], os.environ.get("PRIVADV_WORKSPACE")
        settings = self.attributes if stand_in.attributes else self.synthetic
        with scratch() as passing:
            videos = Path(workspace, "videos") if workspace else passing
            yield Folder(generated(settings, videos) / stand_in.below)


def refuse_leaks(trained: Sequence[Part], tested: Part) -> None:
    """Nothing that ``tested`` tests may stand in another dataset's training or validation.

    Raises:
        PrivadvError: something does; the first is named.
    """
    test = {source.id for source in tested.sources("test")}
    for part in trained:
        training = (source.id for split in SPLITS[:2] for source in part.sources(split))
        leaks = sorted(test.intersection(training))
        if leaks:
            raise PrivadvError(
                f"{len(leaks)} videos of {tested.selection.dataset} test, but {part.selection.dataset} trains on them, "
                f"such as {leaks[0]}: choose another split (hmdb51: pa, with the annotations below its root)")
