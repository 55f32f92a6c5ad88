"""Resume points of one stage attempt: published whole or not at all, and only by the newest attempt."""

from __future__ import annotations

import copy
import os
import re
import socket

from privadv.config import Section
from privadv.console import say
from privadv.errors import PrivadvError
from privadv.store import Blob, DamagedError, Store

KEPT = 2
# Steps and parts of every piece of a task, and the epoch they belong to.
OWNED = re.compile(r"/(steps|parts)/(\d{8})[-/]")


class _Step(Section):
    """The manifest whose writing publishes a step."""

    step: int
    epoch: int
    parts: dict[str, Blob]


class Checkpoints:
    """The checkpoints of one task, ``checkpoints/<task>/`` in the store.

    An attempt claims an epoch (``epochs/<n>``, create-once) when it first loads, saves or clears; one that
    finds a higher epoch there is a zombie and publishes nothing more. Parts lie under ``parts/<epoch>/``: an
    attempt shares no object with another one or with the pipeline's blobs, so what no manifest names may go
    at once. ``steps/<epoch>-<step>`` is written last; it may name parts of the steps before it, so that what does
    not change (the best weights so far) is sent once. Every method raises PrivadvError when the store fails.
    """

    def __init__(self, store: Store, task: str) -> None:
        """``task`` is the digest of everything that determines the stage's result; the keys begin with it."""
        self._store, self._root = store, f"checkpoints/{task}"
        self._place = self._root
        self._epoch: int | None = None
        self._damaged: set[str] = set()

    def piece(self, name: str) -> Checkpoints:
        """The resume points of one piece of the task's work, for another process of the same attempt too."""
        self._claim()
        piece = copy.copy(self)
        piece._place, piece._damaged = f"{self._place}/pieces/{name}", set()
        return piece

    def load(self) -> tuple[int, dict[str, bytes]] | None:
        """The newest step whose bytes all match, else the next older (a line says so); None: start afresh."""
        self._claim()
        for key in self._newest_first():
            try:
                step = self._manifest(key)
                return step.step, {name: self._store.get(blob, self._folder(step.epoch))
                                   for name, blob in step.parts.items()}
            except DamagedError as error:
                self._damaged.add(key)
                say(f"checkpoint {key.rpartition('/')[2]} is damaged, trying the one before it: {error}")
        return None

    def save(self, step: int, parts: dict[str, bytes]) -> None:
        """Publish ``parts`` as ``step`` (>= 0) and keep the last two steps.

        Raises:
            PrivadvError: another attempt at this task has begun; this one must stop.
        """
        epoch = self._claim()
        blobs = {name: self._store.put(data, self._folder(epoch)) for name, data in parts.items()}
        if self._fenced():
            raise PrivadvError(f"{self._root}: a newer attempt at this task has begun, so this one "
                               f"(epoch {epoch}) publishes nothing more: let the newer one finish")
        manifest = _Step(step=step, epoch=epoch, parts=blobs)
        self._store.write(f"{self._place}/steps/{epoch:08d}-{step:012d}", manifest.canonical().encode())
        self._prune()

    def clear(self) -> None:
        """Remove the task's steps with those of its pieces, then their bytes; a newer attempt's are not ours."""
        epoch, owned = self._claim(), {"steps": [], "parts": []}
        for key in self._store.keys(f"{self._root}/"):
            if (found := OWNED.search(key, len(self._root))) and int(found[2]) <= epoch:
                owned[found[1]].append(key)
        self._store.remove(owned["steps"])
        self._store.remove(owned["parts"])

    def _claim(self) -> int:
        if self._epoch is None:
            owner = f"{socket.gethostname()} {os.getpid()}".encode()
            epoch = max(self._epochs(), default=0) + 1
            while not self._store.create(f"{self._root}/epochs/{epoch:08d}", owner):
                epoch += 1
            self._epoch = epoch
        return self._epoch

    def _fenced(self) -> bool:
        return max(self._epochs(), default=0) != self._epoch

    def _epochs(self) -> list[int]:
        return [int(key.rpartition("/")[2]) for key in self._store.keys(f"{self._root}/epochs/")]

    def _newest_first(self) -> list[str]:
        return self._store.keys(f"{self._place}/steps/")[::-1]

    def _manifest(self, key: str) -> _Step:
        data = self._store.read(key)
        if data is None:
            raise DamagedError(f"{key} is missing")
        try:
            return _Step.parse(data.decode(errors="replace"), key)
        except PrivadvError as error:
            raise DamagedError(str(error)) from None

    def _prune(self) -> None:
        """Manifests go before the bytes they name: a published step is never left without its bytes."""
        steps = [key for key in self._newest_first() if key not in self._damaged]
        kept = steps[:KEPT]
        self._store.remove([key for key in self._up_to_mine("steps") if key not in kept])
        named = set().union(*map(self._named_by, kept))
        self._store.remove([key for key in self._up_to_mine("parts") if key not in named])

    def _named_by(self, key: str) -> set[str]:
        try:
            step = self._manifest(key)
        except DamagedError:
            return set()
        return {f"{self._folder(step.epoch)}/{blob.sha256}" for blob in step.parts.values()}

    def _up_to_mine(self, kind: str) -> list[str]:
        """The keys of this attempt and those before it: a newer attempt may be half-way through a save."""
        prefix = f"{self._place}/{kind}/"
        return [key for key in self._store.keys(prefix) if int(key[len(prefix):][:8]) <= self._claim()]

    def _folder(self, epoch: int) -> str:
        return f"{self._place}/parts/{epoch:08d}"
