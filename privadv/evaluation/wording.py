"""A summary in words: the sentences of the page, the console table and MLflow's note."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from statistics import fmean

from privadv.evaluation.groups import Group, least_kept, most_leaked
from privadv.evaluation.metrics import Estimate
from privadv.evaluation.summary import ENOUGH, PLANTED, Row, Summary

WIDTH = 80
PUBLISHED = (
    "Hollow marks in the plot. Other splits, other attackers, perhaps other attributes of VISPR, another way to downsample and "
    "another A_T (that of the target trained in the game): they show where the field stands, and are no baseline of this run."
)


def title(summary: Summary) -> str:
    """The name of the run's configuration."""
    return str(json.loads(summary.evidence[0].configuration).get("name") or "privadv")


def seeds(summary: Summary) -> str:
    """Such as ``seed 0`` or ``seeds 0, 1, 2``."""
    named = ", ".join(str(one.seed) for one in summary.evidence)
    return f"seeds {named}" if len(summary.evidence) > 1 else f"seed {named}"


def data(summary: Summary) -> str:
    """What the numbers were measured on."""
    clips = summary.clips
    of = "" if clips.budget.multi_label else "of "
    apart = f" and {clips.private.count('test')} for the {clips.budget.name}" if clips.private else ""
    return (
        f"{where(summary)}: {len(clips.target.classes)} classes of {clips.target.name}, "
        f"{len(clips.budget.classes)} {of}{clips.budget.name}, {clips.count('test')} test clips{apart}, {seeds(summary)}"
        f"{_colours(summary)}"
    )


def where(summary: Summary) -> str:
    """The name of the data."""
    clips = summary.clips
    named = f"{clips.dataset} with {clips.private.dataset}" if clips.private else clips.dataset
    return "synthetic data" if clips.synthetic else named


def leakage(summary: Summary, value: float) -> str:
    """An A_B as a headline gives it."""
    return f"{value:.2f}" if summary.clips.budget.multi_label else percent(value)


def _colours(summary: Summary) -> str:
    """The control on the data: how far colours alone go on raw video."""
    found = [
        one.metrics["A_B_histogram"] for one in summary.row("raw").results if "A_B_histogram" in one.metrics
    ]
    how = "at a cMAP of" if summary.clips.budget.multi_label else "in"
    return (
        f"; a colour histogram alone tells the {summary.clips.budget.name} {how} {leakage(summary, fmean(found))}"
        if found
        else ""
    )


def headline(summary: Summary) -> str:
    """What the filter keeps and what it leaks, in one sentence."""
    raw, own, clips = summary.row("raw"), summary.row("filter"), summary.clips
    least = "at least " if own.lower_bound else ""
    how = "at a cMAP of" if clips.budget.multi_label else "from"
    return (
        f"On {where(summary)}, the {clips.target.name} can be read from {percent(own.target.value)} of the filtered clips "
        f"(raw video {percent(raw.target.value)}, blind guess {percent(summary.blind_target)}), while the strongest of "
        f"{own.attackers} fresh attackers reads the {clips.budget.name} {how} {least}"
        f"{leakage(summary, own.leakage.value)} (raw video {leakage(summary, raw.leakage.value)}, "
        f"blind guess {leakage(summary, summary.blind_leakage)})."
    )


def comparison(summary: Summary) -> str:
    """The filter beside the baselines."""
    better, names = summary.dominating, [row.name for row in summary.baselines]
    if not names:
        return "No baseline was run: there is nothing to compare the filter with."
    beaten = (
        f"{', '.join(better)} {'has' if len(better) == 1 else 'have'} both a higher A_T and a lower A_B_max"
        if better
        else f"None of the baselines that were run ({', '.join(names)}) has both a higher A_T and a lower A_B_max"
    )
    gain = summary.gain
    side = "above" if gain.value >= 0 else "below"
    sure = "excludes" if gain.low > 0 or gain.high < 0 else "includes"
    return (
        f"{beaten}. At its leakage the filter lies {abs(gain.value):.2f} A_T {side} the front of the baselines "
        f"(95% interval {gain.low:+.2f} to {gain.high:+.2f}, which {sure} 0).{_unequal(summary)}"
    )


def _unequal(summary: Summary) -> str:
    """That baselines were read by fewer attackers, or by some with fewer updates; nothing where they are as the filter's."""
    own = summary.row("filter")
    fewer = [row.name for row in summary.baselines if row.attackers < own.attackers]
    shorter = [row.name for row in summary.baselines if own.went_on and not row.went_on]
    said = [f"fewer attackers than the filter's {own.attackers} read {', '.join(fewer)}"] if fewer else []
    if shorter:
        said.append(f"the target and attackers of {', '.join(shorter)} had one round, those of the filter went on")
    if not said:
        return ""
    return (
        f" That is not on equal terms: {'; '.join(said)}. A run with attack.strongest: 0, as configs/full.yaml, sends "
        "all of them against every row."
    )


def variants(summary: Summary) -> str:
    """What a codec or a steadier release makes of the filter, against the filter itself; empty where no row is that."""
    if not summary.variants:
        return ""
    each = []
    for row in summary.variants:
        kept, leaked = summary.change(row)
        rate = row.measured("kbit_per_second")
        stored = f" ({rate:.0f} kbit/s)" if rate is not None else ""
        each.append(f"{row.name}{stored} A_T {_change(kept)}, A_B_max {_change(leaked)}")
    return f"What other forms of the filter change about it (95% intervals): {'; '.join(each)}."


