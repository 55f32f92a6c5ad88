"""A comparison in pictures and words: the fronts as a figure, a ranked table, and both on one HTML page."""

from __future__ import annotations

import string
from collections.abc import Sequence
from html import escape
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from privadv.evaluation.comparison import Comparison, Entry
from privadv.evaluation.figures import (
    BASE,
    FAINT,
    INK,
    LINES,
    Labels,
    Look,
    Picture,
    Place,
    canvas,
    draw_place,
    picture,
)
from privadv.evaluation.page import STYLE, figure_html, table_html
from privadv.evaluation.wording import interval
from privadv.tracking.archive import FinishedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNEQUAL = (
    " Baselines were not read on equal terms: attack.strongest sends the strongest attackers alone against them, for one round, "
    "which makes them look more private and of less use."
)


def draw(comparison: Comparison, name: str = "comparison") -> Picture:
    """A_T over A_B_max of every entry, the front, and the chances: PNG and SVG."""
    looks = _looks(comparison)
    with canvas(8.8, 5.2, name) as figure:
        axes = figure.subplots()
        _frame(axes, comparison)
        _step(axes, comparison)
        places = [Place(_label(one), one.target, one.leakage, looks[one.method]) for one in comparison.entries]
        for place in places:
            draw_place(axes, place)
        for method, (color, marker, _) in looks.items():
            axes.plot([], [], marker, color=color, label=method)
        axes.legend(loc="lower right", framealpha=0.8, frameon=True, edgecolor=FAINT)
        figure.draw_without_rendering()
        Labels(axes, places).place()
        return picture(figure, name, "Utility over leakage")


def _looks(comparison: Comparison) -> dict[str, Look]:
    """Colour, marker and size of every method."""
    colors = [color for color in reversed(LINES) if color not in (BASE, FAINT)]
    looks = cycle((color, marker, 7.0) for marker in "D^vP" for color in colors)
    kinds = {entry.method: entry.kind for entry in comparison.entries}
    fixed: dict[str, Look] = {"raw": (INK, "s", 6.5), "baseline": (BASE, "o", 5.0)}
    return {method: fixed[kind] if kind in fixed else next(looks) for method, kind in kinds.items()}


def _label(entry: Entry) -> str:
    return f"{entry.name} (no evidence)" if entry.counts is False else entry.name


def _frame(axes: Axes, comparison: Comparison) -> None:
    leakage, utility = comparison.chance
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel="A_B_max: leaked to the strongest attacker  (← less)",
             ylabel="A_T: kept for the target  (more →)")  # fmt: skip
    axes.grid()
    axes.set_axisbelow(True)
    axes.axhline(utility, color=FAINT, lw=1, ls=":")
    axes.axvline(leakage, color=FAINT, lw=1, ls=":")
    axes.text(1.02, utility, "chance", color=FAINT, ha="right", va="bottom", fontsize=8)
    axes.text(leakage, 1.02, "chance", color=FAINT, ha="right", va="top", fontsize=8, rotation=90)


def _step(axes: Axes, comparison: Comparison) -> None:
    """The front and the area under it."""
    points = [entry.point for entry in comparison.front]
    x = [points[0][0], *(leakage for leakage, _ in points), 1.0]
    y = [comparison.chance[1], *(utility for _, utility in points), points[-1][1]]
    axes.step(x, y, where="post", color=INK, lw=1.1, alpha=0.6, zorder=2)
    axes.fill_between(x, y, comparison.chance[1], step="post", color=FAINT, alpha=0.10, lw=0, zorder=1)


def table(comparison: Comparison) -> str:
    """The console's."""
    width = max(len(entry.name) for entry in comparison.entries)
    lines = [f"{'':{width}}  seeds    A_T  95%        A_B_max  95%        front  counts  hypervolume"]
    for entry in comparison.entries:
        lines.append(
            f"{entry.name:{width}}  {entry.seeds:7}  {entry.target.value:.2f}  {_interval(entry, 'target'):9}  "
            f"{entry.leakage.value:7.2f}  {_interval(entry, 'leakage'):9}  {_front(comparison, entry):5}  "
            f"{_counts(entry):6}  {comparison.alone(entry):11.3f}"
        )
    return "\n".join([headline(comparison), "", *lines])


