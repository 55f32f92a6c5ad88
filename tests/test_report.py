"""The report of made-up results whose numbers are known: its summary, words, figures, page, and what MLflow gets."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from privadv.code_version import code_version
from privadv.data.manifest import ClipSet, Geometry, Shard, Task
from privadv.errors import PrivadvError
from privadv.evaluation import figures, identity, wording
from privadv.evaluation.attributes import floors
from privadv.evaluation.page import _attackers, render
from privadv.evaluation.published import published
from privadv.evaluation.results import ReaderResult, RowResult
from privadv.evaluation.rows import is_baseline
from privadv.evaluation.summary import PLANTED, Evidence, Summary, summarise
from privadv.models.checkpoint import FilterRef, ReaderRef, Trained
from privadv.models.degradation import TransformNet
from privadv.models.frame import MobileNet
from privadv.models.reader import ReaderSpec
from privadv.stages.report import Report, _charts, pool
from privadv.stages.stage import execute
from privadv.store import Blob, Store

ACTIONS = ("approach", "depart", "push", "kick", "punch", "hug", "handshake", "exchange")
PAIRS = tuple(
    f"s{a:02}s{b:02}"
    for a, b in (
        (1, 2),
        (1, 3),
        (1, 7),
        (2, 1),
        (2, 3),
        (2, 7),
        (3, 4),
        (3, 6),
        (4, 5),
        (4, 6),
        (5, 6),
        (6, 4),
        (7, 3),
    )
)
TARGETS = np.tile(np.arange(8), 26)
BUDGETS = np.repeat(np.arange(13), 16)
Numbers = tuple[float, float, int, int]
"""A_T, A_B_max, and how many attackers fit their training clips, of how many."""
ROWS: dict[str, Numbers] = {
    "raw": (0.92, 0.99, 12, 12),
    "filter": (0.86, 0.26, 5, 12),
    "gray": (0.81, 0.86, 2, 2),
    "down:2": (0.88, 0.99, 2, 2),
    "down:4": (0.75, 0.98, 2, 2),
    "down:8": (0.62, 0.90, 2, 2),
    "down:14": (0.45, 0.71, 2, 2),
    "down:28": (0.28, 0.47, 2, 2),
    "blur:1": (0.87, 0.98, 2, 2),
    "blur:2": (0.76, 0.97, 2, 2),
    "blur:4": (0.60, 0.85, 2, 2),
    "pixelate:4": (0.74, 0.97, 2, 2),
    "pixelate:8": (0.60, 0.88, 2, 2),
    "pixelate:14": (0.44, 0.70, 2, 2),
    "framediff": (0.85, 0.37, 2, 2),
    "framediff3": (0.82, 0.34, 1, 2),
    "planted:spatial": (0.27, 1.0, 2, 2),
    "planted:temporal": (0.26, 0.97, 2, 2),
}
FAMILIES = ("mobile", "vgg", "resnet", "densenet", "inception", "r2plus1d")


def predictions(labels: np.ndarray, classes: int, accuracy: float, seed: int) -> tuple[int, ...]:
    """Right on the nearest possible share of the clips, a random ``accuracy`` of them."""
    wrong = np.random.default_rng(seed).permutation(len(labels))[round(accuracy * len(labels)) :]
    guesses = labels.copy()
    guesses[wrong] = (labels[wrong] + 1 + np.arange(len(wrong)) % (classes - 1)) % classes
    return tuple(guesses.tolist())


def reader(
    name: str, labels: np.ndarray, classes: int, accuracy: float, seed: int, converged: bool = True
) -> ReaderResult:
    family, treatment, start = name.split("/") if "/" in name else ("mobile", "plain", "warm")
    guesses = predictions(labels, classes, accuracy, seed)
    return ReaderResult(
        name=name,
        family=family,
        input=cast(Any, treatment),
        start=cast(Any, start),
        seen=family in FAMILIES[:3],
        accuracy=float((np.array(guesses) == labels).mean()),
        validation=accuracy,
        train_loss=0.1 if converged else 2.1,
        train_accuracy=0.99 if converged else 0.3,
        converged=converged,
        steps=400,
        seconds=21.0,
        predictions=guesses,
    )


def strip(row: str) -> bytes:
    """A PNG of 6 clips x 4 frames of noise, the calmer the less the row shows."""
    rng = np.random.default_rng(3)
    small = (np.indices((6 * 8, 4 * 8)) // 8).sum(0)[..., None] / 10 + rng.random((6 * 8, 4 * 8, 3)) * 0.3
    small = (
        small.clip(0, 1) if row == "raw" else 0.5 + (small.mean(2, keepdims=True) - 0.5).repeat(3, 2) * 0.3
    )
    pixels = (small.repeat(5, 0).repeat(5, 1) * 255).astype(np.uint8)
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def curve(start: float, end: float, steps: int, noise: float = 0.0) -> list[list[float]]:
    rng = np.random.default_rng(steps)
    t = np.arange(1, steps + 1)
    values = end + (start - end) * np.exp(-4 * t / steps) + noise * rng.standard_normal(steps)
    return [[float(a), float(b)] for a, b in zip(t, values, strict=True)]


class Memory:
    """Blobs in memory, for tests of what lies above the store."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def put(self, data: bytes) -> Blob:
        key = f"{len(self.blobs):064x}"
        self.blobs[key] = data
        return Blob(sha256=key, bytes=len(data))


