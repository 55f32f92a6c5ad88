"""A sweep: one run a combination of values, which share every stage that none of the values concerns."""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Sequence

from privadv.config import plain_yaml
from privadv.errors import PrivadvError

LABEL_CHARACTERS = 24


def expanded(options: argparse.Namespace) -> list[argparse.Namespace]:
    """One copy of the options for every combination of the values of ``options.sweep``; without any, one.

    Each value stands in ``set`` as if given there; ``label`` (a tuple) names the values in the run's name.

    Raises:
        PrivadvError: a sweep is not of the form ``section.key=value,value,...``, or names a key or a value twice.
    """
    axes = [_axis(sweep) for sweep in options.sweep]
    keys = [key for key, _ in axes]
    if len(set(keys)) < len(keys):
        raise PrivadvError(f"--sweep names {', '.join(sorted(keys))}: give all values of a key at once")
    named = [[(key, value, name) for value, name in _names(values).items()] for key, values in axes]
    return [_variant(options, chosen) for chosen in itertools.product(*named)]


def _variant(options: argparse.Namespace, chosen: Sequence[tuple[str, str, str]]) -> argparse.Namespace:
    settings = [f"{key}={value}" for key, value, _ in chosen]
    label = tuple(f"{key.rpartition('.')[2]}={name}" for key, _, name in chosen)
    return argparse.Namespace(**{**vars(options), "set": [*options.set, *settings], "label": label})


def _axis(sweep: str) -> tuple[str, list[str]]:
    key, equals, text = sweep.partition("=")
    try:
        values = [json.dumps(value) for value in plain_yaml(f"[{text}]")]
    except (TypeError, ValueError):
        values = []
    if not equals or not all(key.split(".")) or not values:
        raise PrivadvError(f"--sweep {sweep[:80]}: write section.key=value,value,...")
    if len(set(values)) < len(values):
        raise PrivadvError(f"--sweep {sweep}: name each value once")
    return key, values


def _names(values: list[str]) -> dict[str, str]:
    """Each value as part of a run's name: sections that differ in their kind by that alone."""
    sections = [json.loads(value) for value in values]
    kinds = [section.get("kind") if isinstance(section, dict) else None for section in sections]
    short = None not in kinds and len(set(kinds)) == len(kinds)
    return {value: _plain(kind if short else value) for value, kind in zip(values, map(str, kinds), strict=True)}


def _plain(value: str) -> str:
    """A value in characters that names take."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", value).strip("_")[:LABEL_CHARACTERS]
