"""Runs, metrics, figures and reports in MLflow, without ever slowing or ending a training."""

from privadv.tracking.spool import DatasetInput, FilterModel
from privadv.tracking.tracker import Tracker, platform_tags

__all__ = ["DatasetInput", "FilterModel", "Tracker", "platform_tags"]
