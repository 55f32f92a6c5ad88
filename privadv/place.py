"""Where one machine keeps its runs."""

from __future__ import annotations

import os
from pathlib import Path

DATABASE, ARTIFACTS = "mlflow.db", "mlflow-artifacts"
"""MLflow's own, below the workspace."""
CONTAINERS = "containers"
"""The workspace, below that one, of runs in containers."""


def workspace() -> Path:
    """PRIVADV_WORKSPACE, or .privadv in the folder that a command is called in."""
    return Path(os.environ.get("PRIVADV_WORKSPACE") or ".privadv")