class Made:
    """Made-up results of one whole run in a store."""

    def __init__(
        self,
        store: Store | Memory,
        seed: int = 0,
        synthetic: bool = True,
        rows: dict[str, Numbers] | None = None,
    ) -> None:
        self.store, self.seed, self.synthetic = store, seed, synthetic
        self.clips = self._clips("raw", {"seconds": 24.0, "clips_test": 208.0})
        self.filtered = self._clips(
            "filter", {"A_T_game": 0.87, "A_B_game": 0.11, "psnr": 14.2, "flicker": 41.5, "seconds": 9.0}
        )
        self.results = tuple(self._result(row, *numbers) for row, numbers in (ROWS | (rows or {})).items())

    @property
    def configuration(self) -> str:
        return json.dumps(
            {
                "name": "demo",
                "seed": self.seed,
                "rows": list(ROWS),
                "pretrain_budget": {"readers": [{"input": "plain"}, {"input": "adaptive"}]},
                "train_adversarial": {"algorithm": {"kind": "uniform", "gamma": 2.0}, "models": None, "restart": None},
                "render": {"draws": 4, "masking": None},
                "attack": {"note": "<b>&$", "steps": 400},
            }
        )

    def evidence(self) -> Evidence:
        return Evidence(
            seed=self.seed,
            configuration=self.configuration,
            resamples=500,
            clips=self.clips,
            filtered_clips=self.filtered,
            stages=tuple(self.stages().values()),
            results=self.results,
            versions={"privadv": "v1"},
        )

    def _clips(self, row: str, metrics: dict[str, float]) -> ClipSet:
        blob = Blob(sha256="0" * 64, bytes=1)
        splits = {
            "train": (Shard(blob=blob, clips=624),),
            "val": (Shard(blob=blob, clips=104),),
            "test": (Shard(blob=blob, clips=208),),
        }
        return ClipSet(
            dataset="sbu-shaped",
            synthetic=self.synthetic,
            row=row,
            geometry=Geometry(frames=8, height=44, width=44),
            encoding="raw",
            target=Task(name="action", classes=ACTIONS),
            budget=Task(name="pair", classes=PAIRS),
            splits=splits,
            metrics=metrics,
        )

    def _result(self, row: str, kept: float, leaked: float, converged: int, attackers: int) -> RowResult:
        names = [
            f"{family}/{treatment}/{'scratch' if row == 'raw' else start}"
            for family in FAMILIES
            for treatment, start in (("adaptive", "warm"), ("standardised", "scratch"))
        ][:attackers]
        salt = 100 * self.seed + 10 * len(row)
        suite = tuple(
            reader(
                name,
                BUDGETS,
                13,
                leaked - (0.3 if row == "raw" else 0.6) * (leaked - 0.08) * ((number + 5) % attackers) / attackers,
                salt + number,
                number < converged,
            )
            for number, name in enumerate(names)
        )
        curves = {
            one.name: {
                "train_loss": curve(2.5, one.train_loss, 40),
                "val_accuracy": curve(0.08, one.accuracy, 8),
            }
            for one in suite
        }
        curves["target"] = {"train_loss": curve(2, 0.1, 40), "val_accuracy": curve(0.3, kept, 8)}
        return RowResult(
            row=row,
            seed=self.seed,
            clips="c" * 64,
            target=reader("target", TARGETS, 8, kept, salt + 50),
            attackers=suite,
            clip_ids=tuple(f"clip-{number}" for number in range(208)),
            groups=tuple(f"take-{n // 2}" for n in range(208)),
            target_labels=tuple(TARGETS.tolist()),
            budget_labels=tuple(BUDGETS.tolist()),
            floors={
                f"{player}_{name}": value
                for player, labels, classes in (("target", TARGETS, 8), ("budget", BUDGETS, 13))
                for name, value in floors(labels.tolist(), classes).items()
            },
            blind_validation=1 / 13,
            metrics={"A_T": kept, "A_B_max": leaked},
            curves=self.store.put(json.dumps(curves).encode()),
            samples=self.store.put(strip(row)),
            seconds=12.0 * attackers,
        )

    def stages(self) -> dict[str, Trained]:
        weights = self.store.put(b"weights")
        filter_ = FilterRef(spec=TransformNet(), weights=weights)
        reader_ = ReaderRef(spec=ReaderSpec(network=MobileNet()), classes=13, weights=weights)
        budgets = {
            f"budget_{k}_{name}": points
            for k in range(3)
            for name, points in (
                ("train_loss", curve(2.5, 0.1 + 0.1 * k, 40)),
                ("val_accuracy", curve(0.1, 0.99 - 0.02 * k, 8)),
            )
        }
        game = {
            "target_loss": curve(1.4, 0.4, 300, 0.1),
            "target_accuracy": curve(0.5, 0.86, 300, 0.05),
            "degradation_fool": curve(2, 0.3, 300, 0.1),
            "budget_accuracy_max": curve(0.9, 0.12, 300, 0.04),
            "budget_loss": curve(0.5, 2.5, 300, 0.05),
            "val_target_accuracy": curve(0.5, 0.85, 10),
        }
        return {
            "degradation": self._trained(
                "pretrain_degradation", {"degradation": filter_}, {"train_psnr": curve(8, 38, 150, 0.5)}
            ),
            "target": self._trained(
                "pretrain_target",
                {"target": reader_},
                {"target_val_accuracy": curve(0.2, 0.9, 9), "target_train_loss": curve(2, 0.05, 9)},
            ),
            "budget": self._trained("pretrain_budget", {"budget_0": reader_}, budgets),
            "game": self._trained("train_adversarial", {"degradation": filter_, "target": reader_}, game),
        }

    def _trained(self, stage: str, models: dict[str, Any], curves: dict[str, Any]) -> Trained:
        metrics = {name: points[-1][1] for name, points in curves.items()}
        return Trained(
            stage=stage,
            seed=self.seed,
            models=models,
            metrics=metrics,
            seconds=31.4,
            curves=self.store.put(json.dumps(curves).encode()),
        )


