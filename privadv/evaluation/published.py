"""What others published on these datasets, under other protocols: drawn and listed beside our numbers, compared with nothing.

A_T and A_B (SBU: accuracy; the others: cMAP), in per cent as printed. "+" is restarting; a curve runs over K or M.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Pairs = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curve:
    """``pairs`` of (A_T, A_B) in per cent, one for each of ``settings``."""

    method: str
    settings: tuple[str, ...]
    pairs: Pairs
    source: str = "Wu et al. (2018, 2020)"

    @property
    def line(self) -> bool:
        """Whether its points belong in one line: settings of one strength, not single results."""
        return len(self.pairs) > 1 and self.method != "empirical obfuscation"


def _ensemble(method: str, letter: str, sizes: tuple[int, ...], *pairs: tuple[float, float]) -> Curve:
    return Curve(method, tuple(f"{letter} = {size}" for size in sizes), pairs)


def _rates(rates: tuple[int, ...], *pairs: tuple[float, float]) -> Curve:
    return Curve("downsampling", tuple(f"1/{rate}" for rate in rates), pairs)


FOUR = (1, 2, 4, 8)
SBU = (
    Curve("raw video", ("",), ((88.8, 99.1),)),
    Curve("GRL", ("",), ((80.9, 85.4),)),
    Curve("GRL+", ("",), ((82.8, 84.3),)),
    _ensemble("K-Beam", "K", FOUR, (75.5, 87.9), (80.5, 78.7), (81.9, 86.4), (78.2, 82.2)),
    _ensemble("K-Beam+", "K", FOUR, (78.4, 84.9), (84.5, 80.6), (82.6, 81.5), (78.7, 78.5)),
    _ensemble("Entropy", "M", FOUR, (83.2, 77.6), (84.1, 74.4), (82.7, 72.9), (80.8, 67.2)),
    _ensemble("Entropy+", "M", FOUR, (81.7, 60.5), (82.6, 57.9), (78.0, 54.6), (82.2, 47.7)),
    _rates(
        (1, 2, 3, 4, 6, 8, 14, 16, 28, 56),
        *((88.8, 99.1), (87.9, 98.1), (87.0, 98.1), (81.9, 99.1), (79.5, 98.6)),
        *((74.9, 97.6), (65.1, 97.6), (64.4, 97.2), (56.3, 92.9), (43.5, 73.1)),
    ),
    Curve(
        "empirical obfuscation",
        tuple(str(number) for number in range(1, 9)),
        ((88.5, 98.9), (24.6, 21.4), (88.4, 98.4), (44.6, 49.5), (88.3, 98.5), (58.3, 43.4), (88.6, 98.5), (54.2, 36.3)),
    ),
    Curve("BDQ, about", ("",), ((80.0, 34.0),), source="Kumawat and Nagahara (2022)"),
)
UCF101 = (
    Curve("raw video", ("",), ((69.3, 45.5),)),
    Curve("GRL+", ("",), ((64.4, 38.3),)),
    _ensemble("K-Beam+", "K", FOUR, (65.7, 40.6), (65.5, 39.5), (65.9, 38.6), (67.0, 37.5)),
    _ensemble("Entropy+", "M", FOUR, (66.6, 38.4), (67.5, 36.3), (65.3, 35.2), (66.4, 34.5)),
    _rates((2, 4, 8, 16), (67.9, 42.1), (50.2, 38.6), (43.4, 34.4), (32.8, 30.2)),
)
PA_HMDB51 = (
    Curve("raw video", ("",), ((68.9, 77.3),)),
    Curve("GRL+", ("",), ((63.6, 70.5),)),
    _ensemble("K-Beam+", "K", FOUR, (65.4, 72.2), (66.4, 71.3), (65.7, 70.2), (63.5, 69.3)),
    _ensemble("Entropy+", "M", FOUR, (66.4, 66.0), (65.3, 67.3), (67.5, 64.7), (66.6, 64.6)),
)


# Which attributes of VISPR are meant beside UCF101 is not known: the authors' code has lists of 5 and of 17, later work has 7.
MEASURED: Mapping[tuple[str, str], tuple[Curve, ...]] = {
    ("sbu", "sbu"): SBU,
    ("ucf101", "vispr"): UCF101,
    ("ucf101", "vispr7"): UCF101,
    ("hmdb51", "vispr tested on pa_hmdb51"): PA_HMDB51,
}


def published(target: str, privacy: str) -> tuple[Curve, ...]:
    """The curves of the datasets that label, and test, the two tasks; none where nothing was published on them."""
    return MEASURED.get((target, privacy), ())
