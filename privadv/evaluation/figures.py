"""The report's figures, each as PNG for MLflow and as SVG for the page. matplotlib is imported when one is drawn."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from privadv.evaluation.metrics import Estimate
from privadv.evaluation.published import Curve
from privadv.evaluation.summary import Row, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

INK, FAINT, OWN, BASE, PAPER = "#1c1e21", "#8a9099", "#c2410b", "#0a6ebd", "#fffffe"
INKS = {INK: "--ink", FAINT: "--faint", OWN: "--own", BASE: "--base", PAPER: "--paper"}
"""Colours that the page's style sheet replaces, so that a drawing follows its light or dark background."""

LINES = ("#0a6ebd", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#c2410b", "#8a9099")
STYLE = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "svg.fonttype": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
}
Points = Sequence[Sequence[float]]
Look = tuple[str, str, float]
"""Colour, marker and its size."""


@dataclass(frozen=True)
class Place:
    """Where something lies in the plot, and how it looks there."""

    name: str
    target: Estimate
    leakage: Estimate
    look: Look


@dataclass(frozen=True)
class Picture:
    """A drawn figure: ``png`` on white, ``svg`` in the colours of the page that holds it; ``width`` in inches."""

    name: str
    title: str
    png: bytes
    svg: str
    width: float


def privacy_utility(summary: Summary) -> Picture:
    """A_T over A_B_max of all rows but the controls, with intervals, the floors and the front of the baselines."""
    with canvas(8.8, 5.2, "privacy_utility") as figure:
        _draw(figure, summary)
        return picture(figure, "privacy_utility", "Utility over leakage")


def _draw(figure: Figure, summary: Summary) -> None:
    axes = figure.subplots()
    places = [Place(row.name, row.target, row.leakage, _look(row)) for row in summary.rows if not row.control]
    _frame(axes, summary)
    _front(axes, summary)
    _published(axes, summary.published)
    for place in places:
        draw_place(axes, place)
    figure.draw_without_rendering()  # settles where everything lies
    Labels(axes, places).place()


def _frame(axes: Axes, summary: Summary) -> None:
    floors, multi_label = (summary.blind_target, summary.blind_leakage), summary.clips.budget.multi_label
    axes.set(
        xlim=(0, 1.03),
        ylim=(0, 1.03),
        xlabel=f"A_B_max: {summary.clips.budget.name} read by the strongest attacker"
        f"{', cMAP' if multi_label else ''}  (← less leakage)",
        ylabel=f"A_T: {summary.clips.target.name} read  (more use →)",
    )
    axes.grid()
    axes.set_axisbelow(True)
    axes.axhline(floors[0], color=FAINT, lw=1, ls=":")
    axes.axvline(floors[1], color=FAINT, lw=1, ls=":")
    axes.text(
        1.02, floors[0], "blind guess", color=FAINT, ha="right", va="bottom", fontsize=8
    )
    axes.text(
        floors[1],
        1.02,
        "blind guess",
        color=FAINT,
        ha="right",
        va="top",
        fontsize=8,
        rotation=90,
    )


def _front(axes: Axes, summary: Summary) -> None:
    if not summary.baselines:
        return
    leakage = np.linspace(summary.blind_leakage, 1, 400)
    axes.plot(leakage, summary.front(leakage), color=BASE, lw=1, ls="--", alpha=0.7, zorder=2)


def _published(axes: Axes, curves: Sequence[Curve]) -> None:
    """Others' results, hollow and faint, so that nobody takes them for measured ones."""
    looks = zip(itertools.cycle("s^vo<>Pd"), itertools.cycle(LINES))
    for curve, (marker, color) in zip(curves, looks, strict=False):
        kept, leaked = np.asarray(curve.pairs).T / 100
        style: Any = {"color": color, "marker": marker, "mfc": "none", "ms": 4, "lw": 0.8, "alpha": 0.75, "zorder": 1}
        axes.plot(leaked, kept, ls=":" if curve.line else "", label=curve.method, **style)
    if curves:
        beside: Any = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        axes.legend(title="published,\nother protocol", **beside)


def draw_place(axes: Axes, place: Place) -> None:
    """A point with its intervals."""
    color, marker, size = place.look
    x, y = place.leakage, place.target
    axes.plot([x.low, x.high], [y.value, y.value], color=color, lw=1.2, alpha=0.45, zorder=3)
    axes.plot([x.value, x.value], [y.low, y.high], color=color, lw=1.2, alpha=0.45, zorder=3)
    axes.plot(x.value, y.value, marker, color=color, ms=size, zorder=5 if place.name == "filter" else 4)


def _look(row: Row) -> Look:
    """Told apart without colours too."""
    other: Look = (OWN, "d", 6.0) if row.variant else (BASE, "o", 5.0)
    return {"filter": (OWN, "D", 8.0), "raw": (INK, "s", 6.5)}.get(row.name, other)


