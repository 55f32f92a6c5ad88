"""What was won: the results of all rows on one page, as a table for the console, and in MLflow."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import pydantic
import yaml

from privadv.code_version import PROJECT
from privadv.config import Section
from privadv.data.manifest import ClipSet
from privadv.errors import PrivadvError
from privadv.evaluation import identity, wording
from privadv.evaluation.figures import Picture, Points, curves, privacy_utility
from privadv.evaluation.groups import groups, least_kept, most_leaked
from privadv.evaluation.page import render, stage_seconds
from privadv.evaluation.results import RowResult
from privadv.evaluation.summary import Evidence, Summary, plain, summarise
from privadv.models.checkpoint import Measured, ShippedFilter, Trained
from privadv.stages.stage import StageContext, dataset_input
from privadv.stages.workbench import by_split
from privadv.store import Blob, Store
from privadv.tracking import FilterModel, Tracker

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
    filter: ShippedFilter | None = None


def run(
    config: Config,
    clips: ClipSet,
    filtered_clips: tuple[ClipSet, ...],
    degradation: Trained,
    target: Trained,
    budget: Trained,
    game: Trained,
    results: tuple[RowResult, ...],
    seed: int,
    configuration: str,
    context: StageContext,
) -> Report:
    """The report of one seed; ``configuration`` is the whole run's, as JSON; ``filtered_clips``
    are those of the filter, beside which others may stand.

    Raises:
        PrivadvError: rows are missing or doubled, or were not read on the same test clips.
    """
    own = [one for one in filtered_clips if one.row == "filter"]
    if len(own) != 1:
        rows = [one.row for one in filtered_clips]
        raise PrivadvError(f"report: filtered_clips hold {rows}: give those of the row filter once")
    evidence = Evidence(
        seed=seed,
        configuration=configuration,
        resamples=config.resamples,
        clips=clips,
        filtered_clips=own[0],
        stages=(degradation, target, budget, game),
        results=results,
        versions=_versions(),
    )
    summary = summarise([evidence])
    drawing = _Drawing(summary, context.store)
    shipped = _shipped(summary, game)
    report = _report(summary, drawing, context.store).model_copy(update={"filter": shipped})
    values = {**report.metrics, **_of_filter(summary), **_earlier(evidence)}
    with context.tracker.parent as parent:
        _identify(parent, evidence)
        _log(parent, summary, drawing, values)
        _replay(parent, game, context.store)
    # Last of all: it takes the longest, and nobody who looks at the run waits for it.
    parent.model(_model(summary, shipped))
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


def _of_filter(summary: Summary) -> dict[str, float]:
    """Of the filter alone: its worst groups, and what rendering measured."""
    metrics = summary.evidence[0].filtered_clips.metrics
    measured = {name: metrics[name] for name in ("psnr", "flicker", "filter_ms_per_frame") if name in metrics}
    return measured | _worst(summary)


def _worst(summary: Summary) -> dict[str, float]:
    """What is kept of the class that the filter serves worst, and read of the one that it exposes most."""
    found = groups(summary.row("filter"), summary.clips)
    least, most = least_kept(found), most_leaked(found)
    values = {"worst_group/A_T": least and least.kept, "worst_group/A_B_max": most and most.leaked}
    return {name: value for name, value in values.items() if value is not None}


def _earlier(evidence: Evidence) -> dict[str, float]:
    """The final metrics of the earlier stages, of which a cached one told this run's MLflow nothing."""
    values = {f"{one.stage}/{name}": value for one in evidence.stages for name, value in one.metrics.items()}
    values |= {f"extract_frames/{name}": value for name, value in evidence.clips.metrics.items()}
    values |= {f"render/{name}": value for name, value in evidence.filtered_clips.metrics.items()}
    return values | {f"seconds/{plain(name)}": value for name, value in stage_seconds(evidence).items()}


def _identify(run: Tracker, evidence: Evidence) -> None:
    """All of the run's parameters, the tags it is found and compared by, its data and its configuration."""
    configuration = json.loads(evidence.configuration)
    run.params(configuration)
    run.tags({**identity.tags(evidence), **_source()})
    run.dataset(dataset_input(evidence.clips, "training"))
    run.dataset(dataset_input(evidence.filtered_clips, "evaluation"))
    run.artifact("config.yaml", yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True).encode())


def _shipped(summary: Summary, game: Trained) -> ShippedFilter:
    """The filter with the size at which it was measured, which whoever uses it must keep to, and the result."""
    clips, rendered, values = summary.clips, summary.evidence[0].filtered_clips, summary.metrics()
    size = clips.geometry
    measured = clips.resize and Measured(
        dataset=clips.dataset,
        synthetic=clips.synthetic,
        resize=clips.resize,
        crop=(size.height, size.width),
        frames=size.frames,
        step=max(1, round(rendered.metrics.get("frame_step", 1))),
        fps=clips.metrics.get("video_fps"),
        A_T=values["A_T"],
        A_B_max=values["A_B_max"],
        lower_bound=summary.row("filter").lower_bound,
        counts=bool(values["leakage_counts"]),
    )
    return ShippedFilter(spec=game.degradation.spec, weights=game.degradation.weights, measured=measured)


def _model(summary: Summary, filter_: ShippedFilter) -> FilterModel:
    """The filter for the model registry; filters of one data set and frame size follow each other as versions."""
    clips, one = summary.clips, summary.evidence[0]
    size = clips.geometry
    return FilterModel(
        registered=f"privadv-{clips.dataset}-{size.height}x{size.width}",
        manifest=filter_.model_dump(mode="json"),
        weights=filter_.weights,
        geometry=(size.frames, size.height, size.width),
        tags=identity.tags(one),
        description=wording.note(summary),
    )


def _log(run: Tracker, summary: Summary, drawing: _Drawing, values: dict[str, float]) -> None:
    run.metrics(values)
    for picture in (drawing.plot, *(one for each in drawing.curves.values() for one in each)):
        run.figure(picture.name, picture.png)
    for row, png in drawing.samples.items():
        run.figure(f"samples_{plain(row)}", png)
    run.artifact("report.html", drawing.page.encode())
    run.note(wording.note(summary), drawing.plot.name)


def _replay(run: Tracker, game: Trained, store: Store) -> None:
    """The game's curves, which the stage's own run has, where runs are compared; a game out of the cache has none else."""
    rounds: dict[int, dict[str, float]] = {}
    for series, points in json.loads(store.get(game.curves)).items():
        for number, value in points:
            rounds.setdefault(int(number), {})[by_split(series)] = value
    for number, values in sorted(rounds.items()):
        run.metrics(values, number)


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


def _source() -> dict[str, str]:
    """MLflow's own tags of where a run comes from."""
    commit = _commit().removesuffix("-dirty")
    return {"mlflow.source.name": "pipeline.py", **({"mlflow.source.git.commit": commit} if commit else {})}


def _commit() -> str:
    """PRIVADV_REVISION, which images have, or the commit of a checkout; empty where there is neither."""
    if revision := os.environ.get("PRIVADV_REVISION"):
        return revision
    if not (PROJECT / ".git").exists():
        return ""
    try:
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    from privadv.stages.alone import main

    main("report")
