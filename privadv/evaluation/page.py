"""The report's page: one HTML file that holds everything it shows. Its skeleton and style are page.html."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import fmean

import yaml

from privadv.data.manifest import ClipSet
from privadv.data.video.codec import FPS
from privadv.evaluation import wording
from privadv.evaluation.figures import Picture
from privadv.evaluation.groups import groups
from privadv.evaluation.metrics import Estimate
from privadv.evaluation.results import ReaderResult
from privadv.evaluation.summary import PICTURE, Evidence, Row, Summary, by_attacker

MISSING = "-"
ATTRIBUTE_COLUMNS = {"average_precision": "AP", "auroc": "AUROC", "balanced_accuracy": "balanced accuracy"}
ATTRIBUTES = """<p class="soft">As the row's strongest attacker reads it from the test clips. A_B is cMAP, the mean average
precision (AP) over the attributes; its blind guess is their mean prevalence, which is high where most people
show them. AUROC and balanced accuracy are 0.50 for a blind guess whatever the prevalence. A dash: all test
clips or none show it. Of attributes an attacker has fitted its training clips where its mean balanced accuracy
on them is high enough.</p>"""
GROUPS = """<p class="soft">Target read: the share of the group's clips whose target class the fresh target reads. Most read by
one attacker, the one that reads most in this group: the share whose budget class it reads; of a budget class the F1 with which it
tells that class from all others, since an attacker that gives everybody one name knows nobody. It is a maximum over
attackers within few clips, so it lies high by chance: compare groups, not the number with A_B_max.</p>"""
FINALS = """<p class="soft">Finals: the best of the first round by validation, and the target, went on learning. An
attacker is then the better of its two selves by validation.</p>"""
PICTURES = f"""<p class="soft">Of the test clips. PSNR: to raw video. Flicker: mean absolute change from frame to frame where raw
video stands still. kbit/s: what a codec stored, taken as {FPS} frames a second of this size, without a container; every
clip begins with a key frame.</p>"""
STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
SYNTHETIC = """<li>The videos are synthetic: figures drawn for this purpose. The numbers say that the system works, not how well
it would do on footage of real people.</li>"""

TOSSED = """the best that showing each clip through one of two of them, or not at all, by the toss of a loaded coin, could do"""
MIXED = """linear between two of them, a little more than showing each clip through one of both by the toss of a coin would reach,
since precisions do not mix evenly"""


def render(
    summary: Summary, plot: Picture, curves: Mapping[int, Sequence[Picture]], samples: Mapping[str, bytes]
) -> str:
    """The page. ``curves`` are pictures by seed; ``samples`` are PNG strips of test clips by row."""
    template = string.Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        style=STYLE,
        title=escape(wording.title(summary)),
        badge='<span class="badge">synthetic data</span>' if summary.clips.synthetic else "",
        data=escape(wording.data(summary)),
        headline=escape(wording.headline(summary)),
        gauges=_gauges(summary),
        comparison=escape(wording.comparison(summary)),
        variants=f"<p>{escape(said)}</p>" if (said := wording.variants(summary)) else "",
        verdict=escape(wording.verdict(summary)),
        doubt="" if summary.counts else "doubt",
        plot=figure_html(plot) + _published(summary),
        rows=_rows(summary),
        frames=_frames(samples) + _pictures(summary),
        groups=_groups(summary),
        attributes=_attributes(summary),
        attackers="".join(
            _attackers(summary.row(name), number == 0) for number, name in enumerate(("filter", "raw"))
        ),
        curves="".join(_curves(seed, pictures, len(curves) > 1) for seed, pictures in curves.items()),
        making=_making(summary),
        budget=escape(summary.clips.budget.name),
        resampled="the test takes and the seeds" if len(curves) > 1 else "the test takes of one seed",
        front=MIXED if summary.clips.budget.multi_label else TOSSED,
        seeds=", and of few seeds too little of how others would have turned out" if len(curves) > 1
        else ", and over one seed not how another training would have turned out",
        synthetic=SYNTHETIC if summary.clips.synthetic else "",
    )


def _published(summary: Summary) -> str:
    """What others reached on these datasets; nothing where that is nothing."""
    if not summary.published:
        return ""
    body = [
        ("", [escape(curve.method), escape(setting), f"{kept:.1f}", f"{leaked:.1f}", escape(curve.source)])
        for curve in summary.published
        for setting, (kept, leaked) in zip(curve.settings, curve.pairs, strict=True)
    ]
    return _details(
        "published results on these data (per cent, other protocol)",
        f"<p class='soft'>{escape(wording.PUBLISHED)}</p>{table_html(['method', '', '.A_T', '.A_B', 'from'], body)}",
    )


def _gauges(summary: Summary) -> str:
    raw, own, clips = summary.row("raw"), summary.row("filter"), summary.clips
    kept = _gauge(
        f"{clips.target.name} kept (A_T)", own.target, raw.target.value, summary.blind_target, ""
    )
    leaked = _gauge(
        f"{clips.budget.name} leaked (A_B_max)",
        own.leakage,
        raw.leakage.value,
        summary.blind_leakage,
        "at least " if own.lower_bound else "",
    )
    return kept + leaked


def _gauge(what: str, own: Estimate, raw: float, floor: float, least: str) -> str:
    """A value on the line from 0 to 1, with its interval, raw video and the blind guess."""
    low, high, at = (400 * value for value in (own.low, own.high, own.value))
    return (
        f'<div class="gauge">{escape(what)}<b>{least}{own.value:.2f} <small>[{wording.interval(own)}]</small></b>'
        f'<svg viewBox="0 0 400 54" role="img" aria-label="{escape(what)}: {own.value:.2f}">'
        '<rect width="400" height="8" y="24" rx="4" fill="var(--line)"/>'
        f'<rect x="{low:.1f}" width="{high - low:.1f}" height="8" y="24" fill="var(--own)" opacity=".4"/>'
        f"{_tick(raw, f'raw video {raw:.2f}', 14)}{_tick(floor, f'blind guess {floor:.2f}', 50)}"
        f'<circle cx="{at:.1f}" cy="28" r="8" fill="var(--own)"/></svg></div>'
    )


def _tick(value: float, text: str, y: int) -> str:
    x = f"{400 * value:.1f}"
    anchor = "start" if value < 0.15 else "end" if value > 0.85 else "middle"
    return (
        f'<line x1="{x}" x2="{x}" y1="20" y2="36" stroke="var(--ink)" stroke-width="2"/>'
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="13" fill="var(--soft)">{text}</text>'
    )


def _rows(summary: Summary) -> str:
    head = [
        "row",
        ".A_T",
        ".A_T game",
        ".A_B_max",
        "converged",
        "strongest attacker",
        ".A_B_mean",
        ".max unseen",
    ]
    body, before = [], None
    for row in summary.rows:
        group = "control" if row.control else "baseline" if row.baseline else "own"
        marks = f"{'own' if row.name == 'filter' else ''} {'rule' if before not in (None, group) else ''}"
        body.append((marks.strip(), _row(summary, row)))
        before = group
    for mark, kind in (("rule", "majority"), ("", "chance"), ("", "prevalence")):
        floors = [_number(summary.floors.get(f"{player}_{kind}")) for player in ("target", "budget")]
        if floors != [MISSING, MISSING]:
            body.append((mark, [f"blind guess, {kind}", floors[0], "", floors[1], "", "", "", ""]))
    return table_html(head, body)


def _row(summary: Summary, row: Row) -> list[str]:
    game = summary.game if row.name == "filter" else None
    strongest = dict.fromkeys(
        f"<small>{escape(reader.name)}, {_stranger(reader)}</small>" for reader in row.strongest
    )
    return [
        escape(row.name),
        _estimate(row.target),
        _number(game),
        _estimate(row.leakage),
        f"{row.converged}/{row.attackers} <small>{wording.flags(row)}</small>",
        "<br>".join(strongest),
        _number(row.mean_leakage),
        _number(row.unseen_leakage),
    ]


def _groups(summary: Summary) -> str:
    """What the filter keeps and leaks of every class, the worst named."""
    found = groups(summary.row("filter"), summary.clips)
    tables = [
        table_html([f"{task} (filter)", ".clips", ".target read", ".most read by one attacker"], [
            ("", [escape(one.name), str(one.clips), _number(one.kept), _number(one.leaked)])
            for one in sorted(found, key=lambda one: -(one.leaked or 0)) if one.task == task
        ])
        for task in dict.fromkeys(one.task for one in found)
    ]  # fmt: skip
    return (
        f"<h2>Who pays, who is exposed</h2><p>{escape(wording.worst(found))}</p>"
        + _details("every class", f'<div class="side">{"".join(tables)}</div>{GROUPS}')
    )


def _attributes(summary: Summary) -> str:
    """How the strongest attacker of raw video and of the filter reads each attribute; nothing for a single-label task."""
    reads = {row: summary.attributes(row) for row in ("filter", "raw")}
    if not reads["raw"]:
        return ""
    head = ["attribute", ".prevalence", *(f".{row}: {what}" for what in ATTRIBUTE_COLUMNS.values() for row in reads)]
    body = [
        ("", [escape(name), _number(reads["raw"][name]["prevalence"]),
              *(_number(reads[row][name][what]) for what in ATTRIBUTE_COLUMNS for row in reads)])
        for name in summary.clips.budget.classes
    ]
    return f'<h2>Every attribute</h2><div class="scroll">{table_html(head, body)}</div>{ATTRIBUTES}'


def _attackers(row: Row, open_: bool) -> str:
    head = [
        "attacker",
        "",
        ".test",
        ".validation",
        ".train",
        ".train loss",
        ".converged",
        ".updates",
        ".seconds",
    ]
    every = list(by_attacker(row))
    body = [("", _attacker(each)) for each in every]
    table = f'<div class="scroll">{table_html(head, body)}</div>'
    went_on = any(reader.finals for each in every for reader in each)
    return _details(f"on {row.name}: {len(body)} attackers", table + (FINALS if went_on else ""), open_)


def _attacker(each: Sequence[ReaderResult]) -> list[str]:
    """One attacker's line: means over the seeds that have it."""
    first, fitted = each[0], sum(reader.converged for reader in each)
    converged = f"{fitted}/{len(each)}" if len(each) > 1 else "yes" if fitted else "no"
    means = [
        f"{fmean(getattr(reader, name) for reader in each):.2f}"
        for name in ("score", "validation", "train_accuracy", "train_loss")
    ]
    return [
        escape(first.name),
        _stranger(first),
        *means,
        converged,
        f"{max(reader.steps for reader in each):,}" + (" (finals)" if any(reader.finals for reader in each) else ""),
        f"{fmean(reader.seconds for reader in each):.0f}",
    ]