def summary(*made: Made) -> Summary:
    return summarise([one.evidence() for one in made or (Made(Memory()),)])


def changed(evidence: Evidence, row: str, **values: Any) -> Evidence:
    """The evidence with other ``values`` in one row's result."""
    results = tuple(one.model_copy(update=values) if one.row == row else one for one in evidence.results)
    return evidence.model_copy(update={"results": results})


def test_numbers_of_the_rows() -> None:
    found = summary()
    assert [row.name for row in found.rows] == list(ROWS)
    for row in found.rows:
        kept, leaked, converged, attackers = ROWS[row.name]
        assert (row.target.value, row.leakage.value) == pytest.approx((kept, leaked), abs=0.003)
        assert row.target.low < row.target.value < row.target.high
        assert (row.converged, row.attackers, row.lower_bound) == (converged, attackers, converged < 4 and leaked < 1)
    own = found.row("filter")
    assert own.strongest[0].name == "densenet/standardised/scratch" and not own.strongest[0].seen
    assert own.unseen_leakage == own.leakage.value > own.mean_leakage
    assert found.row("gray").unseen_leakage is None
    assert found.game == 0.87


def test_who_went_on_is_told_beside_the_updates() -> None:
    evidence = Made(Memory()).evidence()
    first, *others = next(one for one in evidence.results if one.row == "filter").attackers
    longer = first.model_copy(update={"finals": True, "steps": 3500})
    told = _attackers(summarise([changed(evidence, "filter", attackers=(longer, *others))]).row("filter"), True)
    assert told.count("3,500 (finals)") == 1 and "went on learning" in told
    assert "finals" not in _attackers(summary().row("filter"), True).lower()


