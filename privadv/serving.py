"""The filter behind MLflow's generic Python function: ``mlflow.pyfunc.load_model("models:/NAME@champion")``.

MLflow imports this module of the installed package and hands it the model's folder, in which there is only data.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from privadv.data.feeds import to_uint8
from privadv.errors import PrivadvError
from privadv.models.checkpoint import FilterRef, load_weights
from privadv.models.degradation import Degradation


class ServedFilter:
    """A filter of 8-bit clips."""

    def __init__(self, filter_: Degradation) -> None:
        self._filter = filter_.eval()

    @torch.no_grad()
    def predict(self, model_input: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:
        """uint8 (N, T, H, W, 3) to uint8 of the same shape, exactly as it would be stored; every call draws new noise."""
        clips = torch.from_numpy(np.ascontiguousarray(model_input)).permute(0, 4, 1, 2, 3).float() / 255
        return to_uint8(self._filter(clips))


def open_folder(folder: Path) -> Degradation:
    """The filter of a folder with ``filter.json`` and ``filter.safetensors``.

    Raises:
        PrivadvError: a file is missing, is not what the manifest says, or belongs to another network.
    """
    try:
        manifest, weights = (folder / "filter.json").read_text(), (folder / "filter.safetensors").read_bytes()
    except OSError as error:
        raise PrivadvError(f"{error.filename}: cannot be read ({error.strerror}): give a filter's folder") from None
    ref = FilterRef.parse(manifest, f"{folder}/filter.json")
    if hashlib.sha256(weights).hexdigest() != ref.weights.sha256:
        raise PrivadvError(f"{folder}/filter.safetensors: not the weights that filter.json names: get both again")
    filter_ = ref.spec.build()
    load_weights(filter_, weights, f"{folder}/filter.safetensors")
    return filter_


def _load_pyfunc(path: str) -> ServedFilter:
    return ServedFilter(open_folder(Path(path)))