def _frames(samples: Mapping[str, bytes]) -> str:
    if not samples:
        return "<p>This run kept no frames.</p>"
    main = {row: png for row, png in samples.items() if row in ("raw", "filter")}
    rest = {row: png for row, png in samples.items() if row not in main}
    text = "<p class='soft'>The same frames of the same test clips, as they are stored in 8 bit and as attackers see them.</p>"
    return text + _strips(main) + (_details("the other rows", _strips(rest)) if rest else "")


def _pictures(summary: Summary) -> str:
    """What was measured of the stored clips as pictures; nothing in reports of runs that did not measure it."""
    measured = {row.name: [row.measured(name) for name in PICTURE] for row in summary.rows}
    body = [
        ("own" if row == "filter" else "", [escape(row), *(MISSING if one is None else f"{one:.1f}" for one in found)])
        for row, found in measured.items() if any(one is not None for one in found)
    ]  # fmt: skip
    head = ["row", ".PSNR (dB)", ".flicker (grey levels)", ".kbit/s"]
    return f'<div class="scroll">{table_html(head, body)}</div>{PICTURES}' if body else ""


def _strips(samples: Mapping[str, bytes]) -> str:
    cells = (
        f'<figure><img alt="frames of row {escape(row)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{escape(row)}</figcaption></figure>"
        for row, png in samples.items()
    )
    return f'<div class="strips">{"".join(cells)}</div>'


