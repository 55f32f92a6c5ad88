"""The report of made-up results whose numbers are known: its summary, words, figures, page, and what MLflow gets."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np

from privadv.data.manifest import ClipSet, Geometry, Shard, Task
from privadv.evaluation.metrics import floors
from privadv.evaluation.results import ReaderResult, RowResult
from privadv.models.checkpoint import FilterRef, ReaderRef, Trained
from privadv.models.degradation import TransformNet
from privadv.models.frame import MobileNet
from privadv.models.reader import ReaderSpec
from privadv.stages.report import Config
from privadv.store import Blob, Store

ACTIONS = ("approach", "depart", "push", "kick", "punch", "hug", "handshake", "exchange")
PAIRS = tuple(f"s{a:02}s{b:02}" for a, b in ((1, 2), (1, 3), (1, 7), (2, 1), (2, 3), (2, 7), (3, 4), (3, 6), (4, 5), (4, 6),
                                             (5, 6), (6, 4), (7, 3)))
TARGETS = np.tile(np.arange(8), 26)
BUDGETS = np.repeat(np.arange(13), 16)
# A_T, A_B_max and how many attackers fit their training clips, of how many.
ROWS = {
    "raw": (.92, .99, 12, 12), "filter": (.86, .26, 5, 12), "gray": (.81, .86, 2, 2), "down:2": (.88, .99, 2, 2),
    "down:4": (.75, .98, 2, 2), "down:8": (.62, .90, 2, 2), "down:14": (.45, .71, 2, 2), "down:28": (.28, .47, 2, 2),
    "blur:1": (.87, .98, 2, 2), "blur:2": (.76, .97, 2, 2), "blur:4": (.60, .85, 2, 2), "pixelate:4": (.74, .97, 2, 2),
    "pixelate:8": (.60, .88, 2, 2), "pixelate:14": (.44, .70, 2, 2), "framediff": (.85, .37, 2, 2),
    "framediff3": (.82, .34, 1, 2), "planted:spatial": (.27, 1.0, 2, 2), "planted:temporal": (.26, .97, 2, 2),
}
FAMILIES = ("mobile", "vgg", "resnet", "densenet", "inception", "r2plus1d")


def predictions(labels: np.ndarray, classes: int, accuracy: float, seed: int) -> tuple[int, ...]:
    """Right on the nearest possible share of the clips, a random ``accuracy`` of them."""
    wrong = np.random.default_rng(seed).permutation(len(labels))[round(accuracy * len(labels)):]
    guesses = labels.copy()
    guesses[wrong] = (labels[wrong] + 1 + np.arange(len(wrong)) % (classes - 1)) % classes
    return tuple(guesses.tolist())


def reader(name: str, labels: np.ndarray, classes: int, accuracy: float, seed: int, converged: bool = True) -> ReaderResult:
    family, treatment, start = name.split("/") if "/" in name else ("mobile", "plain", "warm")
    guesses = predictions(labels, classes, accuracy, seed)
    return ReaderResult(
        name=name, family=family, input=treatment, start=start, seen=family in FAMILIES[:3],  # type: ignore[arg-type]
        accuracy=float((np.array(guesses) == labels).mean()), validation=accuracy, train_loss=.1 if converged else 2.1,
        train_accuracy=.99 if converged else .3, converged=converged, steps=400, seconds=21.0, predictions=guesses)


def strip(row: str) -> bytes:
    """A PNG of 6 clips x 4 frames of noise, the calmer the less the row shows."""
    rng = np.random.default_rng(3)
    small = (np.indices((6 * 8, 4 * 8)) // 8).sum(0)[..., None] / 10 + rng.random((6 * 8, 4 * 8, 3)) * .3
    small = small.clip(0, 1) if row == "raw" else .5 + (small.mean(2, keepdims=True) - .5).repeat(3, 2) * .3
    pixels = (small.repeat(5, 0).repeat(5, 1) * 255).astype(np.uint8)
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def curve(start: float, end: float, steps: int, noise: float = 0.0) -> list[list[float]]:
    rng = np.random.default_rng(steps)
    t = np.arange(1, steps + 1)
    values = end + (start - end) * np.exp(-4 * t / steps) + noise * rng.standard_normal(steps)
    return [[float(a), float(b)] for a, b in zip(t, values, strict=True)]


class Run:
    """Made-up results of one whole run in a store."""

    def __init__(self, store: Store, seed: int = 0, rows: dict[str, tuple[float, float, int, int]] = ROWS) -> None:
        self.store, self.seed = store, seed
        self.clips = self._clips("raw", {"seconds": 24.0, "clips_test": 208.0})
        self.filtered = self._clips("filter", {"A_T_game": .87, "A_B_game": .11, "psnr": 14.2, "seconds": 9.0})
        self.results = tuple(self._result(row, *numbers) for row, numbers in rows.items())

    def arguments(self) -> dict[str, Any]:
        """What the stage is given, but the context."""
        configuration = {"name": "demo", "seed": self.seed, "rows": list(ROWS), "attack": {"note": "<&>", "fit": {"steps": 400}}}
        return {"config": Config(), "clips": self.clips, "filtered_clips": self.filtered, "results": self.results,
                "seed": self.seed, "configuration": json.dumps(configuration), **self._stages()}

    def _clips(self, row: str, metrics: dict[str, float]) -> ClipSet:
        blob = Blob(sha256="0" * 64, bytes=1)
        splits = {"train": (Shard(blob=blob, clips=624),), "val": (Shard(blob=blob, clips=104),),
                  "test": (Shard(blob=blob, clips=208),)}
        return ClipSet(dataset="sbu-shaped", synthetic=True, row=row, geometry=Geometry(frames=8, height=44, width=44),
                       encoding="raw", target=Task(name="action", classes=ACTIONS), budget=Task(name="pair", classes=PAIRS),
                       splits=splits, metrics=metrics)

    def _result(self, row: str, kept: float, leaked: float, converged: int, attackers: int) -> RowResult:
        names = [f"{family}/{treatment}/{start}" for family in FAMILIES for treatment, start in
                 (("adaptive", "warm"), ("standardised", "scratch"))][:attackers]
        salt = 100 * self.seed + 10 * len(row)
        suite = tuple(reader(name, BUDGETS, 13, leaked - .6 * (leaked - .08) * ((number + 5) % attackers) / attackers,
                             salt + number, number < converged) for number, name in enumerate(names))
        curves = {one.name: {"train_loss": curve(2.5, one.train_loss, 40), "val_accuracy": curve(.08, one.accuracy, 8)}
                  for one in suite}
        curves["target"] = {"train_loss": curve(2, .1, 40), "val_accuracy": curve(.3, kept, 8)}
        return RowResult(
            row=row, seed=self.seed, clips="c" * 64, target=reader("target", TARGETS, 8, kept, salt + 50), attackers=suite,
            clip_ids=tuple(f"clip-{number}" for number in range(208)), groups=tuple(f"take-{n // 2}" for n in range(208)),
            target_labels=tuple(TARGETS.tolist()), budget_labels=tuple(BUDGETS.tolist()),
            floors={f"{player}_{name}": value for player, labels, classes in (("target", TARGETS, 8), ("budget", BUDGETS, 13))
                    for name, value in floors(labels.tolist(), classes).items()}, metrics={"A_T": kept, "A_B_max": leaked},
            curves=self.store.put(json.dumps(curves).encode()), samples=self.store.put(strip(row)), seconds=12.0 * attackers)

    def _stages(self) -> dict[str, Trained]:
        weights = self.store.put(b"weights")
        filter_ = FilterRef(spec=TransformNet(), weights=weights)
        reader_ = ReaderRef(spec=ReaderSpec(network=MobileNet()), classes=13, weights=weights)
        budgets = {f"budget_{k}_{name}": points for k in range(3) for name, points in
                   (("train_loss", curve(2.5, .1 + .1 * k, 40)), ("val_accuracy", curve(.1, .99 - .02 * k, 8)))}
        game = {"target_loss": curve(1.4, .4, 300, .1), "target_accuracy": curve(.5, .86, 300, .05),
                "degradation_fool": curve(2, .3, 300, .1), "budget_accuracy_max": curve(.9, .12, 300, .04),
                "budget_loss": curve(.5, 2.5, 300, .05), "val_target_accuracy": curve(.5, .85, 10)}
        return {
            "degradation": self._trained("pretrain_degradation", {"degradation": filter_}, {"train_psnr": curve(8, 38, 150, .5)}),
            "target": self._trained("pretrain_target", {"target": reader_}, {"target_val_accuracy": curve(.2, .9, 9),
                                                                             "target_train_loss": curve(2, .05, 9)}),
            "budget": self._trained("pretrain_budget", {"budget_0": reader_}, budgets),
            "game": self._trained("train_adversarial", {"degradation": filter_, "target": reader_}, game),
        }

    def _trained(self, stage: str, models: dict[str, Any], curves: dict[str, Any]) -> Trained:
        metrics = {name: points[-1][1] for name, points in curves.items()}
        return Trained(stage=stage, seed=self.seed, models=models, metrics=metrics, seconds=31.4,
                       curves=self.store.put(json.dumps(curves).encode()))
