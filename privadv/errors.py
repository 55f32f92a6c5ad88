"""The one error that a user's mistake ends in, and the one line that a command makes of it."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable

MISTAKE = 2
"""The exit code of a command that could not do what it was asked for."""


ROOM = "free some space, or set TMPDIR and PRIVADV_SCRATCH to folders of a larger disk"
RIGHTS = "check its rights, or name another place"
ANOTHER = "check the path, or name another place"
MENDS = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EROFS: RIGHTS,
    errno.ENOTDIR: ANOTHER,
    errno.EISDIR: ANOTHER,
    errno.ELOOP: ANOTHER,
    errno.ENAMETOOLONG: ANOTHER,
}
"""What a user does about a path that a disk refuses. A file that is missing, or there already, is none of these: this code may
have meant another."""


class PrivadvError(Exception):
    """A mistake a user can mend: one line that names the file, key or value and says the mend."""


def in_one_line(error: Exception) -> str | None:
    """What a user can mend: a mistake of theirs, or a path that a disk refuses; None for what has to be seen whole."""
    if isinstance(error, PrivadvError):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        mend = MENDS.get(error.errno or 0)
        path = error.filename or ("a disk" if mend is ROOM else None)  # a write that fails does not say where
        return f"{path}: {error.strerror}: {mend}" if mend and path else None
    return None


def without_credentials(text: str) -> str:
    """The text without the user and password of any URL in it."""
    return re.sub(r"://\S*@", "://", text)  # to the last @: an unquoted password may hold one, and slashes


def tell(task: str, error: Exception) -> None:
    """One line on stderr that names the ``task``; raises what has to be seen whole."""
    line = in_one_line(error)
    if line is None:
        raise error
    print(f"privadv: {task}: {line}", file=sys.stderr, flush=True)


def exit_code(task: str, work: Callable[[], int | None]) -> int:
    """The exit code of a command: what ``work`` gives (None: 0), or MISTAKE after :func:`tell`."""
    try:
        return work() or 0
    except (PrivadvError, OSError) as error:
        tell(task, error)
        return MISTAKE