def _curves(seed: int, pictures: Sequence[Picture], fold: bool) -> str:
    charts = f'<div class="charts">{"".join(figure_html(picture, picture.title) for picture in pictures)}</div>'
    return _details(f"seed {seed}", charts) if fold else charts


def _making(summary: Summary) -> str:
    runs, first = summary.evidence, summary.evidence[0]
    configuration = yaml.safe_dump(json.loads(first.configuration), sort_keys=False, allow_unicode=True)
    versions = table_html(
        ["what", *(f"seed {run.seed}" for run in runs)],
        [("", [escape(name), *(escape(run.versions.get(name, "not told")) for run in runs)]) for name in first.versions],
    )
    return (
        f"<p>{escape(wording.data(summary))}. {_counts(first)}</p>"
        f"{_details('configuration', f'<pre>{escape(configuration)}</pre>')}"
        f"{_details('versions', versions)}{_details('seconds a stage', _seconds(runs))}"
    )


def _counts(evidence: Evidence) -> str:
    clips, shape = evidence.clips, evidence.clips.geometry
    counts = ", ".join(f"{clips.count(split)} {split}" for split in clips.splits)
    return (
        f"Clips: {counts}; {shape.frames} frames of {shape.width}x{shape.height} pixels; "
        f"{len(clips.quarantined)} sources set aside.{_counts_private(clips)}"
    )


