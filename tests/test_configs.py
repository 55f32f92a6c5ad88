"""Every shipped run is complete and valid, and what is wrong in one is said in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from privadv.errors import PrivadvError
from privadv.run_config import RunConfig

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_run_loads_and_is_called_as_its_file(path: Path) -> None:
    assert RunConfig.load(path).name == path.stem


PUBLISHED = [f"{data}_{game}" for data in ("sbu", "ucf101_vispr", "hmdb51_pa") for game in ("kbeam", "grl", "entropy")]


def shipped(name: str) -> dict[str, Any]:
    return yaml.safe_load(next(path for path in CONFIGS if path.stem == name).read_text())


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_experiment_of_the_seed_work_is_there_under_both_protocols(name: str) -> None:
    data = shipped(name)
    honest = RunConfig.parse(data, name)
    assert honest.attack.profile == "honest" and honest.train_adversarial.algorithm.kind == name.rsplit("_", 1)[1]
    assert honest.pretrain_degradation.network.kind == "tf_transform" and honest.extract_frames.frames == 16
    paper = RunConfig.parse(data | {"attack": data["attack"] | {"profile": "paper", "attackers": [], "chosen": {}}}, name)
    assert len(paper.attack.attackers) == 10 and paper.attack.seen == honest.attack.seen


@pytest.mark.parametrize(("name", "section", "change", "said"), [
    ("hmdb51_pa_entropy", "train_adversarial", {"algorithm": {"kind": "entropy", "sigmoid_target": "present"}},
     "attack.profile: paper alone takes it"),
    ("sbu_kbeam", "extract_frames", {"frames": 8}, r"size [16, 112, 112] cannot read clips of [8, 112, 112]"),
    ("sbu_kbeam", "attack", {"target": {"network": {"kind": "c3d", "size": [16, 56, 56]}}}, "cannot read clips of"),
    ("smoke", "render", {"masking": {"boxes": "people.json"}}, "render.masking.resize must be that of extract_frames"),
])
def test_sections_that_do_not_fit_each_other_are_one_line(
    name: str, section: str, change: dict[str, object], said: str
) -> None:
    data = shipped(name)
    with pytest.raises(PrivadvError) as caught:
        RunConfig.parse(data | {section: data.get(section, {}) | change}, name)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_masked_rows_need_boxes_and_the_seed_s_mistake_the_paper_s_profile() -> None:
    data = shipped("smoke")
    masked = data | {"rows": [*data["rows"], "mask:black"]}
    with pytest.raises(PrivadvError, match=r"rows \['mask:black'\] need boxes"):
        RunConfig.parse(masked, "smoke")
    assert RunConfig.parse(masked | {"render": {"masking": {"detector": "people:find"}}}, "smoke").render.masking
    entropy = shipped("hmdb51_pa_entropy")
    entropy["attack"] |= {"profile": "paper", "attackers": [], "chosen": {}}
    entropy["train_adversarial"]["algorithm"]["sigmoid_target"] = "present"
    assert RunConfig.parse(entropy, "paper")


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
