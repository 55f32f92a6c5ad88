"""One of the processes that run a stage together: ``torchrun -m privadv.stages.rank FOLDER``, as privadv.stages.launch does.

The first rank writes what a stage alone would write. The others read with it, train with it, and say nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from privadv.checkpoints import Checkpoints
from privadv.errors import in_one_line
from privadv.leaving import leave
from privadv.parallel.group import first, from_first, group, rank
from privadv.stages.launch import FAILURE, PUBLISHED, TASK
from privadv.stages.stage import Seat, perform
from privadv.store import Blob, Store
from privadv.tracking import Tracker

GRACE_SECONDS = 2.0


class RankCheckpoints(Checkpoints):
    """The first rank's resume points: all go on from what it loads; what it saves or clears is theirs too."""

    def load(self) -> tuple[int, dict[str, bytes]] | None:
        return from_first(super().load() if first() else None)

    def save(self, step: int, parts: dict[str, bytes]) -> None:
        if first():
            super().save(step, parts)

    def clear(self) -> None:
        if first():
            super().clear()


class FirstSeat(Seat):
    """That of the rank which writes and reports."""

    def checkpoints(self, store: Store, task: str) -> Checkpoints:
        return RankCheckpoints(store, task)


class OtherSeat(FirstSeat):
    """That of every other rank."""

    def store(self) -> Store:
        return ReadingStore.from_environment()

    def session(self, store: Store) -> AbstractContextManager[None]:
        return nullcontext()

    def tracker(self, *_: Any) -> Tracker:
        return SilentTracker()


class ReadingStore(Store):
    """Writes nothing: the first rank does, who may not be done yet when this one reads what both have made."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._made: dict[str, bytes] = {}

    def put(self, data: bytes | Path, folder: str = "") -> Blob:
        content = data if isinstance(data, bytes) else data.read_bytes()
        blob = Blob(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        if isinstance(data, bytes):
            self._made[blob.sha256] = data
        return blob

    def get(self, blob: Blob, folder: str = "") -> bytes:
        return self._made[blob.sha256] if blob.sha256 in self._made else super().get(blob, folder)

    def create(self, key: str, data: bytes) -> bool:
        return True

    def write(self, key: str, data: bytes) -> None:
        """Nothing."""

    def remove(self, keys: list[str]) -> None:
        """Nothing."""


class SilentTracker(Tracker):
    """Tells MLflow nothing: the first rank does."""

    def __init__(self) -> None:
        self._session = None

    def child(self, *_: Any) -> Tracker:
        return self

    @property
    def parent(self) -> Tracker:
        return self

    def _write(self, *_: Any) -> None:
        """Nothing."""


def main(folder: Path) -> None:
    """Run the task that lies in ``folder`` as one of its ranks."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    task = json.loads((folder / TASK).read_text(encoding="utf-8"))
    importlib.import_module(f"privadv.stages.{task['stage']}")
    signal.signal(signal.SIGTERM, leave)
    try:
        with group():
            published = from_first(_perform(task, folder))
    except Exception as error:
        line = in_one_line(error)
        if line is not None:
            _claim(folder, " ".join(line.split()))
            sys.exit(2)
        # Where another rank has failed, torchrun is about to end this one, which only misses it.
        time.sleep(GRACE_SECONDS)
        if _claim(folder, ""):
            traceback.print_exc()
        sys.exit(1)
    if os.environ["LOCAL_RANK"] == "0":
        (folder / PUBLISHED).write_text(published, encoding="utf-8")


def _perform(task: dict[str, Any], folder: Path) -> str:
    if first():
        return perform(**{**task, "output": Path(task["output"])}, seat=FirstSeat())
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  for the rest of the process
    return perform(**{**task, "output": folder / f"{rank()}.json"}, seat=OtherSeat())


def _claim(folder: Path, line: str) -> bool:
    """Leave the error that ends the stage; False where another rank of this node failed before."""
    try:
        with (folder / FAILURE).open("x", encoding="utf-8") as file:
            file.write(line)
    except FileExistsError:
        return False
    return True


def _end_with_parent(parent: int) -> None:
    # torchrun gives every rank a session of its own, which no signal to the stage's process group reaches.
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
