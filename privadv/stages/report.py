"""What was won: the results of all rows on one page, as a table for the console, and in MLflow."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pydantic

from privadv.config import Section
from privadv.data.manifest import ClipSet
from privadv.evaluation import wording
from privadv.evaluation.figures import Picture, Points, curves, privacy_utility
from privadv.evaluation.page import render, stage_seconds
from privadv.evaluation.results import RowResult
from privadv.evaluation.summary import Evidence, Summary, plain, summarise
from privadv.models.checkpoint import FilterRef, Trained
from privadv.stages.stage import StageContext
from privadv.store import Blob, Store
from privadv.tracking import Tracker

PROJECT = Path(__file__).resolve().parents[2]
KINDS = {kind: kind for kind in ("val_accuracy", "train_loss", "accuracy", "loss", "steps")} | {
    "fool": "loss"
}
"""The chart of a series that has the word in its name; the first counts."""


class Config(Section):
    """``resamples`` of the bootstrap that gives the intervals."""

    resamples: int = pydantic.Field(default=2000, ge=100)


class Report(Section):
    """The page, the console's table, the final numbers and the filter; ``evidence`` is what several seeds are pooled from.

    A pooled report holds no filter: each seed's own report does.
    """

    kind: Literal["report"] = "report"
    seeds: tuple[int, ...]
    page: Blob
    table: str
    metrics: dict[str, float]
    evidence: tuple[Blob, ...]
    filter: FilterRef | None = None


def run(
    config: Config,
    clips: ClipSet,
    filtered_clips: ClipSet,
    degradation: Trained,
    target: Trained,
    budget: Trained,
    game: Trained,
    results: tuple[RowResult, ...],
    seed: int,
    configuration: str,
    context: StageContext,
) -> Report:
    """The report of one seed; ``configuration`` is the whole run's, as JSON.

    Raises:
        PrivadvError: rows are missing or doubled, or were not read on the same test clips.
    """
    evidence = Evidence(
        seed=seed,
        configuration=configuration,
        resamples=config.resamples,
        clips=clips,
        filtered_clips=filtered_clips,
        stages=(degradation, target, budget, game),
        results=results,
        versions=_versions(),
    )
    summary = summarise([evidence])
    drawing = _Drawing(summary, context.store)
    report = _report(summary, drawing, context.store).model_copy(update={"filter": game.degradation})
    values = {**report.metrics, **_earlier(evidence)}
    _log(context.tracker, summary, drawing, values)
    with context.tracker.parent as parent:
        _log(parent, summary, drawing, values)
    return report


def pool(reports: Sequence[Report], store: Store) -> Report:
    """One report over those of several seeds.

    Raises:
        PrivadvError: a seed comes twice, or the reports are not of the same rows and clips.
    """
    evidence = [
        Evidence.parse(store.get(blob).decode(), "the evidence of a report")
        for report in reports
        for blob in report.evidence
    ]
    summary = summarise(evidence)
    return _report(summary, _Drawing(summary, store), store)


def _report(summary: Summary, drawing: _Drawing, store: Store) -> Report:
    evidence = tuple(store.put(one.canonical().encode()) for one in summary.evidence)
    return Report(
        seeds=tuple(one.seed for one in summary.evidence),
        page=store.put(drawing.page.encode()),
        evidence=evidence,
        table=wording.table(summary),
        metrics=summary.metrics(),
    )


class _Drawing:
    """The page and all pictures on it."""

    def __init__(self, summary: Summary, store: Store) -> None:
        self.plot = privacy_utility(summary)
        self.curves = {one.seed: _curves(one, store) for one in summary.evidence}
        self.samples = {
            row.name: store.get(row.results[0].samples) for row in summary.rows if row.results[0].samples
        }
        self.page = render(summary, self.plot, self.curves, self.samples)


def _curves(evidence: Evidence, store: Store) -> list[Picture]:
    """Charts of every player: a picture a training stage, and those of the filter's fresh readers."""
    stages = {one.stage: _charts(json.loads(store.get(one.curves))) for one in evidence.stages}
    blob = evidence.result("filter").curves
    readers: dict[str, dict[str, Points]] = json.loads(store.get(blob)) if blob else {}
    fresh: dict[str, dict[str, dict[str, Points]]] = {}
    for reader, series in readers.items():
        charts = fresh.setdefault("fresh target" if reader == "target" else "fresh attackers", {})
        for chart, points in series.items():
            charts.setdefault(chart, {})[reader] = points
    return [
        curves(f"curves_{name.replace(' ', '_')}", name, charts)
        for name, charts in (stages | fresh).items()
        if charts
    ]


def _charts(series: dict[str, Points]) -> dict[str, dict[str, Points]]:
    """Series of one kind share a chart; any other has its own."""
    charts: dict[str, dict[str, Points]] = {}
    for name, points in sorted(series.items()):
        chart = next((chart for word, chart in KINDS.items() if word in name), name)
        charts.setdefault(chart, {})[name.removesuffix(f"_{chart}")] = points
    return charts


def _earlier(evidence: Evidence) -> dict[str, float]:
    """The final metrics of the earlier stages, of which a cached one told this run's MLflow nothing."""
    values = {f"{one.stage}/{name}": value for one in evidence.stages for name, value in one.metrics.items()}
    values |= {f"extract_frames/{name}": value for name, value in evidence.clips.metrics.items()}
    values |= {f"filter/{name}": value for name, value in evidence.filtered_clips.metrics.items()}
    return values | {f"seconds/{plain(name)}": value for name, value in stage_seconds(evidence).items()}


def _log(run: Tracker, summary: Summary, drawing: _Drawing, values: dict[str, float]) -> None:
    run.metrics(values)
    run.tags(
        {"mlflow.note.content": wording.note(summary), "synthetic": str(summary.clips.synthetic).lower()}
    )
    for picture in (drawing.plot, *(one for each in drawing.curves.values() for one in each)):
        run.figure(picture.name, picture.png)
    for row, png in drawing.samples.items():
        run.figure(f"samples_{plain(row)}", png)
    run.artifact("report.html", drawing.page.encode())


def _versions() -> dict[str, str]:
    """What made the numbers, as far as it can be told."""
    libraries = {name: _version(name) for name in ("torch", "numpy", "av", "kfp", "mlflow")}
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {
        "privadv": _commit() or _version("privadv"),
        "python": platform.python_version(),
        **libraries,
        "platform": platform.platform(),
        "report made": made,
    }


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """The commit of a checkout; empty where this is none, or git is missing."""
    if not (PROJECT / ".git").exists():
        return ""
    try:
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