def test_filter_beside_the_front_of_the_baselines() -> None:
    """Left of framediff3 the front is the line from the blank clip, whose readers guess blindly."""
    found = summary()
    own, near = found.row("filter"), found.row("framediff3")
    share = (own.leakage.value - 1 / 13) / (near.leakage.value - 1 / 13)
    front = 1 / 8 + share * (near.target.value - 1 / 8)
    assert found.gain.value == pytest.approx(own.target.value - front)
    assert found.gain.low < found.gain.value < found.gain.high
    assert found.dominating == []
    better = summary(Made(Memory(), rows={"filter": (0.80, 0.40, 5, 12)}))
    assert better.dominating == ["framediff", "framediff3"] and better.gain.value < 0
    assert "framediff, framediff3 have both" in wording.comparison(
        better
    ) and " below " in wording.comparison(better)


def test_a_comparison_with_baselines_that_had_one_round_says_so() -> None:
    def longer(evidence: Evidence, *rows: str) -> Evidence:
        for row in rows:
            result = next(one for one in evidence.results if one.row == row)
            evidence = changed(evidence, row, target=result.target.model_copy(update={"finals": True}))
        return evidence

    def few(evidence: Evidence, count: int) -> Evidence:
        for row in (one.row for one in evidence.results if one.row != "filter" and is_baseline(one.row)):
            attackers = next(one for one in evidence.results if one.row == "filter").attackers
            evidence = changed(evidence, row, attackers=attackers[:count])
        return evidence

    evidence = few(Made(Memory()).evidence(), 12)
    assert "equal terms" not in wording.comparison(summarise([evidence]))
    told = wording.comparison(summarise([longer(evidence, "filter", "gray")]))
    assert "not on equal terms" in told and "framediff3 had one round" in told and "of gray" not in told
    told = wording.comparison(summarise([few(evidence, 2)]))
    assert "not on equal terms: fewer attackers than the filter's 12 read " in told and "one round" not in told
    every = [row.name for row in summary().baselines]
    assert "equal terms" not in wording.comparison(summarise([longer(evidence, "filter", *every)]))


def test_without_baselines_there_is_no_gain() -> None:
    evidence = Made(Memory()).evidence()
    alone = tuple(one for one in evidence.results if not is_baseline(one.row))
    found, drawn = summarise([evidence.model_copy(update={"results": alone})]), summary()
    missing = drawn.metrics().keys() - found.metrics().keys()
    assert {name for name in missing if "/" not in name} == {"A_T_gain", "A_T_gain_low", "A_T_gain_high", "dominating"}
    assert "No baseline was run" in wording.comparison(found)
    dashes = [figures.privacy_utility(one).svg.count("stroke-dasharray") for one in (found, drawn)]
    assert dashes[0] < dashes[1]


def test_who_reads_a_control_no_better_than_blindly_has_not_read_it() -> None:
    """Where nine of ten clips are one person's, naming that person reaches 0.90."""
    evidence = Made(Memory(), rows={"filter": (0.86, 0.26, 3, 12), "planted:spatial": (0.3, 0.95, 2, 2)}).evidence()
    assert summarise([evidence]).row("planted:spatial").read
    (raw,) = (one for one in evidence.results if one.row == "raw")
    found = summarise([changed(evidence, "raw", floors={**raw.floors, "budget_majority": 0.9})])
    assert found.row("planted:spatial").bar == pytest.approx(0.99) and not found.row("planted:spatial").read


def test_controls_raw_and_filter_are_no_baselines() -> None:
    assert {row.name for row in summary().baselines} == set(ROWS) - {"raw", "filter", *PLANTED}


VARIANTS: dict[str, Numbers] = {"filter:h264:23": (0.84, 0.28, 3, 12), "filter:smooth:0.5": (0.80, 0.20, 5, 12)}


