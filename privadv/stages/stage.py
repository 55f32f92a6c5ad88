"""What every component calls: manifests and settings in, one stage run, one manifest out."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privadv.checkpoints import Checkpoints
from privadv.code_version import code_version
from privadv.config import Section
from privadv.data.manifest import ClipSet
from privadv.data.workers import FITTING, load_ahead
from privadv.errors import MISTAKE, PrivadvError, tell
from privadv.leaving import leave
from privadv.memory import keep_freed_memory
from privadv.store import Blob, Store
from privadv.tracking import DatasetInput, Session, Tracker, platform_tags

Source = str | Sequence[str] | None
Value = str | int

LOADED: dict[str, tuple[str, ...]] = dict.fromkeys(("attack", "fit_reader", "pretrain_budget", "pretrain_target"), FITTING)
LOADED["extract_frames"] = ("privadv.stages.extract_frames",)
"""What the worker processes of a stage import: they load it while the stage itself does."""


@dataclass(frozen=True)
class StageContext:
    """What surrounds a stage's work; all that decides its result is an argument of its ``run`` instead.

    ``workers`` is how many CPU processes it may use.
    """

    store: Store
    tracker: Tracker
    checkpoints: Checkpoints
    workers: int


class Seat:
    """How a process reaches what surrounds its stage: by itself, unless several processes run the stage together."""

    def store(self) -> Store:
        return Store.from_environment()

    def session(self, store: Store) -> AbstractContextManager[Session | None]:
        return Session(store)

    def tracker(
        self, store: Store, stage: str, task: str, params: dict[str, Any], tags: dict[str, str], session: Session | None
    ) -> Tracker:
        return Tracker.open(store, stage, task, params, tags, session)

    def checkpoints(self, store: Store, task: str) -> Checkpoints:
        return Checkpoints(store, task)


def execute(
    stage: str,
    config: str,
    code: str,
    output: str,
    inputs: Mapping[str, Source] | None = None,
    **values: Value,
) -> str:
    """Run ``privadv.stages.<stage>.run`` and publish what it returns.

    Args:
        stage: the module's name; its ``Config`` parses ``config``, its ``run``'s annotations ``inputs``.
        config: the stage's own configuration section, as JSON.
        code: the stage's code version; refused if it is not that of the code here, as in an older image.
        output: the file that the returned manifest is written to, as JSON.
        inputs: for each, a manifest's file, its JSON text, the JSON of the Blob that holds it, or a list
            of such; None leaves ``run``'s default.
        values: what else tells this task from others (seed, row...); ``run`` gets those that it names.

    Returns:
        The JSON of a Blob: where the manifest also lies in the store.

    A user's mistake ends the process: one line on stderr and exit code 2. A stage whose module says ``RANKS = True`` runs in
    PRIVADV_ACCELERATORS processes together, see :mod:`privadv.parallel`; their number is no part of the task, since the result
    does not depend on it.
    """
    signal.signal(signal.SIGTERM, leave)
    with explained(stage):
        if _together(stage):
            # By name: extraction has no torch, and what starts processes decides no result that a cache knows.
            launch = importlib.import_module("privadv.stages.launch")
            return launch.launch(stage, config, code, output, inputs or {}, values, _accelerators(), _workers())
        if stage in LOADED:
            load_ahead(*LOADED[stage])
        return perform(stage, config, code, Path(output), inputs or {}, values, Seat())


@contextmanager
def explained(task: str) -> Iterator[None]:
    """A user's mistake ends the process, with one line on stderr and exit code 2."""
    try:
        yield
    except (PrivadvError, OSError) as error:
        tell(task, error)
        raise SystemExit(MISTAKE) from None


