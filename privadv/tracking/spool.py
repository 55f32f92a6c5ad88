"""What a run has to say, as lines of JSON on disk: written by a training, read by the delivery process.

One file a run. Its first line is the :class:`RunHeader`; every other line is one entry: ``metrics`` (with
``step`` and ``time``), ``params``, ``tags``, ``note`` (with the ``figure`` shown under it), ``artifact`` (with
``data``, base64), ``dataset``, ``model`` or ``end`` (a status, with ``time``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from privadv.config import Section
from privadv.errors import PrivadvError
from privadv.store import Blob

METRICS_PER_BATCH = 1000

Status = Literal["FINISHED", "FAILED", "KILLED"]


class RunHeader(Section):
    """Who a run is. ``key`` is both its identity and the store key of its create-once :class:`RunRecord`."""

    role: Literal["pipeline", "stage", "child"]
    key: str
    name: str
    pipeline: str  # the name of the pipeline's run
    experiment: str
    started: int  # milliseconds since 1970
    parent: str = ""  # the key of the run that a child is nested under
    alone: bool = False  # whether the pipeline's run is there for this stage's sake only
    task_run: str | None = None  # the id of a run that the platform made for this task
    params: dict[str, str] = {}
    tags: dict[str, str] = {}

    def pipeline_header(self) -> RunHeader:
        """The header of the pipeline's own run."""
        return RunHeader(role="pipeline", key=f"runs/{self.pipeline}/mlflow", name=self.pipeline,
                         pipeline=self.pipeline, experiment=self.experiment, started=self.started,
                         task_run=self.task_run, tags={"kind": "pipeline"})


class DatasetInput(Section):
    """A data set that a run read in the ``context`` of training or evaluation.

    ``sha256`` (hex) tells two sets apart, ``source`` says what it is, ``profile`` what it amounts to.
    """

    name: str
    sha256: str
    source: dict[str, str]
    context: str
    profile: dict[str, Any] = {}


MANIFEST, WEIGHTS = "filter.json", "filter.safetensors"
"""The files of a filter, in a folder of its own and in the registry."""
CANDIDATE, CHAMPION = "candidate", "champion"
"""The registry's names for the newest filter, and for the one that is in use."""


class FilterModel(Section):
    """A filter for the registered model ``registered``: all that is needed to rebuild it, and no code.

    ``manifest`` tells its network, ``weights`` are safetensors in the store. ``geometry`` is (frames, height,
    width) of the clips on which its leakage was measured; ``tags`` and ``description`` are its version's.
    """

    registered: str
    manifest: dict[str, Any]
    weights: Blob
    geometry: tuple[int, int, int]
    tags: dict[str, str] = {}
    description: str = ""


class RunRecord(Section):
    """Which MLflow run a header became."""

    run_id: str
    experiment_id: str


@dataclass
class Batch:
    """Consecutive lines that are sent in one request; ``end`` is the file offset just after them."""

    end: int
    lines: list[bytes] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)


def now() -> int:
    """Milliseconds since 1970, MLflow's clock."""
    return time.time_ns() // 1_000_000


def begin(path: Path, header: RunHeader) -> None:
    """Create a run's file; one that is there already is left as it is."""
    try:
        with path.open("xb") as file:
            file.write(header.canonical().encode() + b"\n")
    except FileExistsError:
        pass
    except OSError:  # a file without a header would be in everyone's way
        path.unlink(missing_ok=True)
        raise


def append(path: Path, entry: dict[str, Any]) -> None:
    """Add one entry in one write, so that lines of several processes never mix."""
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(entry).encode() + b"\n")


def read_header(stream: BinaryIO) -> RunHeader:
    """The first line.

    Raises:
        PrivadvError: it is no header.
    """
    try:
        return RunHeader.parse(stream.readline().decode(), "a spooled run")
    except UnicodeDecodeError:
        raise PrivadvError("a spooled run: its first line is no text") from None


def batches(stream: BinaryIO) -> Iterator[Batch]:
    """The complete lines from where the stream stands; metrics are grouped, anything else comes alone."""
    batch, values, position = Batch(end=stream.tell()), 0, stream.tell()
    while (line := stream.readline()).endswith(b"\n"):
        entry = _entry(line)
        count = len(entry.get("metrics", ()))
        if batch.lines and (not count or not values or values + count > METRICS_PER_BATCH):
            yield batch
            batch, values = Batch(end=position), 0
        position += len(line)
        values += count
        batch.lines.append(line)
        batch.entries.append(entry)
        batch.end = position
    if batch.lines:
        yield batch


def run_files(folder: Path) -> list[Path]:
    """The runs spooled in a folder, every run after the one it is nested under."""
    return sorted(folder.glob("*.jsonl"), key=lambda path: nesting(path.name))


def nesting(name: str) -> str:
    """Sorts names or keys of run files so that every run comes after the one it is nested under."""
    return name.removesuffix(".jsonl")


def end_runs(folder: Path, status: Status) -> None:
    """End every run of a stage that nobody ended; the pipeline's own run is left open for the next stage."""
    for path in run_files(folder):
        with path.open("rb") as stream:
            open_end = read_header(stream).role == "pipeline"
            ended = any(line.startswith(b'{"end":') for line in stream)
        if not (open_end or ended):
            append(path, {"end": status, "time": now()})


def _entry(line: bytes) -> dict[str, Any]:
    # A full disk can cut a line short. It is handed on as an entry that nothing can be made of.
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
