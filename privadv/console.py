"""What long work says while it runs: rich bars on a terminal, plain lines in a log."""

from __future__ import annotations

import math
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def say(text: str) -> None:
    """Print one line at once, whatever the output is connected to."""
    print(text, flush=True)


MOST = 2**31 - 1


def number_of(what: str) -> Callable[[str], int]:
    """An argument's type: a whole number of ``what``, at least one and at most MOST."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not 0 < int(text) <= MOST:
            raise ArgumentTypeError(f"'{text}' is no number of {what}: write 1 or more")
        return int(text)

    return parse


def amount_of(what: str, none: bool = False) -> Callable[[str], float]:
    """An argument's type: a finite amount of ``what``, above 0, or, where ``none`` has a meaning, 0 itself."""

    def parse(text: str) -> float:
        try:
            amount = float(text)
        except ValueError:
            amount = math.nan
        if not (0 < amount <= MOST or (none and amount == 0)):
            raise ArgumentTypeError(f"'{text}' is no number of {what}: write {'0 or more' if none else 'one above 0'}")
        return amount

    return parse


class _Bar:
    """A bar on a terminal."""

    def __init__(self, bar: Progress, what: str, total: int | None) -> None:
        self._bar = bar
        self._task = bar.add_task(what, total=total, values="")

    def advance(self, n: int = 1, **values: float) -> None:
        self._bar.update(self._task, advance=n, values=_format(values))


class _Lines:
    """A line in a log, at most every ``seconds`` and at the end."""

    def __init__(self, what: str, total: int | None, seconds: float = 10.0) -> None:
        self._what, self._total, self._seconds = what, total, seconds
        self._done, self._last = 0, time.monotonic()

    def advance(self, n: int = 1, **values: float) -> None:
        self._done += n
        now = time.monotonic()
        if (self._total and self._done >= self._total) or now - self._last >= self._seconds:
            self._last = now
            of = "" if self._total is None else f"/{self._total}"
            say(f"{self._what}: {self._done}{of} {_format(values)}".rstrip())


def _format(values: dict[str, float]) -> str:
    return " ".join(f"{name}={value:.3g}" for name, value in values.items())


@contextmanager
def progress(what: str, total: int | None) -> Iterator[_Bar | _Lines]:
    """Show ``what`` advancing to ``total``, None where nobody knows it: ``.advance(n, name=value, ...)`` on what is yielded."""
    if not sys.stdout.isatty():
        yield _Lines(what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[values]}"))
    with Progress(*columns, console=Console(file=sys.stdout)) as bar:
        yield _Bar(bar, what, total)