def perform(
    stage: str,
    config: str,
    code: str,
    output: Path,
    sources: Mapping[str, Source],
    values: dict[str, Value],
    seat: Seat,
) -> str:
    """The work of :func:`execute` in this process, on ``seat``; raises PrivadvError for a user's mistake."""
    keep_freed_memory()
    if code != code_version(stage):
        # Its result would lie in every cache under the version that it does not come from.
        raise PrivadvError("the pipeline was made from other code than is here: build the images and compile or "
                           "run it from one checkout")
    store = seat.store()
    # Begun ahead, since what carries the run to MLflow imports for seconds, as the stage itself does.
    with seat.session(store) as session:
        module = importlib.import_module(f"privadv.stages.{stage}")
        hints = typing.get_type_hints(module.run)
        settings: Section = module.Config.parse(config, f"configuration of {stage}")
        inputs = {name: _input(source, hints[name], store, f"{stage}'s input {name}")
                  for name, source in sources.items() if source is not None}
        task = _task(stage, settings, code, inputs, values)
        named = {name: value for name, value in values.items() if name in hints}
        section = {stage: settings.model_dump(mode="json")}
        params = {**section, **{name: value for name, value in values.items() if name != "configuration"}}
        title = " ".join([stage, *(str(values[name]) for name in ("row", "reader") if name in values)])
        tags = {"mlflow.runName": title, "code": code, **platform_tags()}
        with seat.tracker(store, stage, task, params, tags, session) as tracker:
            _introduce(tracker, section, inputs, code)
            context = StageContext(store, tracker, seat.checkpoints(store, task), _workers())
            manifest: Section = module.run(config=settings, context=context, **inputs, **named)
        text = manifest.canonical()
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        published = store.publish(text, stage, str(values.get("row", ""))).canonical()
        # Only now: a task that dies before its manifest is out must still find its resume points.
        context.checkpoints.clear()
        return published


def _introduce(tracker: Tracker, section: dict[str, Any], inputs: Mapping[str, Any], code: str) -> None:
    """The data that the stage reads; and in the pipeline's run its settings at once, for who looks at a running one."""
    for clips in inputs.values():
        for one in (clips, clips.private) if isinstance(clips, ClipSet) else ():
            if one is not None:
                tracker.dataset(dataset_input(one, "evaluation" if one.row != "raw" else "training"))
    tracker.parent.params(section)
    tracker.parent.tags({"code": code, **platform_tags()})  # the last stage's code, the report's, stays


def dataset_input(clips: ClipSet, context: str) -> DatasetInput:
    """A clip set as MLflow lists it."""
    counts = {split: clips.count(split) for split in clips.splits}
    profile = {**counts, **clips.geometry.model_dump(), "synthetic": clips.synthetic}
    name = clips.dataset if clips.row == "raw" else f"{clips.dataset} {clips.row}"
    source = {"dataset": clips.dataset, "row": clips.row, **clips.lineage}
    return DatasetInput(name=name, sha256=clips.digest(), source=source, context=context, profile=profile)


def _input(source: str | Sequence[str], hint: Any, store: Store, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    if isinstance(source, str):
        return _manifest(source, hint, store, where)
    container: Callable[..., Any] = typing.get_origin(hint) or tuple
    kind = typing.get_args(hint)[0]
    return container(_manifest(item, kind, store, where) for item in source)


def _manifest(source: str, kind: type[Section], store: Store, where: str) -> Section:
    try:
        text = source if source.startswith("{") else Path(source).read_text(encoding="utf-8")
        pointer = json.loads(text)
    except ValueError as error:
        raise PrivadvError(f"{where}: no manifest of a stage ({' '.join(str(error).split())[:100]}): give one") from None
    if isinstance(pointer, dict) and pointer.keys() == Blob.model_fields.keys():
        text = store.get(Blob.parse(text, where)).decode()
    return kind.parse(text, where)


def _task(stage: str, settings: Section, code: str, inputs: dict[str, Any], values: dict[str, Value]) -> str:
    """The digest that names this task's resume points: equal for two attempts at the same work only."""
    parts = {name: [item.digest() for item in (value if isinstance(value, (list, tuple)) else [value])]
             for name, value in inputs.items()}
    identity = {"stage": stage, "config": settings.digest(), "code": code, "inputs": parts, "values": values}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _workers() -> int:
    """CPU processes that a stage may use: PRIVADV_WORKERS, or one a CPU of this process."""
    number = _number("PRIVADV_WORKERS")
    if number:
        return number
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _accelerators() -> int:
    """Processes that train together on this node: PRIVADV_ACCELERATORS, or one."""
    return _number("PRIVADV_ACCELERATORS") or 1


def _together(stage: str) -> bool:
    """Whether several processes run this stage, on this node or, by torchrun's variable, on several."""
    several = _accelerators() > 1 or os.environ.get("PET_NNODES", "1") != "1"
    return several and getattr(importlib.import_module(f"privadv.stages.{stage}"), "RANKS", False)


def _number(name: str) -> int | None:
    """A variable's number of processes; None where it is not set."""
    text = os.environ.get(name, "")
    if text and not (text.isdecimal() and int(text)):
        raise PrivadvError(f"{name} = '{text}' is no number of processes: set 1 or more")
    return int(text) if text else None
