"""Which filter is meant: a folder that a run published, a registered model, or an exported graph."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from privadv.camera.step import Step, Stepping
from privadv.errors import PrivadvError
from privadv.models.checkpoint import Measured, ShippedFilter
from privadv.models.degradation import Degradation
from privadv.scratch import scratch
from privadv.tracking import MANIFEST, WEIGHTS

REGISTERED = "models:/"
NOWHERE = "give a folder that a run published, its filter.json, an exported .onnx, or models:/NAME@ALIAS"


@dataclass(frozen=True)
class Opened:
    """A filter that is ready to work, and what is known of it; ``precision``: fp32, fp16 or int8."""

    shipped: ShippedFilter
    step: Stepping
    device: torch.device
    precision: str = "fp32"

    @property
    def measured(self) -> Measured | None:
        return self.shipped.measured


def open_model(where: str) -> Opened:
    """The filter that ``where`` names.

    Raises:
        PrivadvError: there is none, or a file of it is damaged or of another filter.
    """
    if where.endswith(".onnx"):
        from privadv.camera.graph import open_graph
        from privadv.device import CPU

        graph, shipped, precision = open_graph(Path(where))
        return Opened(shipped, graph, CPU, precision)
    from privadv.device import device

    filter_, shipped = open_filter(where)
    return Opened(shipped, Step(filter_).to(device()), device())


def open_filter(where: str) -> tuple[Degradation, ShippedFilter]:
    """The filter of a folder, its manifest or its weights, or of a registered model.

    Raises:
        PrivadvError: as for :func:`open_model`.
    """
    if where.startswith(REGISTERED):
        with scratch() as folder:
            return open_folder(_download(where, folder))
    path = Path(where)
    if path.is_file() and path.name not in (MANIFEST, WEIGHTS):
        raise PrivadvError(f"{path}: is no {MANIFEST}: {NOWHERE}")
    return open_folder(path.parent if path.name in (MANIFEST, WEIGHTS) else path)


def open_folder(folder: Path) -> tuple[Degradation, ShippedFilter]:
    """The filter of a folder with filter.json and filter.safetensors; raises PrivadvError as :func:`open_model`."""
    try:
        manifest, weights = (folder / MANIFEST).read_text(encoding="utf-8"), (folder / WEIGHTS).read_bytes()
    except UnicodeDecodeError:
        raise PrivadvError(f"{folder / MANIFEST}: no text: get it again") from None
    except OSError as error:
        raise PrivadvError(f"{error.filename}: cannot be read ({error.strerror}): {NOWHERE}") from None
    shipped = ShippedFilter.parse(manifest, str(folder / MANIFEST))
    if hashlib.sha256(weights).hexdigest() != shipped.weights.sha256:
        raise PrivadvError(f"{folder / WEIGHTS}: not the weights that {MANIFEST} names: get both again")
    return shipped.rebuild(weights, str(folder / WEIGHTS)), shipped


def _download(where: str, folder: Path) -> Path:
    """A version of a registered model, by alias (NAME@ALIAS) or number (NAME/3), in ``folder``."""
    from privadv.tracking.archive import Archive

    text = where.removeprefix(REGISTERED)
    name, _, which = text.partition("@") if "@" in text else text.partition("/")
    if not name or not which:
        raise PrivadvError(f"{where}: write models:/NAME@ALIAS or models:/NAME/VERSION")
    archive = Archive()
    version = archive.version(name, which)
    if version is None:
        raise PrivadvError(f"{where}: there is no such version: one of {', '.join(archive.models()) or '(no filter yet)'}")
    return archive.download(version, folder)
