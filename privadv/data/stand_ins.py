"""Synthetic sets in the formats of real ones; where no root is given they are generated into the workspace."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from privadv.data import sbu, synthetic, synthetic_attributes
from privadv.data.datasets import DATASETS, Dataset
from privadv.data.reading import Reading
from privadv.data.roots import Root
from privadv.data.synthetic import SyntheticConfig
from privadv.data.synthetic_attributes import AttributesConfig
from privadv.data.video import X264, write_h264
from privadv.errors import PrivadvError
from privadv.scratch import scratch


def _by_take(root: Root, split: str, shares: Mapping[str, float], seed: int) -> Reading:
    """Here ``shares`` are numbers of takes."""
    found = sbu.scan(root.names())
    takes = int(shares["train"]), int(shares["val"]), int(shares["test"])
    return Reading(found, sbu.split_by_take(found.sources, takes), {}, {})


@dataclass(frozen=True)
class StandIn:
    """``dataset`` reads the folder ``below`` of what the settings generate; ``attributes``: which of the two generators."""

    dataset: Dataset
    below: str = ""
    attributes: bool = True


STAND_INS = {
    "synthetic": StandIn(Dataset(sbu.TARGET, sbu.BUDGET, _by_take), attributes=False),
    "synthetic_hmdb51": StandIn(DATASETS["hmdb51"], "hmdb51"),
    "synthetic_vispr": StandIn(DATASETS["vispr"], "vispr"),
    "synthetic_pa_hmdb51": StandIn(DATASETS["pa_hmdb51"], "hmdb51"),
}


def generated(config: SyntheticConfig | AttributesConfig, videos: Path) -> Path:
    """The folder below ``videos`` of a synthetic set: complete or not there, and another one for another generator.

    Raises:
        PrivadvError: ``videos`` cannot hold it.
    """
    folder = videos / hashlib.sha256(repr(_recipe(config)).encode()).hexdigest()[:32]
    if folder.is_dir():
        return folder
    videos.mkdir(parents=True, exist_ok=True)
    try:
        with scratch(str(videos)) as passing:
            unfinished = passing / "set"
            unfinished.mkdir()
            if isinstance(config, SyntheticConfig):
                synthetic.generate(config, unfinished)
            else:
                synthetic_attributes.generate(config, unfinished)
            unfinished.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another run was faster: the same videos
            raise PrivadvError(f"{videos}: cannot hold the videos ({error}): make room there") from None
    return folder


def _recipe(config: SyntheticConfig | AttributesConfig) -> tuple[object, ...]:
    sources = sorted(Path(synthetic.__file__).parent.glob("*.py"))
    if isinstance(config, AttributesConfig):
        sources.append(Path(synthetic_attributes.__file__))
    return config.canonical(), *(source.read_text() for source in sources), inspect.getsource(write_h264), X264


def is_synthetic(names: list[str]) -> bool:
    """Whether files were drawn by a generator of attributes, wherever they lie now: it names them so."""
    return any(name.rpartition("/")[2].startswith("synthetic") for name in names)