def _change(estimate: Estimate) -> str:
    return f"{estimate.value:+.2f} ({estimate.low:+.2f} to {estimate.high:+.2f})"


def verdict(summary: Summary) -> str:
    """Whether the leakage is evidence, and why."""
    own, found = summary.row("filter"), {row.name: row for row in summary.controls}
    if not summary.counts:
        opening = "The leakage does not count as evidence of privacy"
    elif own.enough_converged:
        opening = "The leakage counts as evidence"
    else:
        opening = f"The leakage counts by the controls alone{' and stays a lower bound' if own.lower_bound else ''}"
    controls = [f"{name} {_reading(found.get(name))}" for name in summary.plantable]
    return (
        f"{opening}: {own.converged} of {own.attackers} attackers of the filter converged ({ENOUGH} are enough)"
        f"{_weak(summary.row('raw'))}; "
        f"of the controls, {' and '.join(controls)} (enough is {own.bar:.2f}; they "
        f"carry no noise of a filter's release).{_few_unseen(own)}"
    )


def _weak(raw: Row) -> str:
    """Who proves nothing, whatever it reads or does not."""
    names = sorted({reader.name for one, able in zip(raw.results, raw.able, strict=True) for reader in one.attackers
                    if reader.name not in able})  # fmt: skip
    return f", those left out that cannot read raw video ({', '.join(names)})" if names else ""


def worst(found: Sequence[Group]) -> str:
    """The group that the filter serves worst, and the one that it exposes most."""
    least, most = least_kept(found), most_leaked(found)
    said = [f"The filter keeps least of {_group(least)}: the target reads {percent(least.kept or 0)}"] if least else []
    if most:
        among = sum(one.leaked is not None for one in found)
        said.append(f"the most exposed of {among} groups is {_group(most)}, {_exposed(most, most.leaked or 0)}")
    return f"{'; '.join(said)}."


def _exposed(group: Group, leaked: float) -> str:
    if group.secret:
        return f"which one attacker tells from all others with F1 {leaked:.2f}"
    return f"of whose clips one attacker reads {percent(leaked)}"


def _group(group: Group) -> str:
    return f"{group.task} '{group.name}' ({group.clips} test clips)"


def _few_unseen(own: Row) -> str:
    """What a run of the paper's profile must say: the honest one refuses it."""
    families = own.unseen_families
    if len(families) > 1:
        return ""
    known = f"only {families[0]} was" if families else "none was"
    return f" Of the attackers' families {known} unseen in training, as the paper's profile allows and the honest one does not."


def _reading(control: Row | None) -> str:
    if control is None:
        return "was not in this run"
    return f"was {'' if control.read else 'not '}read ({control.leakage.value:.2f})"


def flags(row: Row) -> str:
    """What a reader of the table must know about the row's leakage."""
    if row.control:
        return "read" if row.read else "NOT READ" if row.name in PLANTED else "not read"
    return "lower bound" if row.lower_bound else ""


def strangers(row: Row) -> str:
    """``seen`` or ``unseen``: whether training knew the family of the strongest attacker."""
    kinds = {"seen" if reader.seen else "unseen" for reader in row.strongest}
    return kinds.pop() if len(kinds) == 1 else "both"


def percent(value: float) -> str:
    """0.857 as ``86%``."""
    return f"{100 * value:.0f}%"


def interval(estimate: Estimate) -> str:
    """Such as ``0.82-0.90``."""
    return f"{estimate.low:.2f}-{estimate.high:.2f}"


def table(summary: Summary) -> str:
    """The console's: at most 80 columns."""
    names = max(len(row.name) for row in summary.rows)
    lines = [f"{'row':{names}}   A_T  95%        A_B_max  95%        family converged"]
    for row in summary.rows:
        fitted = f"{row.converged}/{row.attackers}"
        lines.append(
            f"{row.name:{names}}  {row.target.value:.2f}  {interval(row.target)}  {row.leakage.value:7.2f}  "
            f"{interval(row.leakage)}  {strangers(row):6} {fitted:>5} {flags(row)}".rstrip()
        )
    lines.append(
        f"{'blind guess':{names}}  {summary.blind_target:.2f}             {summary.blind_leakage:7.2f}"
    )
    says = [data(summary), comparison(summary), variants(summary), verdict(summary)]
    return "\n".join(
        [
            *textwrap.wrap(says[0], WIDTH),
            "",
            *lines,
            "",
            *(line for text in says[1:] for line in textwrap.wrap(text, WIDTH)),
        ]
    )


def note(summary: Summary) -> str:
    """MLflow's, in Markdown."""
    lines = ["| row | A_T | 95% | A_B_max | 95% | |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {row.target.value:.2f} | {interval(row.target)} | {row.leakage.value:.2f} | "
        f"{interval(row.leakage)} | {flags(row)} |"
        for row in summary.rows
    ]
    says = [headline(summary), "\n".join(lines), comparison(summary), variants(summary), verdict(summary), data(summary)]
    return "\n\n".join(filter(None, says))
