"""The filter behind MLflow's generic Python function: ``mlflow.pyfunc.load_model("models:/NAME@champion")``.

MLflow imports this module of the installed package and hands it the model's folder, in which there is only data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from privadv.camera.frames import FrameFilter
from privadv.camera.noise import Noise
from privadv.camera.opening import open_folder
from privadv.camera.step import Step
from privadv.models.degradation import Degradation


class ServedFilter:
    """A filter of 8-bit clips."""

    def __init__(self, filter_: Degradation) -> None:
        self._step = Step(filter_)

    def predict(self, model_input: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:
        """uint8 (N, T, H, W, 3) to uint8 of the same shape, exactly as it would be stored; every call draws new noise."""
        clips = np.ascontiguousarray(model_input)
        return np.stack([FrameFilter(self._step, Noise())(clip) for clip in clips])


def _load_pyfunc(path: str) -> ServedFilter:
    return ServedFilter(open_folder(Path(path))[0])
