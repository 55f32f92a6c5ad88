"""The adversarial algorithms. A new one is one file here and one name in ``AnyAlgorithm``."""

from typing import Annotated

import pydantic

from privadv.algorithms.entropy import EntropyConfig
from privadv.algorithms.grl import GRLConfig
from privadv.algorithms.kbeam import KBeamConfig
from privadv.algorithms.uniform import UniformConfig

AnyAlgorithm = Annotated[
    KBeamConfig | UniformConfig | EntropyConfig | GRLConfig, pydantic.Field(discriminator="kind")
]
