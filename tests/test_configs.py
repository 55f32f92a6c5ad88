"""Every shipped run is complete and valid, and what is wrong in one is said in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from privadv.errors import PrivadvError
from privadv.run_config import RunConfig

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_run_loads_and_is_called_as_its_file(path: Path) -> None:
    assert RunConfig.load(path).name == path.stem


@pytest.mark.parametrize(("change", "said"), [
    ({"rows": ["raw", "filter", "sepia"]}, "unknown row 'sepia'"),
    ({"rows": ["raw", "filter", "gray", "gray"]}, "name one twice"),
    ({"attack": {"seen": []}}, "attack.seen must name the families"),
    ({"train_adversarial": {"algorithm": {"kind": "uniform", "gama": 1}}}, "unknown key 'train_adversarial.algorithm"),
    ({"seed": -1}, "key 'seed' = -1"),
    ({"pretrain_target": {"fit": {"steps": 0}}}, "key 'pretrain_target.fit.steps' = 0"),
    ({"typo": 1}, "unknown key 'typo'"),
])
def test_a_mistake_is_one_line_that_names_the_key(change: dict[str, object], said: str, tmp_path: Path) -> None:
    data = yaml.safe_load(next(path for path in CONFIGS if path.stem == "smoke").read_text())
    for key, value in change.items():
        data[key] = data[key] | value if isinstance(value, dict) and key in data else value
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(PrivadvError) as caught:
        RunConfig.load(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
