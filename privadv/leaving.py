"""How a process ends that is asked to: its stack unwinds, as Ctrl-C does it, so that what it holds is let go."""

from __future__ import annotations

import signal
import threading
from types import FrameType

IMPORT = "<frozen importlib"  # the files of the import system's own frames
AGAIN_SECONDS = 0.1


def leave(number: int, frame: FrameType | None) -> None:
    """A signal's handler: raises SystemExit with the code that a shell gives to that signal.

    Not out of an import: a library's C++ may be what imports, and ends the whole process where that raises. The signal comes
    again until the import is done.
    """
    if not _importing(frame):
        raise SystemExit(128 + number)
    again = threading.Timer(AGAIN_SECONDS, signal.pthread_kill, (threading.main_thread().ident, number))
    again.daemon = True
    again.start()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORT):
            return True
        frame = frame.f_back
    return False
