"""The adversarial algorithms. A new one is one file here and one name in ``AnyAlgorithm``."""

from typing import Annotated

import pydantic

from privadv.algorithms.kbeam import KBeamConfig
from privadv.algorithms.uniform import UniformConfig

AnyAlgorithm = Annotated[KBeamConfig | UniformConfig, pydantic.Field(discriminator="kind")]