def headline(comparison: Comparison) -> str:
    """Who leads of those whose leakage is evidence, how much all and each method dominate, and whether terms were equal."""
    best = next((entry for entry in comparison.entries if entry.counts), None)
    data = "synthetic data" if comparison.synthetic else comparison.dataset
    leader = (
        f"{best.name} ranks first of the filters: A_T {best.target.value:.2f} at A_B_max {best.leakage.value:.2f}"
        if best
        else "no filter's leakage counts as evidence, so none ranks first"
    )
    volumes = ", ".join(
        f"{method} {volume:.3f}{'' if comparison.proves(method) else ' (no evidence)'}"
        for method, volume in comparison.by_method().items()
    )
    compared = any(entry.kind == "baseline" for entry in comparison.entries)
    return (
        f"On {data}, {leader}. Hypervolume of all: {comparison.hypervolume:.3f}; by method: {volumes}."
        f"{'' if comparison.equal or not compared else UNEQUAL}"
    )


def page(title: str, comparisons: Sequence[Comparison], pictures: Sequence[Picture], left_out: Sequence[FinishedRun]) -> str:
    """One self-contained page with a section a comparison; ``left_out`` are runs without what it takes."""
    template = string.Template(Path(__file__).with_name("comparison.html").read_text(encoding="utf-8"))
    sections = "".join(
        _section(comparison, drawn, len(comparisons) > 1)
        for comparison, drawn in zip(comparisons, pictures, strict=True)
    )
    named = ", ".join(escape(run.name) for run in left_out)
    missing = f"<p class='soft'>Left out, for lack of results or digests: {named}.</p>" if left_out else ""
    return template.substitute(title=escape(title), style=STYLE, sections=sections, left_out=missing)


def _section(comparison: Comparison, drawn: Picture, several: bool) -> str:
    digests = " ".join(digest[:8] for digest in comparison.digests)
    head = f"<h2>{escape(comparison.dataset)} <small class='soft'>{digests}</small></h2>" if several else ""
    badge = '<p><span class="badge">synthetic data</span></p>' if comparison.synthetic else ""
    return f"{head}{badge}<p class='headline'>{escape(headline(comparison))}</p>{figure_html(drawn)}{_rows(comparison)}"


def _rows(comparison: Comparison) -> str:
    head = [".", "filter or baseline", "method", "seeds", ".A_T", ".A_B_max", ".A_B_mean", "leakage counts", "on the front",
            ".hypervolume"]  # fmt: skip
    body = [
        (
            "own" if entry in comparison.front and entry.kind == "filter" else "",
            [str(rank), escape(entry.name), escape(entry.method), entry.seeds, _estimate(entry, "target"),
             _estimate(entry, "leakage"), f"{entry.mean_leakage:.2f}", _counts(entry), _front(comparison, entry),
             f"{comparison.alone(entry):.3f}"],
        )
        for rank, entry in enumerate(comparison.entries, start=1)
    ]  # fmt: skip
    return f'<div class="scroll">{table_html(head, body)}</div>'


def _estimate(entry: Entry, which: str) -> str:
    return f"{getattr(entry, which).value:.2f} <small>[{_interval(entry, which)}]</small>"


def _interval(entry: Entry, which: str) -> str:
    estimate = getattr(entry, which)
    return interval(estimate) if estimate.high > estimate.low else "-"


def _front(comparison: Comparison, entry: Entry) -> str:
    return "yes" if entry in comparison.front else ""


def _counts(entry: Entry) -> str:
    return "-" if entry.counts is None else "yes" if entry.counts else "NO"
