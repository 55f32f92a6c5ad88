"""What the local runner asks of whoever starts a stage for it: as a process, or as a container."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

# Where kfp starts a task, as an object and its attribute's name, and what stands there instead.
Seam = tuple[Any, str, Callable[..., Any]]


class Child(Protocol):
    """One stage that runs."""

    def lines(self) -> Iterator[str]:
        """What it says, a line at a time with its end, until it has ended."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal to all its processes; once it has ended, nothing."""
        ...

    def wait(self) -> int:
        """Its exit code, negative for the signal that killed it, once no process of it is left."""
        ...

    def close(self) -> None:
        """Remove what it has left, once all its lines are read."""
        ...


class Launcher(Protocol):
    """A way to start stages."""

    def runner(self, root: Path) -> Any:
        """kfp's own runner for it; the tasks write their outputs below ``root``."""
        ...

    def seam(self, play: Callable[[Child], int], scratch: str) -> Seam:
        """Starts a task and has it played to its end; ``scratch`` is a folder that goes with the run."""
        ...
