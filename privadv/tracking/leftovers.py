"""What becomes of lines that did not reach MLflow: the store keeps them until a later stage sends them."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from privadv.config import Section
from privadv.console import say
from privadv.errors import PrivadvError
from privadv.scratch import whole
from privadv.store import Store
from privadv.tracking import spool

OWNER, STATE, UNDELIVERED = "owner", "state.json", "undelivered/"


class State(Section):
    """How far the delivery of a spool folder came."""

    sent: dict[str, int] = {}  # bytes of every file
    problem: str = ""  # what stood in the way last
    stuck: str = ""  # which run of an earlier stage was refused again, and why

    @classmethod
    def of(cls, folder: Path) -> State:
        """The state last saved in a folder; an empty one when the delivery never came that far."""
        file = folder / STATE
        return cls.parse(file.read_text(), str(file)) if file.exists() else cls()

    def save(self, folder: Path) -> None:
        """Replace the folder's state in one step."""
        with whole(folder / STATE) as part:
            part.write_text(self.canonical())


def refused_path(path: Path) -> Path:
    """Where those lines of a run lie that MLflow answered to, but did not take."""
    return path.with_suffix(".refused")


def keep(folder: Path, store: Store) -> str:
    """Put what was not sent of a folder into the store and remove the folder.

    Returns what was put there, in words (empty: nothing).

    Raises:
        PrivadvError: the store cannot be written; the folder is left.
    """
    spool.end_runs(folder, "KILLED")
    sent, lines, kept = State.of(folder).sent, 0, []
    for path in spool.run_files(folder):
        with path.open("rb") as stream:
            first = stream.readline()
            stream.seek(max(sent.get(path.name, 0), len(first)))
            refused = refused_path(path)
            rest = (refused.read_bytes() if refused.exists() else b"") + stream.read()
        if rest or path.name not in sent:
            pipeline = spool.RunHeader.parse(first.decode(), path.name).pipeline
            kept.append(f"{UNDELIVERED}{pipeline}/{path.name}")
            store.write(kept[-1], first + rest)
            lines += 1 + rest.count(b"\n")
    shutil.rmtree(folder)
    place = os.path.dirname(kept[0]) if kept else ""
    return f"{lines} lines of {len(kept)} runs (now in the store under {place}/)" if kept else ""


def keep_abandoned(root: Path, store: Store) -> None:
    """:func:`keep` what stages that were killed on this machine left in their folders under ``root``."""
    for folder in sorted(root.glob("[!.]*")):
        try:
            owner = os.open(folder / OWNER, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            keep(folder, store)
        except BlockingIOError:  # its stage lives
            pass
        except (PrivadvError, OSError) as error:
            say(f"tracking: what a killed stage left in {folder} stays there ({error})")
        finally:
            os.close(owner)
