"""Every shipped run is complete and valid, and what is wrong in one is said in a line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.ensemble import RandomForestClassifier

import pipeline
from privadv.cluster import Cluster
from privadv.config import LARGEST_SEED
from privadv.errors import PrivadvError
from privadv.run_config import RunConfig
from privadv.sweep import expanded

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yaml"))
each_shipped_run = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


@each_shipped_run
def test_a_shipped_run_loads_and_is_called_as_its_file(path: Path) -> None:
    assert RunConfig.load(path).name == path.stem


@pytest.fixture(scope="module")
def graph() -> Any:
    """The pipeline, which is the same for all of them: a run is its parameters."""
    return pipeline.define(cluster=Cluster())


@each_shipped_run
def test_a_shipped_run_compiles_with_its_sections_as_parameters(path: Path, graph: Any, tmp_path: Path) -> None:
    config = RunConfig.load(path)
    assert (config.cluster, config.fan_out) == (Cluster(), "row")
    pipeline._compile(graph, pipeline.parameters(config), tmp_path / "run.yaml")
    compiled = next(yaml.safe_load_all((tmp_path / "run.yaml").read_text()))
    inputs = compiled["root"]["inputDefinitions"]["parameters"]
    sections = {name.removesuffix("_config"): yaml.safe_load(given["defaultValue"])
                for name, given in inputs.items() if name.endswith("_config")}
    rows = ["raw", *inputs["releases"]["defaultValue"], *inputs["baselines"]["defaultValue"]]
    again = RunConfig.parse({"name": config.name, "seed": config.seed, "rows": rows, **sections}, "compiled")
    assert again == config.model_copy(update={"rows": again.rows}) and set(rows) == set(config.rows)


PUBLISHED = [f"{data}_{game}" for data in ("sbu", "ucf101_vispr", "hmdb51_pa") for game in ("kbeam", "grl", "entropy")]


def shipped(name: str) -> dict[str, Any]:
    return yaml.safe_load(path_of(name).read_text())


def path_of(name: str) -> Path:
    return next(path for path in CONFIGS if path.stem == name)


def told(name: str) -> list[str]:
    """What the comments of a run tell to ``--set``, and the restart that they offer."""
    comments = "\n".join(line for line in path_of(name).read_text().splitlines() if line.lstrip().startswith("#"))
    restart = re.findall(r"restart: (\{.*\})", comments)
    return [*(setting.rstrip(".") for setting in re.findall(r"--set (\S+)", comments)),
            *(f"train_adversarial.restart={one}" for one in restart)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_a_run_tells_to_set_makes_a_run(name: str) -> None:
    settings = told(name)
    config = pipeline.load(path_of(name), settings, None)
    assert config.attack.profile == "paper" and len(config.attack.attackers) == 10
    assert {config.pretrain_target.init, config.pretrain_budget.init, config.attack.target_init} == {None}
    assert config.train_adversarial.restart and config.train_adversarial.restart.every in (10, 20, 100)


def table_command() -> list[str]:
    """The arguments that the page of the algorithms gives."""
    page = (CONFIGS[0].parent.parent / "docs" / "algorithms" / "index.md").read_text()
    (given,) = re.findall(r"pipeline\.py (run .*?)\n\.venv", page, re.DOTALL)
    return shlex.split(given.replace("\\\n", ""))


def test_the_table_of_algorithms_is_eighteen_variants_of_one_run() -> None:
    options = pipeline._parser().parse_args(table_command())
    assert options.config == Path("configs/algorithms.yaml")
    options.config = path_of("algorithms")
    assert {label for one in expanded(options) for label in one.label} == {
        "models=1", "models=2", "models=4", "restart=null", "restart=every_8_steps_40", *(f"algorithm={kind}" for kind in (
            "kbeam", "grl", "entropy"))}  # fmt: skip
    games = [pipeline.load(one.config, one.set, one.seed).train_adversarial for one in expanded(options)]
    found = {(game.algorithm.kind, game.models, game.restart is not None) for game in games}
    assert options.seeds == [0, 1, 2] and len(games) == 18
    assert found == {(kind, count, plus) for kind in ("kbeam", "grl", "entropy") for count in (1, 2, 4) for plus in (False, True)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_experiment_of_the_seed_work_is_there_under_both_protocols(name: str) -> None:
    data = shipped(name)
    honest = RunConfig.parse(data, name)
    assert honest.attack.profile == "honest" and honest.train_adversarial.algorithm.kind == name.rsplit("_", 1)[1]
    assert honest.pretrain_degradation.network.kind == "tf_transform" and honest.extract_frames.frames == 16
    assert honest.pretrain_degradation.network.release.gray is name.startswith("sbu"), "the seed averages channels there alone"
    paper = RunConfig.parse(data | {"attack": data["attack"] | {"profile": "paper"}}, name).attack
    assert len(paper.attackers) == 10 and paper.seen == honest.attack.seen and not paper.strongest and not paper.chosen
    scratch = {one.name.split("/")[0] for one in paper.attackers if one.start == "scratch"}
    kept, batch, dropout, reads = ("0.75", 64, 0.0, "unit") if name.startswith("sbu") else ("0.25", 128, 0.001, "bytes")
    assert scratch == {"mobilenet_v1_0.5", f"mobilenet_v1_{kept}"}
    networks = [one.reader.network.model_dump() for one in paper.attackers]
    assert {one["reads"] for one in networks} == {reads} and networks[-1]["dropout"] == dropout
    assert {one.fit.batch for one in paper.attackers if one.fit} == {batch}
    game, algorithm = honest.train_adversarial, honest.train_adversarial.algorithm
    if algorithm.kind == "entropy" or name.startswith("sbu"):
        assert game.batch * getattr(algorithm, "accumulate", 1) == 160, "the clips of an update of the seed's"
    readers = [one.network.model_dump() for one in honest.pretrain_budget.readers]
    assert {one.get("dropout", 0.0) for one in readers} == ({0.0} if name.startswith("sbu") else {0.0, 0.001})


@pytest.mark.parametrize(("name", "section", "change", "said"), [
    ("hmdb51_pa_entropy", "train_adversarial", {"algorithm": {"kind": "entropy", "sigmoid_target": "present"}},
     "attack.profile: paper alone takes it"),
    ("sbu_kbeam", "extract_frames", {"frames": 8}, r"size [16, 112, 112] cannot read clips of [8, 112, 112]"),
    ("sbu_kbeam", "attack", {"target": {"network": {"kind": "c3d", "size": [16, 56, 56]}}}, "cannot read clips of"),
    ("sbu_kbeam", "train_adversarial", {"restart": {"every": 67}}, "the game has 67 rounds: it would never restart"),
    ("demo", "train_adversarial", {"models": 3}, "train_adversarial.models = 3, but pretrain_budget.readers names 2"),
    ("demo", "train_adversarial", {"models": 1}, "families of the budget models that play: ['mobilenet']"),
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
    entropy["attack"]["profile"] = "paper"
    entropy["train_adversarial"]["algorithm"]["sigmoid_target"] = "present"
    assert RunConfig.parse(entropy, "paper")


@pytest.mark.parametrize(("change", "said"), [
    ({"rows": ["raw", "filter", "sepia"]}, "unknown row 'sepia'"),
    ({"rows": ["raw", "filter", "gray", "gray"]}, "name one twice"),
    ({"attack": {"seen": []}}, ".yaml: attack.seen must name the families"),
    ({"train_adversarial": {"algorithm": {"kind": "uniform", "gama": 1}}}, "unknown key 'train_adversarial.algorithm.gama': "),
    ({"train_adversarial": {"algorithm": {"kind": "kbeam", "gamma": 1, "rate": 4}}},
     "unknown keys 'train_adversarial.algorithm.gamma', 'train_adversarial.algorithm.rate': kind 'kbeam' has none such"),
    ({"attack": {"attackers": [], "chosen": {}}}, ": attack: attackers: a row needs at least four attackers"),
    ({"train_adversarial": {"algorithm": {"kind": "uniform", "rate": 1}, "release": {"noise": 0}}},
     "rate bounds what noise lets through, but the release has none"),
    ({"train_adversarial": {"algorithm": {"kind": "uniform", "rate": -1}}}, "key 'train_adversarial.algorithm.rate' = -1"),
    ({"seed": -1}, "key 'seed' = -1"),
    ({"seed": True}, "seed is yes or no: a number is needed"),
    ({"attack": {"fit": {"steps": True}}}, "attack.fit: steps is yes or no: a number is needed"),
    ({"pretrain_degradation": {"network": {"kind": "transform", "appearance": False}}},
     "pretrain_degradation.network: appearance: false leaves the filter motion alone to see"),
    ({"extract_frames": {"frames": 1}, "pretrain_degradation": {"network": {"kind": "transform", "motion": True}}},
     "motion live on what moves, but extract_frames (synthetic) has single frames"),
    ({"extract_frames": {"crop": [True, 48]}}, "extract_frames: crop is yes or no: a number is needed"),
    ({"attack": {"fit": {"lr": float("inf")}}}, "key 'attack.fit.lr' is no finite number: write one"),
    ({"seed": 2**32}, "key 'seed' = 4294967296: Input should be less than or equal to 4294967295"),
    ({"extract_frames": {"synthetic": {"seed": -1}}}, "key 'extract_frames.synthetic.seed' = -1"),
    ({"extract_frames": {"synthetic": {"val_takes": 0}}}, "key 'extract_frames.synthetic.val_takes' = 0"),
    ({"extract_frames": {"synthetic": {"height": -2}}}, "key 'extract_frames.synthetic.height' = -2"),
    ({"attack": {"full_rows": ["raw", "filter", "down:41"]}},
     "attack.full_rows names ['down:41'], no rows of this run: it has raw, filter, gray"),
    ({"attack": {"chosen": {"planted:spacial": ["resnet/standardised/mixed"]}}}, "attack.chosen names ['planted:spacial'], no"),
    ({"attack": {"chosen": {"buried:4": ["resnet/standardised/mixed"]}}}, "attack.chosen names ['buried:4'], no rows"),
    ({"pretrain_target": {"fit": {"steps": 0}}}, "key 'pretrain_target.fit.steps' = 0"),
    ({"typo": 1}, "unknown key 'typo'"),
    ({"pretrain_target": {"reader": {"network": {"kind": "r2plus1d", "width": 10}}}},
     "pretrain_target.reader.network: cannot work (num_channels (10) must be divisible by num_groups (4)): mend its sizes"),
    ({"attack": {"target": {"network": {"kind": "r2plus1d", "dropout": 1.5}}}}, ".network: cannot work (dropout"),
    ({"pretrain_budget": {"readers": [{"network": {"kind": "inception", "width": 2}}]}}, "cannot work (Initializing zero"),
    ({"pretrain_budget": {"readers": [{"network": {"kind": "vgg", "width": 4, "stages": 6}}]}},
     "pretrain_budget.readers.0.network: cannot work ("),
    ({"pretrain_degradation": {"network": {"kind": "transform", "blocks": -1}}}, "'pretrain_degradation.network.blocks' = -1"),
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


def test_the_suite_may_name_every_row_of_the_run_and_the_controls_that_it_has_not() -> None:
    run = ["rows=[raw, filter, gray, down:14, buried:4]", "attack.full_rows=[raw, filter, down:14, planted:temporal]"]
    reader = pipeline.load(path_of("smoke"), [], None).attack.attackers[0].name
    chosen = f"attack.chosen={{'planted:spatial': [{reader}], 'buried:4': [{reader}]}}"
    given = pipeline.load(path_of("smoke"), [*run, chosen], None)
    assert given.attack.chosen.keys() == {"planted:spatial", "buried:4"}
    assert given.attack.full_rows == ("raw", "filter", "down:14", "planted:temporal")


def test_the_largest_seed_is_the_largest_that_a_forest_grows_from() -> None:
    def grow(seed: int) -> None:
        RandomForestClassifier(1, random_state=seed).fit([[0], [1]], [0, 1])

    grow(LARGEST_SEED)
    with pytest.raises(ValueError, match="random_state"):
        grow(LARGEST_SEED + 1)
    assert pipeline.load(path_of("smoke"), [], LARGEST_SEED).seed == LARGEST_SEED


@pytest.mark.parametrize("setting", ["seed=" + "[" * 3000, "seed=&a 5", "seed=010", "attack={kind: 1, kind: 2}"])
def test_a_setting_is_as_plain_as_the_file(setting: str) -> None:
    with pytest.raises(PrivadvError, match=r"^--set .*the value is no plain YAML \(.*\): mend it, or quote it$") as caught:
        pipeline.load(path_of("smoke"), [setting], None)
    assert len(str(caught.value)) < 500


def test_a_setting_reaches_into_lists_and_adds_to_them() -> None:
    newcomer = "{reader: {network: {kind: vgg, width: 4}, input: plain}, start: scratch}"
    plain = pipeline.load(path_of("smoke"), [], None)
    count = len(plain.attack.attackers)
    given = pipeline.load(path_of("smoke"), [f"attack.attackers.{count}={newcomer}", "pretrain_target.fit.steps=7",
                                             "pretrain_budget.readers.0.network.width=0.5"], None)  # fmt: skip
    assert given.attack.attackers[:count] == plain.attack.attackers
    assert [one.name for one in given.attack.attackers[count:]] == ["vgg/plain/scratch"]
    assert given.pretrain_budget.readers[0].network.model_dump()["width"] == 0.5 and given.pretrain_target.fit.steps == 7
    for name in ("99", "first"):
        with pytest.raises(PrivadvError, match=f"'{name}' is none of the items 0 to {count}, the last a new one, of 'attackers'"):
            pipeline.load(path_of("smoke"), [f"attack.attackers.{name}={newcomer}"], None)