def test_other_forms_of_the_filter_stand_beside_it_and_are_no_baselines() -> None:
    """The first one would dominate, the second lift the front: neither does, and both are compared with the filter alone."""
    evidence = Made(Memory(), rows={"filter:mjpeg:5": (0.99, 0.10, 5, 12), **VARIANTS}).evidence()
    metrics = {"psnr": 15.0, "flicker": 40.2, "kbit_per_second": 241.4}
    found, plain = summarise([changed(evidence, "filter:h264:23", metrics=metrics)]), summary()
    assert [row.name for row in found.rows[:5]] == ["raw", "filter", "filter:mjpeg:5", *VARIANTS]
    assert found.gain == plain.gain and found.dominating == []
    assert [row.name for row in found.baselines] == [row.name for row in plain.baselines]
    row = found.row("filter:h264:23")
    kept, leaked = found.change(row)
    assert kept.value == pytest.approx(row.target.value - found.row("filter").target.value)
    assert leaked.value == pytest.approx(0.02, abs=0.006) and leaked.low < leaked.value < leaked.high
    said = wording.variants(found)
    assert "filter:h264:23 (241 kbit/s) A_T -0.02 (" in said and "filter:smooth:0.5 A_T -0.06" in said
    assert wording.variants(plain) == "" and said in wording.note(found)
    assert max(map(len, wording.table(found).splitlines())) <= 80
    page = render(found, figures.privacy_utility(found), {0: []}, {})
    assert '<td>filter:h264:23</td><td class="n">15.0</td><td class="n">40.2</td><td class="n">241.4</td>' in page
    assert said in page and "kbit/s" not in render(plain, figures.privacy_utility(plain), {0: []}, {})
    assert found.metrics()["rows/filter_h264_23_flicker"] == 40.2 and "rows/filter_flicker" not in found.metrics()


@pytest.mark.parametrize(
    ("converged", "spatial", "counts"), [(4, 0.5, True), (3, 0.95, True), (3, 0.88, False)]
)
def test_leakage_counts_with_four_attackers_or_both_controls(
    converged: int, spatial: float, counts: bool
) -> None:
    rows = {"filter": (0.86, 0.26, converged, 12), "planted:spatial": (0.3, spatial, 2, 2)}
    found = summary(Made(Memory(), rows=rows))
    assert found.counts is counts
    said = wording.verdict(found)
    assert f"{converged} of 12 attackers" in said and f"({spatial:.2f})" in said
    assert said.startswith("The leakage counts" if counts else "The leakage does not count")
    assert ("NOT READ" in wording.table(found)) == (spatial < 0.9) and "enough is 0.91" in said
    assert ("at least 26%" in wording.headline(found)) == (converged < 4)


def test_an_attacker_that_cannot_read_raw_video_is_no_evidence() -> None:
    evidence = Made(Memory(), rows={"filter": (0.86, 0.26, 5, 12), "planted:spatial": (0.3, 0.5, 2, 2)}).evidence()
    (raw,) = (one for one in evidence.results if one.row == "raw")
    able, *rest = raw.attackers
    # Half way from what seeing nothing reaches of the validation clips, which may be another set than the test's.
    assert summarise([changed(evidence, "raw", blind_validation=0.99)]).row("filter").converged == 0
    for blind, converged, counts in ((able.model_copy(update={"validation": 0.53}), 4, True), (None, 5, True)):
        attackers = (blind or able, *rest)
        found = summarise([changed(evidence, "raw", attackers=attackers)])
        assert (found.row("filter").converged, found.counts) == (converged, counts)
        assert (f"cannot read raw video ({able.name})" in wording.verdict(found)) == bool(blind)


def test_runs_whose_attackers_learn_from_fewer_releases_are_not_compared() -> None:
    evidence = Made(Memory()).evidence()
    fewer = evidence.model_copy(update={"configuration": evidence.configuration.replace('"draws": 4', '"draws": 1')})
    one, other = identity.tags(evidence), identity.tags(fewer)
    assert one["digest.suite"] != other["digest.suite"] and one["digest.split"] == other["digest.split"]


def test_a_configuration_without_its_defaults_is_one_line() -> None:
    evidence = Made(Memory()).evidence()
    part = evidence.configuration.replace(', "restart": null', "")
    with pytest.raises(PrivadvError, match="the configuration has no 'restart': give the whole run"):
        identity.tags(evidence.model_copy(update={"configuration": part}))


def test_photos_need_no_control_that_moves() -> None:
    evidence = Made(Memory(), rows={"filter": (0.86, 0.26, 3, 12)}).evidence()
    still = evidence.clips.model_copy(update={"geometry": evidence.clips.geometry.model_copy(update={"frames": 1})})
    rows = tuple(one for one in evidence.results if one.row != "planted:temporal")
    found = summarise([evidence.model_copy(update={"results": rows, "clips": still})])
    assert found.counts and "planted:temporal" not in wording.verdict(found)


