"""Is a copy of a dataset whole? Counts against the published ones, every file opened, nothing on both sides."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from privadv.console import progress, say
from privadv.data.datasets import DATASETS, SHARES
from privadv.data.manifest import Quarantined, Source
from privadv.data.pa_hmdb51 import AnnotatedSource
from privadv.data.reading import Reading
from privadv.data.roots import Root, open_root
from privadv.data.video import BadVideo, count_frames, decode
from privadv.data.workers import in_order, worker_pool
from privadv.errors import PrivadvError

LISTED = 20


@dataclass(frozen=True)
class Row:
    """One fact; ``expected`` None: there is nothing to compare it with."""

    fact: str
    found: int
    expected: int | None = None

    @property
    def wrong(self) -> bool:
        return self.expected is not None and self.found != self.expected


@dataclass(frozen=True)
class Verification:
    """``rows`` of facts; ``faults`` names what the wrong ones count, ``notes`` is worth knowing."""

    rows: tuple[Row, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not any(row.wrong for row in self.rows)


def verify(name: str, root: str, split: str = "", partial_copy: bool = False, open_files: bool = True,
           workers: int = 1) -> Verification:
    """Check dataset ``name`` at ``root``; a ``partial_copy`` is not held against the published counts.

    Videos are read packet by packet, images decoded. A file that only decoding finds damaged is found by
    extraction.

    Raises:
        PrivadvError: the dataset or split is unknown, or nothing of it lies at ``root``.
    """
    if name not in DATASETS:
        raise PrivadvError(f"dataset '{name}' is unknown: choose one of {', '.join(DATASETS)}")
    place = open_root(root)
    reading = DATASETS[name].checked(place, split, SHARES, 0)
    counts, unusable, notes = dict(reading.counts), list(reading.found.quarantined), list(reading.notes)
    if open_files:
        frames, bad, short = _open(place, reading, workers)
        counts["frames"] = frames
        unusable += bad
        notes += short
    expected = {} if partial_copy else reading.published
    rows = [Row(fact, found, expected.get(fact)) for fact, found in counts.items()]
    rows += [Row(split, len(sources)) for split, sources in reading.splits.items() if split not in counts]
    rows += [Row("unusable or missing files", len(unusable), 0), Row("leaks between splits", len(reading.leaks), 0),
             Row("copies left aside", reading.found.copies)]
    faults = [f"{bad.source}: {bad.reason}" for bad in unusable]
    return Verification(tuple(rows), (*reading.leaks, *faults), tuple(notes))


def show(verification: Verification, title: str) -> None:
    """Print the table, the first faults and the notes."""
    table = Table("fact", "found", "expected", "", title=title, title_justify="left")
    for row in verification.rows:
        mark = "" if row.expected is None else "WRONG" if row.wrong else "ok"
        table.add_row(Text(row.fact), str(row.found), "" if row.expected is None else str(row.expected), mark)
    Console(highlight=False).print(table)
    for line in verification.faults[:LISTED]:
        say(f"  {line}")
    if len(verification.faults) > LISTED:
        say(f"  ... and {len(verification.faults) - LISTED} more")
    for line in verification.notes:
        say(f"  note: {line}")
    say("everything is as it should be" if verification.sound else "something is wrong")


def _open(root: Root, reading: Reading, workers: int) -> tuple[int, list[Quarantined], list[str]]:
    """The frames in all, the unreadable files, and the videos that end before their annotation does."""
    sources, frames, bad, short = _unique(reading.found.sources), 0, [], []
    with progress("opening files", len(sources)) as bar, closing(_opened(root, sources, workers)) as opened:
        for source, (count, reason) in opened:
            frames += count
            if reason:
                bad.append(Quarantined(source=source.name, reason=reason))
            elif isinstance(source, AnnotatedSource) and count < source.annotation.frames:
                short.append(f"{source.name} has {count} frames, {source.annotation.frames} are annotated")
            bar.advance()
    return frames, bad, short


def _opened(root: Root, sources: list[Source], workers: int) -> Generator[tuple[Source, tuple[int, str]], None, None]:
    if workers == 1:
        yield from ((source, _frames(root, source)) for source in sources)
        return
    with worker_pool(workers) as pool:
        yield from in_order(pool, partial(_frames, root), sources, 4 * workers)


def _unique(sources: Iterable[Source]) -> list[Source]:
    return list({source.name: source for source in sources}.values())


def _frames(root: Root, source: Source) -> tuple[int, str]:
    try:
        with root.local(source.files) as files:
            if not source.is_folder:
                return count_frames(files[0]), ""
            decode(files, [0], (8, 8))
            return len(files), ""
    except BadVideo as error:
        return 0, error.reason