class Labels:
    """Names beside their points, each where it covers least of the points, intervals and names placed before."""

    def __init__(self, axes: Axes, places: Sequence[Place]) -> None:
        self._axes, self._places = axes, sorted(places, key=lambda place: place.name != "filter")
        self._taken = [box for place in places for box in self._shapes(place)]

    def place(self) -> None:
        """Write all names; the filter's first."""
        for place in self._places:
            text = self._axes.annotate(
                place.name,
                (place.leakage.value, place.target.value),
                (0, 0),
                textcoords="offset points",
                color=place.look[0],
                fontsize=8.5,
                fontweight="bold" if place.name == "filter" else "normal",
                ha="center",
                va="center",
                zorder=3.5,
                bbox={"facecolor": PAPER, "alpha": 0.7, "linewidth": 0, "pad": 0.6},
            )
            centred = text.get_window_extent()
            moves = [_beside(centred, *beside) for beside in itertools.product((7, 14, 24, 36), SIDES)]
            move = min(moves, key=lambda move: self._cost(centred.translated(*move)))
            self._taken.append(centred.translated(*move))
            text.xyann = np.multiply(move, 72 / self._axes.figure.dpi).tolist()

    def _cost(self, box: Bbox) -> float:
        """Covered area, in square pixels; leaving the axes is the worst."""
        inside = _overlap(box, self._axes.get_window_extent())
        return sum(_overlap(box, other) for other in self._taken) + 100 * (box.width * box.height - inside)

    def _shapes(self, place: Place) -> list[Bbox]:
        x, y = place.leakage, place.target
        return [
            self._box((x.value, y.value), (x.value, y.value), 7),
            self._box((x.low, y.value), (x.high, y.value), 2),
            self._box((x.value, y.low), (x.value, y.high), 2),
        ]

    def _box(self, low: tuple[float, float], high: tuple[float, float], margin: float) -> Bbox:
        from matplotlib.transforms import Bbox

        corners = self._axes.transData.transform([low, high])
        return Bbox(np.add(corners, [[-margin], [margin]]))


SIDES = ((1, 0.6), (-1, 0.6), (1, -0.6), (-1, -0.6), (1, 0), (-1, 0), (0, 1), (0, -1))


def _beside(centred: Bbox, reach: float, side: tuple[float, float]) -> tuple[float, float]:
    """The move, in pixels, that takes a name from its point's centre to one of its sides."""
    dx, dy = side
    return dx * reach + np.sign(dx) * centred.width / 2, dy * reach + np.sign(dy) * centred.height / 2


def _overlap(one: Bbox, other: Bbox) -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(width, 0) * max(height, 0)


def curves(name: str, title: str, charts: Mapping[str, Mapping[str, Points]]) -> Picture:
    """Charts, three a line: {chart: {line: [[step, value], ...]}}. A long line is smoothed over its faint self."""
    labels = {tuple(lines) for lines in charts.values()}
    longest = max(map(len, labels))
    shared = len(labels) == 1 and longest > 1
    columns, rows = min(3, len(charts)), -(-len(charts) // 3)
    width, height = 3.2 * columns + 2.4 * shared, rows * (2.5 if shared else 2.5 + 0.17 * longest)
    with canvas(width, height, name) as figure:
        places = figure.subplots(rows, columns, squeeze=False).flat
        for axes, (chart, lines) in zip(places, charts.items(), strict=False):
            _chart(axes, chart, lines)
            if not shared and longest > 1:
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22))
        if shared:
            places[len(charts) - 1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        for empty in places[len(charts) :]:
            empty.remove()
        return picture(figure, name, title)


def _chart(axes: Axes, chart: str, lines: Mapping[str, Points]) -> None:
    looks = itertools.cycle(itertools.product(("-", "--", ":"), LINES))
    for (label, points), (dashes, color) in zip(lines.items(), looks, strict=False):
        steps, values = np.asarray(points, float).reshape(-1, 2).T
        window = len(steps) // 30
        if window > 1:
            axes.plot(steps, values, color=color, lw=0.6, alpha=0.25)
            steps, values = steps[window - 1 :], np.convolve(values, np.ones(window) / window, "valid")
        axes.plot(steps, values, dashes, color=color, label=label, marker="." if len(steps) < 3 else "")
    axes.set(title=chart, xlabel="step")
    axes.grid()
    if "accuracy" in chart:
        axes.set_ylim(0, 1.03)


@contextmanager
def canvas(width: float, height: float, name: str) -> Iterator[Figure]:
    """An empty figure without pyplot: no display, no global state."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The salt keeps the ids of several drawings on one page apart.
    style: Any = STYLE | {"svg.hashsalt": name}
    with matplotlib.rc_context(style):
        figure = Figure((width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def picture(figure: Figure, name: str, title: str) -> Picture:
    """A drawn figure, in both formats."""
    png, svg = io.BytesIO(), io.StringIO()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # both are drawn as they lie now
    figure.savefig(png, format="png", dpi=150, facecolor="white")
    figure.savefig(
        svg, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    text = re.sub(r' (width|height)="[\d.]+pt"', "", svg.getvalue(), count=2)
    for color, variable in INKS.items():
        text = text.replace(color, f"var({variable})")
    return Picture(name, title, png.getvalue(), text[text.index("<svg") :], float(figure.get_figwidth()))