def test_leakage_does_not_count_without_the_controls() -> None:
    evidence = Made(Memory(), rows={"filter": (0.86, 0.26, 3, 12)}).evidence()
    rows = tuple(one for one in evidence.results if one.row != "planted:temporal")
    found = summarise([evidence.model_copy(update={"results": rows})])
    assert not found.counts and "planted:temporal was not in this run" in wording.verdict(found)


@pytest.mark.parametrize(("leaked", "bound"), [(0.99, True), (1.0, False)])
def test_nobody_reads_more_than_everything(leaked: float, bound: bool) -> None:
    evidence = Made(Memory(), rows={"filter": (0.86, leaked, 3, 12)}).evidence()
    found = summarise([evidence])
    assert (found.row("filter").converged, found.row("filter").lower_bound) == (3, bound)
    assert ("counts by the controls alone and stays a lower bound: 3 of 12" in wording.verdict(found)) == bound
    assert wording.verdict(found).startswith("The leakage counts by the controls alone")
    unread = tuple(one for one in evidence.results if one.row != "planted:temporal")
    assert not summarise([evidence.model_copy(update={"results": unread})]).counts


def test_seeds_are_pooled() -> None:
    found = summary(Made(Memory(), 0), Made(Memory(), 1, rows={"filter": (0.80, 0.36, 3, 12)}))
    own = found.row("filter")
    assert (own.target.value, own.leakage.value) == pytest.approx((0.83, 0.31), abs=0.003)
    assert own.leakage.low < 0.27 and own.leakage.high > 0.35
    assert (own.converged, own.lower_bound) == (3, True)
    assert wording.data(found).endswith("seeds 0, 1")


def test_mistakes_are_named() -> None:
    evidence = Made(Memory()).evidence()
    one, rest = evidence.results[0], evidence.results[1:]
    for results in (rest, (one, *evidence.results)):
        with pytest.raises(PrivadvError, match="raw, filter and each other row once"):
            summarise([evidence.model_copy(update={"results": results})])
    with pytest.raises(PrivadvError, match="row 'gray' of seed 0 was read on other test clips"):
        summarise([changed(evidence, "gray", clip_ids=("other",) * 208)])
    with pytest.raises(PrivadvError, match="row 'gray' of seed 0 lacks attackers"):
        summarise([changed(evidence, "gray", attackers=())])
    with pytest.raises(PrivadvError, match=r"seeds \[0, 0\]: name each seed once"):
        summarise([evidence, evidence])
    other = Made(Memory(), 1).evidence()
    with pytest.raises(PrivadvError, match="seed 1 was run with another configuration"):
        summarise([evidence, other.model_copy(update={"configuration": '{"name": "other"}'})])
    clips = other.clips.model_copy(update={"splits": {**other.clips.splits, "test": ()}})
    with pytest.raises(PrivadvError, match="seed 1 was run on other clips than seed 0"):
        summarise([evidence, other.model_copy(update={"clips": clips})])
    with pytest.raises(PrivadvError, match=r"protocols \[1, 2\], of older and newer code"):
        summarise([changed(evidence, "gray", protocol=2)])
    with pytest.raises(PrivadvError, match="the same rows for every seed"):
        summarise([evidence, other.model_copy(update={"results": other.results[:-1]})])


def test_words_fit_the_console_and_tell_synthetic_data() -> None:
    found = summary()
    table = wording.table(found)
    assert max(map(len, table.splitlines())) <= 80
    assert re.search(r"^filter +0.86  0...-0...  +0.26  0...-0...  unseen +5/12$", table, re.MULTILINE)
    assert re.search(r"^framediff3 .* 1/2 lower bound$", table, re.MULTILINE)
    assert wording.headline(found).startswith(
        "On synthetic data, the action can be read from 86% of the filtered clips"
    )
    real = summary(Made(Memory(), synthetic=False))
    assert "synthetic" not in wording.headline(real) + wording.table(real)


def test_names_in_the_plot_stand_apart() -> None:
    found = summary()
    with figures.canvas(8.8, 5.2, "test") as figure:
        figures._draw(figure, found)
        (axes,) = figure.axes
        named = {text.get_text(): text.get_window_extent() for text in axes.texts}
        assert named.keys() == {row.name for row in found.rows if not row.control} | {"blind guess"}
        frame = axes.get_window_extent()
        assert all(
            figures._overlap(box, frame) == pytest.approx(box.width * box.height) for box in named.values()
        )
        assert max(figures._overlap(one, other) for one, other in combinations(named.values(), 2)) == 0


