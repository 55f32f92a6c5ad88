"""Runs, metrics, figures and reports in MLflow, without ever slowing or ending a training."""

from privadv.tracking.tracker import Tracker

__all__ = ["Tracker"]