def _counts_private(clips: ClipSet) -> str:
    if clips.private is None:
        return ""
    counts = ", ".join(f"{clips.private.count(split)} {split}" for split in clips.private.splits)
    return (
        f" For the {escape(clips.budget.name)}: {counts} of {clips.private.geometry.frames} frames; "
        f"{len(clips.private.quarantined)} set aside."
    )


def _seconds(runs: Sequence[Evidence]) -> str:
    """Seconds of every stage, a column a seed, whether this run or an earlier one spent them."""
    columns = [stage_seconds(run) for run in runs]
    body = [("", [escape(stage), *(_whole(column.get(stage)) for column in columns)]) for stage in columns[0]]
    body.append(("rule", ["all", *(_whole(sum(column.values())) for column in columns)]))
    return table_html(["stage", *(f".seed {run.seed}" for run in runs)], body)


def stage_seconds(run: Evidence) -> dict[str, float]:
    """How long each stage worked when it did, as its manifest tells."""
    sets = {"extract_frames": run.clips, "render filter": run.filtered_clips}
    rendered = {
        stage: clips.metrics["seconds"] for stage, clips in sets.items() if "seconds" in clips.metrics
    }
    return (
        rendered
        | {one.stage: one.seconds for one in run.stages}
        | {f"attack {one.row}": one.seconds for one in run.results}
    )


def table_html(head: Sequence[str], body: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table of HTML cells; a head that starts with a dot is a column of numbers, each line has its CSS class."""
    kinds = [' class="n"' if name.startswith(".") else "" for name in head]
    lines = [
        "".join(f"<th{kind}>{escape(name.lstrip('.'))}</th>" for kind, name in zip(kinds, head, strict=True))
    ]
    cells = (
        f'<tr class="{mark}">'
        + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, line, strict=True))
        + "</tr>"
        for mark, line in body
    )
    return f"<table><thead><tr>{lines[0]}</tr></thead><tbody>{''.join(cells)}</tbody></table>"


def figure_html(picture: Picture, title: str = "") -> str:
    """A picture that follows the page's colours."""
    head = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<figure style="width: {6.6 * picture.width:.1f}rem">{head}{picture.svg}</figure>'


def _details(name: str, content: str, open_: bool = False) -> str:
    return f"<details{' open' if open_ else ''}><summary>{escape(name)}</summary>{content}</details>"


def _estimate(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} <small>[{wording.interval(estimate)}]</small>"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _whole(value: float | None) -> str:
    return MISSING if value is None else f"{value:.0f}"


def _stranger(reader: ReaderResult) -> str:
    return "seen" if reader.seen else "unseen"