def test_figure_is_a_png_and_an_svg_in_the_colours_of_the_page() -> None:
    drawn = figures.curves("some", "Some", {"loss": {"a": [[1, 2.0], [2, 1.0]], "b": [[1, 1.0]]}})
    assert drawn.png.startswith(b"\x89PNG") and drawn.svg.startswith("<svg")
    assert "var(--ink)" in drawn.svg and figures.INK not in drawn.svg
    assert drawn == figures.curves("some", "Some", {"loss": {"a": [[1, 2.0], [2, 1.0]], "b": [[1, 1.0]]}})


def on(dataset: str) -> Evidence:
    evidence = Made(Memory(), synthetic=False).evidence()
    return evidence.model_copy(update={"clips": evidence.clips.model_copy(update={"dataset": dataset})})


def test_published_results_stand_beside_ours_and_are_no_rows() -> None:
    here = summarise([on("sbu")])
    assert len(here.rows) == len(ROWS) and {curve.method for curve in here.published} >= {"Entropy+", "K-Beam", "BDQ, about"}
    picture = figures.privacy_utility(here)
    assert "other protocol" in picture.svg and "Entropy+" in picture.svg
    page = render(here, picture, {0: []}, {})
    assert "<td>Entropy+</td><td>M = 8</td><td class=\"n\">82.2</td><td class=\"n\">47.7</td>" in page
    assert all(len(curve.settings) == len(curve.pairs) for curve in here.published)
    elsewhere = summarise([on("somewhere")])
    assert not elsewhere.published and "other protocol" not in figures.privacy_utility(elsewhere).svg
    synthetic = here.evidence[0].clips.model_copy(update={"synthetic": True})
    assert not summarise([here.evidence[0].model_copy(update={"clips": synthetic})]).published


@pytest.mark.parametrize(("target", "privacy", "raw"), [
    ("sbu", "sbu", (88.8, 99.1)), ("ucf101", "vispr", (69.3, 45.5)), ("hmdb51", "vispr tested on pa_hmdb51", (68.9, 77.3)),
    ("ucf101", "vispr7", (69.3, 45.5)), ("ucf101", "vispr tested on pa_hmdb51", None),
    ("hmdb51", "vispr", None), ("ucf101", "vispr68", None),
])  # fmt: skip
def test_published_results_are_those_of_the_datasets(target: str, privacy: str, raw: tuple[float, float] | None) -> None:
    found = {curve.method: curve.pairs for curve in published(target, privacy)}
    assert found.get("raw video") == (raw and (raw,))
    assert "perhaps other attributes of VISPR" in wording.PUBLISHED, "one curve stands beside five attributes and beside seven"


def test_a_report_with_too_few_unseen_families_says_so() -> None:
    evidence = Made(Memory()).evidence()

    def known(families: set[str]) -> Summary:
        results = tuple(
            one.model_copy(update={"attackers": tuple(
                reader.model_copy(update={"seen": reader.family not in families}) for reader in one.attackers)})
            for one in evidence.results
        )  # fmt: skip
        return summarise([evidence.model_copy(update={"results": results})])

    assert "unseen in training" not in wording.verdict(known({"vgg", "mobile"}))
    one, none = known({"vgg"}), known(set())
    assert "only vgg was unseen in training" in wording.verdict(one)
    assert "none was unseen in training" in wording.verdict(none)
    assert one.metrics()["A_B_max_unseen"] <= one.metrics()["A_B_max"]
    assert "A_B_max_unseen" not in none.metrics()


def test_series_of_one_kind_share_a_chart() -> None:
    named = ("budget_0_val_accuracy", "budget_1_val_accuracy", "budget_0_train_loss", "target_accuracy", "train_psnr",
             "budget_accuracy_max", "val_target_accuracy", "target_loss", "degradation_fool", "budget_steps")  # fmt: skip
    charts = _charts({name: [[1, 1.0]] for name in named})
    assert {chart: sorted(lines) for chart, lines in charts.items()} == {
        "val_accuracy": ["budget_0", "budget_1"],
        "train_loss": ["budget_0"],
        "accuracy": ["budget_accuracy_max", "target", "val_target"],
        "loss": ["degradation_fool", "target"],
        "steps": ["budget"],
        "train_psnr": ["train_psnr"],
    }
    assert figures.curves("many", "Many", charts).svg.count(">step</text>") == len(charts)


