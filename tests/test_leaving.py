"""A process that is asked to end unwinds its stack, but not through an import."""

import subprocess
import sys
from pathlib import Path

ASKED = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
BEGUN = "import signal; from privadv.leaving import leave; signal.signal(signal.SIGTERM, leave)"


def ended(program: str, folder: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[1], env={"PYTHONPATH": str(folder)},
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_what_is_held_is_let_go(tmp_path: Path) -> None:
    program = f"{BEGUN}\ntry:\n    {ASKED}\n    print('went on')\nfinally:\n    print('let go')"
    assert ended(program, tmp_path) == (143, "let go\n")


def test_an_import_ends_first(tmp_path: Path) -> None:
    """What a library's C++ imports must not raise: "terminate called after throwing an instance of ..."."""
    (tmp_path / "library.py").write_text(f"{ASKED}\nimport time\ntime.sleep(0.3)\nprint('imported', flush=True)\n")
    held = "    import library\n    import time\n    time.sleep(50)\n    print('went on')\nfinally:\n    print('let go')"
    assert ended(f"{BEGUN}\ntry:\n{held}", tmp_path) == (143, "imported\nlet go\n")
