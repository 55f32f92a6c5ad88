"""A sweep: one run a combination of values, which share every stage that none of the values concerns."""

from __future__ import annotations

import argparse
import itertools
import json
import re

import yaml

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
    return [_variant(options, dict(zip(keys, values, strict=True)))
            for values in itertools.product(*(values for _, values in axes))]


def _variant(options: argparse.Namespace, values: dict[str, str]) -> argparse.Namespace:
    settings = [f"{key}={value}" for key, value in values.items()]
    label = tuple(f"{key.rpartition('.')[2]}={_plain(value)}" for key, value in values.items())
    return argparse.Namespace(**{**vars(options), "set": [*options.set, *settings], "label": label})


def _axis(sweep: str) -> tuple[str, list[str]]:
    key, equals, text = sweep.partition("=")
    try:
        values = [json.dumps(value) for value in yaml.safe_load(f"[{text}]")]
    except (yaml.YAMLError, TypeError, ValueError):
        values = []
    if not equals or not all(key.split(".")) or not values:
        raise PrivadvError(f"--sweep {sweep}: write section.key=value,value,...")
    if len(set(values)) < len(values):
        raise PrivadvError(f"--sweep {sweep}: name each value once")
    return key, values


def _plain(value: str) -> str:
    """A value as part of a run's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", value).strip("_")[:LABEL_CHARACTERS]