class Page(HTMLParser):
    """Refuses elements that nobody closes; keeps text and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def check_page(text: str, seeds: str) -> None:
    page = Page(text)
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)
    for said in (
        *ROWS,
        "synthetic data",
        "resnet/adaptive/warm",
        "lower bound",
        "read",
        "torch",
        "<b>&$",
        seeds,
        "pretrain_degradation",
        "fresh attackers",
        "no formal guarantee",
        "blind guess",
        "208 test",
    ):
        assert said in page.text, said
    assert page.text.count("lower bound") > 14 and "NOT READ" not in page.text
    assert sum(address.startswith("data:") for address in page.addresses) == len(ROWS)


def test_stage_reports_to_all_sides(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page, table, filter and evidence in the manifest; the same numbers and pictures in both runs of MLflow."""
    monkeypatch.setenv("PRIVADV_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("PRIVADV_RUN", "made-up")
    monkeypatch.setenv("PRIVADV_TRACKING_WAIT", "120")
    made = Made(store)
    inputs = {
        "clips": made.clips.canonical(),
        "filtered_clips": [made.filtered.canonical()],
        **{name: trained.canonical() for name, trained in made.stages().items()},
        "results": [store.put(one.canonical().encode()).canonical() for one in made.results],
    }
    execute(
        "report",
        '{"resamples": 500}',
        code_version("report"),
        str(tmp_path / "out"),
        inputs,
        seed=0,
        configuration=made.configuration,
    )
    report = Report.parse((tmp_path / "out").read_text(), "report")
    game = made.stages()["game"].degradation
    assert report.filter and (report.filter.spec, report.filter.weights) == (game.spec, game.weights)
    assert report.seeds == (0,)
    assert report.table == wording.table(summary(made)) and report.metrics["A_T"] == pytest.approx(
        0.86, abs=0.003
    )
    check_page(store.get(report.page).decode(), "seed 0")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert {run.info.run_name for run in runs} == {"report", "made-up"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = (run for run in runs if run.info.run_name == "made-up")
    check_mlflow(client, parent, report)


def check_mlflow(client: MlflowClient, run: MlflowRun, report: Report) -> None:
    assert run.data.tags["synthetic"] == "true"
    assert "| filter | 0.86 |" in run.data.tags["mlflow.note.content"]
    metrics = run.data.metrics
    assert report.metrics.items() <= metrics.items()
    assert (
        metrics["A_B/densenet-standardised-scratch"] == metrics["A_B_max"] == metrics["rows/filter_A_B_max"]
    )
    assert metrics["rows/planted_spatial_A_B_max"] == 1 and metrics["floors/budget_chance"] == 1 / 13
    assert metrics["pretrain_budget/budget_0_val_accuracy"] > 0.9 and metrics["render/psnr"] == 14.2
    assert metrics["psnr"] == 14.2 and metrics["flicker"] == 41.5
    assert metrics["seconds/train_adversarial"] == 31.4 and metrics["seconds/attack_filter"] == 144
    names = {
        file.path for folder in ("", "figures") for file in client.list_artifacts(run.info.run_id, folder)
    }
    assert {
        "report.html",
        "figures/privacy_utility.png",
        "figures/curves_train_adversarial.png",
        "figures/curves_fresh_attackers.png",
        "figures/samples_raw.png",
        "figures/samples_down_8.png",
    } <= names


def test_reports_of_several_seeds_are_pooled(store: Store) -> None:
    reports = []
    for seed in (0, 1):
        evidence = changed(Made(store, seed).evidence(), "filter", curves=None)
        evidence = evidence.model_copy(update={"stages": evidence.stages[:1]})
        reports.append(
            Report(
                seeds=(seed,),
                page=Blob(sha256="0" * 64, bytes=1),
                table="",
                metrics={},
                evidence=(store.put(evidence.canonical().encode()),),
            )
        )
    report = pool(reports, store)
    assert report.seeds == (0, 1) and report.filter is None and len(report.evidence) == 2
    page = Page(store.get(report.page).decode()).text
    assert all(said in page for said in ("seeds 0, 1", "takes and the seeds", "seed 1pretrain_degradation"))
    with pytest.raises(PrivadvError, match="name each seed once"):
        pool([reports[0], report], store)
