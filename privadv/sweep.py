"""A sweep: one run a combination of values, which share every stage that none of the values concerns."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from privadv.errors import PrivadvError

LABEL_CHARACTERS = 24


@dataclass(frozen=True)
class Variant:
    """The ``settings`` (section.key=value) of one run and the ``label`` that tells it apart, such as ``gamma=0.5``."""

    settings: tuple[str, ...] = ()
    label: str = ""


def variants(sweeps: Sequence[str]) -> list[Variant]:
    """Every combination of the values of ``section.key=value,value,...``; without any sweep one that changes nothing.

    Raises:
        PrivadvError: a sweep is no such text, or names a key or a value twice.
    """
    axes = [_axis(sweep) for sweep in sweeps]
    keys = [key for key, _ in axes]
    if len(set(keys)) < len(keys):
        raise PrivadvError(f"--sweep names {', '.join(sorted(keys))}: give all values of a key at once")
    combinations = itertools.product(*(values for _, values in axes))
    return [
        Variant(
            tuple(f"{key}={value}" for key, value in zip(keys, values, strict=True)),
            "-".join(f"{key.rpartition('.')[2]}={_plain(value)}" for key, value in zip(keys, values, strict=True)),
        )
        for values in combinations
    ]


def _axis(sweep: str) -> tuple[str, list[str]]:
    key, equals, text = sweep.partition("=")
    try:
        values = [json.dumps(value) for value in yaml.safe_load(f"[{text}]")]
    except (yaml.YAMLError, TypeError):
        values = []
    if not equals or not all(key.split(".")) or not values:
        raise PrivadvError(f"--sweep {sweep}: write section.key=value,value,...")
    if len(set(values)) < len(values):
        raise PrivadvError(f"--sweep {sweep}: name each value once")
    return key, values


def _plain(value: str) -> str:
    """A value as part of a run's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", value).strip("_")[:LABEL_CHARACTERS]
