"""Runs, metrics, figures and reports in MLflow, without ever slowing or ending a training."""

from privadv.tracking.session import Session
from privadv.tracking.spool import CANDIDATE, CHAMPION, MANIFEST, WEIGHTS, DatasetInput, FilterModel
from privadv.tracking.tracker import Tracker, platform_tags

__all__ = ["CANDIDATE", "CHAMPION", "MANIFEST", "WEIGHTS", "DatasetInput", "FilterModel", "Session", "Tracker",
           "platform_tags"]
