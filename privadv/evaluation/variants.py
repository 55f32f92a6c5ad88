"""Rows of the filter in another form: ``filter:h264:23`` and ``filter:mjpeg:5`` as a camera's codec stores what it releases,
``filter:smooth:0.5`` with that weight as its release's ``smooth``. Nothing is retrained but those who read the row.
"""

from __future__ import annotations

from dataclasses import dataclass

from privadv.data.video.codec import QUALITIES, Codec, Tape
from privadv.errors import PrivadvError
from privadv.evaluation.rows import of_filter, parse
from privadv.models.checkpoint import FilterRef


@dataclass(frozen=True)
class Variant:
    """What is changed about the filter; nothing in the row ``filter``."""

    codec: Codec | None = None
    smooth: float | None = None

    def filter(self, trained: FilterRef) -> FilterRef:
        """The filter that releases the row."""
        if self.smooth is None:
            return trained
        how = trained.spec.release.model_copy(update={"smooth": self.smooth})
        return trained.model_copy(update={"spec": trained.spec.model_copy(update={"release": how})})

    def tape(self) -> Tape | None:
        """What the release is stored on."""
        return Tape(self.codec) if self.codec else None


def check(row: str) -> None:
    """Whether any row has this name, be it of the filter or not.

    Raises:
        PrivadvError: none has.
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
        raise PrivadvError(f"rows: '{row}' is no row: write 'filter:h264:23', 'filter:mjpeg:5' or 'filter:smooth:0.5'")
    return Variant(smooth=weight)
