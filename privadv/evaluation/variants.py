"""Rows of the filter in another form: ``filter:h264:23`` and ``filter:mjpeg:5`` as a camera's codec stores what it releases,
``filter:smooth:0.5`` with that weight as its release's ``smooth``, ``filter:fp16`` and ``filter:int8`` as an exported graph of
that precision computes it. Nothing is retrained but those who read the row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privadv.data.video.codec import QUALITIES, Codec, Tape
from privadv.errors import PrivadvError
from privadv.evaluation.rows import of_filter, parse
from privadv.models.checkpoint import FilterRef
from privadv.models.degradation import Degradation
from privadv.store import Store

if TYPE_CHECKING:
    import numpy as np

    from privadv.camera.graph import Precision


@dataclass(frozen=True)
class Variant:
    """What is changed about the filter; nothing in the row ``filter``."""

    codec: Codec | None = None
    smooth: float | None = None
    precision: Precision | None = None

    def open(self, trained: FilterRef, store: Store, seen: Iterable[np.ndarray], threads: int) -> Degradation:
        """The filter that releases the row; in 8 bit with ranges as they are on the raw clips ``seen``, uint8 (T, H, W, 3).

        Raises:
            PrivadvError: it cannot be had in this precision.
        """
        if self.smooth is not None:
            how = trained.spec.release.model_copy(update={"smooth": self.smooth})
            trained = trained.model_copy(update={"spec": trained.spec.model_copy(update={"release": how})})
        filter_ = trained.open(store)
        if self.precision is None:
            return filter_
        from privadv.camera.deployed import deploy  # onnxruntime takes seconds to import

        return deploy(filter_, self.precision, seen, threads)

    def tape(self) -> Tape | None:
        """What the release is stored on."""
        return Tape(self.codec) if self.codec else None


def check(row: str) -> None:
    """Refuse what is the name of no row, be it of the filter or not.

    Raises:
        PrivadvError: it is none.
    """
    _ = variant(row) if of_filter(row) else parse(row)


def variant(row: str) -> Variant:
    """That of a row of the filter.

    Raises:
        PrivadvError: there is no such row.
    """
    if row == "filter":
        return Variant()
    how = row.partition(":")[2]
    kind, _, strength = how.partition(":")
    if how in ("fp16", "int8"):
        return Variant(precision=how)
    if kind in QUALITIES:
        try:
            return Variant(codec=Codec.parse(how))
        except PrivadvError as error:
            raise PrivadvError(f"rows: '{row}' is no row: {error}") from None
    try:
        weight = float(strength) if kind == "smooth" else -1.0
    except ValueError:
        weight = -1.0
    if not 0 <= weight < 1:
        raise PrivadvError(
            f"rows: '{row}' is no row: write 'filter:h264:23', 'filter:mjpeg:5', 'filter:smooth:0.5', 'filter:fp16' "
            "or 'filter:int8'"
        )
    return Variant(smooth=weight)
