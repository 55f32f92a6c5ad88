"""Scratch folders: whose owner was killed goes, whose owner or stage lives stays."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from privadv.errors import PrivadvError
from privadv.scratch import PREFIX, hold, scratch, whole_folder

OWNER = """
import os, subprocess, sys
from privadv.scratch import hold, scratch
with scratch(sys.argv[1]) as folder:
    (folder / "clips").write_bytes(b"x" * 1000)
    lock = hold(folder)
    stage = subprocess.Popen(["sleep", "60"], pass_fds=(lock,), stdout=subprocess.DEVNULL) if len(sys.argv) > 2 else None
    print(stage.pid if stage else 0, flush=True)
    sys.stdin.read()
"""


def owner(below: Path, *arguments: str) -> tuple[subprocess.Popen[str], int]:
    """A process with a scratch folder, and the pid of its stage."""
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(below), *arguments], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    return process, int(process.stdout.readline())


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_folder_is_its_owner_s_alone_and_goes_with_it(tmp_path: Path) -> None:
    with scratch(str(tmp_path)) as first, scratch(str(tmp_path)) as second:
        assert first != second and first.is_dir() and first.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_folder_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    refused = pytest.raises(PrivadvError, match=f"{tmp_path}/{name}: no such folder .* set PRIVADV_SCRATCH")
    with refused, scratch(str(tmp_path / name)):
        pass


def test_what_a_killed_owner_left_goes_when_the_next_begins_and_a_living_one_s_stays(tmp_path: Path) -> None:
    killed, _ = owner(tmp_path)
    living, _ = owner(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    kill(killed)
    try:
        with scratch(str(tmp_path)) as ours:
            assert len(list(tmp_path.iterdir())) == 2 and ours.is_dir()
            assert {len(list(folder.iterdir())) for folder in tmp_path.iterdir()} == {0, 1}
    finally:
        living.communicate("")
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_outlives_its_run_keeps_the_folder(tmp_path: Path) -> None:
    run, stage = owner(tmp_path, "with a stage")
    kill(run)
    try:
        with scratch(str(tmp_path)):
            assert len(list(tmp_path.iterdir())) == 2
    finally:
        descriptor = os.pidfd_open(stage)
        os.kill(stage, signal.SIGKILL)
        assert select.select([descriptor], [], [], 30)[0]
        os.close(descriptor)
    with scratch(str(tmp_path)) as ours:
        assert list(tmp_path.iterdir()) == [ours]


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    (tmp_path / "privadv-0").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / f"{PREFIX}file").write_text("no folder")
    with scratch(str(tmp_path)):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"privadv-0", "elsewhere", f"{PREFIX}link", f"{PREFIX}file"}


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with pytest.raises(ZeroDivisionError), whole_folder(out) as part:
        (part / "half").touch()
        raise ZeroDivisionError
    assert not list(out.parent.iterdir())
    with whole_folder(out) as part:
        (part / "file").touch()
    assert [path.name for path in out.iterdir()] == ["file"] and out.stat().st_mode == out.parent.stat().st_mode
    with pytest.raises(PrivadvError, match=f"{out} is there already: name a new folder"), whole_folder(out):
        pass
    full = pytest.raises(PrivadvError, match=f"{out}2: cannot be made .No space left on device.: name another place")
    with full, whole_folder(out.with_name("out2")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_held_folder_is_not_abandoned(tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}left"
    left.mkdir()
    lock = hold(left)
    with scratch(str(tmp_path)):
        assert left.is_dir()
    os.close(lock)
    with scratch(str(tmp_path)):
        assert not left.exists()
