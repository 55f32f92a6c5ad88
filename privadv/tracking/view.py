"""MLflow's page of runs as this project wants it: which runs, columns and charts, kept in a tag of the experiment.

MLflow writes such tags itself when somebody shares a view; its shape is that of its page's own state (MLflow 3.17).
"""

from __future__ import annotations

import json
from typing import Any

from mlflow import MlflowClient

KEY = "privadv"
TAG = f"mlflow.sharedViewState.{KEY}"
COLUMNS = ("tags.algorithm", "params.train_adversarial.algorithm.gamma", "tags.seed", "metrics.A_T", "metrics.A_B_max",
           "metrics.A_B_mean", "metrics.leakage_counts", "metrics.A_T_gain", "metrics.psnr", "metrics.flicker",
           "metrics.filter_ms_per_frame", "tags.budget_models", "tags.restarting", "tags.dataset", "tags.git")
BARS = ("A_T", "A_B_max", "A_B_mean", "A_T_gain", "psnr", "flicker", "filter_ms_per_frame")
LINES = ("train/target_accuracy", "train/budget_accuracy_max", "val/target_accuracy")


def share(client: MlflowClient, experiment_id: str) -> str:
    """Keep the view in the experiment; returns the path of its page."""
    text = json.dumps(_state(), separators=(",", ":"))
    if client.get_experiment(experiment_id).tags.get(TAG) != text:
        client.set_experiment_tag(experiment_id, TAG, text)
    return (f"/#/experiments/{experiment_id}/runs?compareRunsMode=TABLE&workflowType=machine_learning"
            f"&viewStateShareKey={KEY}")


def _state() -> dict[str, Any]:
    charts = [_scatter(), *(_chart("BAR", "result", name) for name in BARS),
              *(_chart("LINE", "game", name) for name in LINES)]
    return {
        "searchFilter": "tags.kind = 'pipeline'",
        "orderByKey": "metrics.`A_T_gain`",
        "orderByAsc": False,
        "selectedColumns": [_column(name) for name in COLUMNS],
        "columnOrder": [_column(name) for name in COLUMNS],
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": charts,
        "compareRunSections": [_section("result", "Result"), _section("game", "The game, by round")],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
    }


def _column(name: str) -> str:
    kind, _, key = name.partition(".")
    return f"{kind}.`{key}`"


def _section(uuid: str, name: str) -> dict[str, Any]:
    return {"uuid": uuid, "name": name, "display": True, "isReordered": True, "deleted": False, "isGenerated": False}


def _chart(kind: str, section: str, metric: str) -> dict[str, Any]:
    shared = {"uuid": f"{kind}-{metric}", "type": kind, "metricSectionId": section, "runsCountToCompare": 20,
              "deleted": False, "isGenerated": False}
    return {**shared, "metricKey": metric, "selectedMetricKeys": [metric], "displayName": metric.rpartition("/")[2]}


def _scatter() -> dict[str, Any]:
    chart = _chart("SCATTER", "result", "A_T")
    axes = {axis: {"key": key, "type": "METRIC"} for axis, key in (("xaxis", "A_B_max"), ("yaxis", "A_T"))}
    return {name: value for name, value in chart.items() if "etric" not in name or name == "metricSectionId"} | axes
