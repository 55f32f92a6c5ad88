"""What a user can mend is one line; what only a programmer can, stays whole."""

from __future__ import annotations

import errno
import os

import pytest

from privadv.errors import MISTAKE, PrivadvError, exit_code


def failing(error: Exception) -> None:
    raise error


def refusal(number: int, path: str | None) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(("error", "said"), [
    (PrivadvError("run.yaml:\n  no such key"), "run.yaml: no such key"),
    (refusal(errno.EACCES, "/secret/weights"), "/secret/weights: Permission denied: check its rights, or name another place"),
    (refusal(errno.EROFS, "/cdrom/out"), "/cdrom/out: Read-only file system: check its rights, or name another place"),
    (refusal(errno.ENOTDIR, "README.md/x"), "README.md/x: Not a directory: check the path, or name another place"),
    (refusal(errno.ENOSPC, "/small/clips"), "/small/clips: No space left on device: free some space, or set TMPDIR"),
    (refusal(errno.ENOSPC, None), "a disk: No space left on device: free some space"),
], ids=str)
def test_what_a_user_can_mend_is_one_line(error: Exception, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("task", lambda: failing(error)) == MISTAKE
    told = capsys.readouterr().err
    assert told.startswith(f"privadv: task: {said}") and told.count("\n") == 1


@pytest.mark.parametrize("error", [
    refusal(errno.ENOENT, "a/file/that/this/code/meant"),
    refusal(errno.EEXIST, "a/file/that/this/code/made"),
    refusal(errno.EACCES, None),
    refusal(errno.EBADF, None),
    OSError("of a library"),
    ValueError("of the code"),
], ids=str)
def test_what_a_programmer_has_to_see_stays_whole(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)) as caught:
        exit_code("task", lambda: failing(error))
    assert caught.value is error and not capsys.readouterr().err
