"""Checkpoints of TensorFlow 1, written here byte by byte and, in the long check, by TensorFlow itself."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from slim import ATTACKERS
from torch import nn

from privadv.errors import PrivadvError
from privadv.import_tf import import_checkpoints
from privadv.import_tf.__main__ import main
from privadv.import_tf.checkpoint import locate, variables
from privadv.import_tf.table import crc32c, unsnappy
from privadv.models.reader import ReaderSpec
from privadv.models.tensorflow.c3d import TfC3D
from privadv.models.tensorflow.mobilenet import TfMobileNet
from privadv.models.tensorflow.same import conv_same, conv_transpose_same, max_pool_same
from privadv.models.tensorflow.scopes import Options
from privadv.models.tensorflow.transform_net import TfTransformNet

Values = dict[str, np.ndarray]
RANDOM = np.random.default_rng(0)


def slow_crc(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ 0x82F63B78 * (register & 1)
    return register ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = slow_crc(data) if len(data) < 1024 else crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def number(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def proto(*fields: tuple[int, int | bytes]) -> bytes:
    out = b""
    for key, value in fields:
        whole = isinstance(value, int)
        out += number(key << 3 | (0 if whole else 2))
        out += number(value) if isinstance(value, int) else number(len(value)) + value
    return out


def shape_of(array: np.ndarray) -> bytes:
    return proto(*((2, proto((1, length))) for length in array.shape))


def shared_bytes(one: bytes, other: bytes) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(min(one, other, key=len))
    )


def table(entries: Iterable[tuple[bytes, bytes]], block_entries: int = 3, restart: int = 2) -> bytes:
    """LevelDB's table format, keys of a block sharing their beginnings between restarts."""
    entries, out, index = sorted(entries), b"", []

    def block(rows: list[tuple[bytes, bytes]], every: int) -> bytes:
        body, restarts, last = b"", [], b""
        for i, (key, value) in enumerate(rows):
            shared = 0 if i % every == 0 else shared_bytes(key, last)
            if i % every == 0:
                restarts.append(len(body))
            body += number(shared) + number(len(key) - shared) + number(len(value)) + key[shared:] + value
            last = key
        return body + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))

    def put(body: bytes) -> bytes:
        nonlocal out
        handle = number(len(out)) + number(len(body))
        out += body + b"\0" + struct.pack("<I", masked(body + b"\0"))
        return handle

    for start in range(0, len(entries), block_entries):
        rows = entries[start : start + block_entries]
        index.append((rows[-1][0] + b"\xff", put(block(rows, restart))))
    meta = put(block([], 1))
    footer = meta + put(block(index, 1))
    return out + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}


def write_v2(prefix: Path, values: Values, shards: int = 1) -> None:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    data, entries = [b""] * shards, [(b"", proto((1, shards)))]
    for i, (name, array) in enumerate(values.items()):
        shard, raw = i % shards, array.tobytes()
        entry = [(1, TYPES[array.dtype.name]), (2, shape_of(array)), (3, shard), (4, len(data[shard]))]
        crc = number(6 << 3 | 5) + struct.pack("<I", masked(raw))
        entries.append((name.encode(), proto(*entry, (5, len(raw))) + crc))
        data[shard] += raw
    Path(f"{prefix}.index").write_bytes(table(entries))
    for shard, raw in enumerate(data):
        Path(f"{prefix}.data-{shard:05d}-of-{shards:05d}").write_bytes(raw)


def write_v1(path: Path, values: Values, cut: tuple[str, ...] = ()) -> None:
    """Variables named in ``cut`` are stored in two slices of their first axis."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metas, entries = [], []
    for name, array in values.items():
        kind = TYPES[array.dtype.name]
        half = array.shape[0] // 2 if array.ndim else 0
        pieces = [(0, half), (half, array.shape[0] - half)] if name in cut else [None]
        slices = []
        for i, piece in enumerate(pieces):
            first = [(1, proto((1, piece[0]), (2, piece[1])))] if piece else [(1, b"")] * min(array.ndim, 1)
            extents = proto(*first, *[(1, b"")] * (array.ndim - 1))
            slices.append((4, extents))
            part = array[piece[0] : piece[0] + piece[1]] if piece else array
            if kind < 3:
                content = proto((1, kind), (4 + kind, part.tobytes()))
            else:
                content = proto((7 if kind == 3 else 10, b"".join(number(int(v)) for v in part.ravel())))
            saved = proto((1, name.encode()), (2, extents), (3, content))
            entries.append((b"\0" + name.encode() + b"\0\x01" + bytes([i]), proto((2, saved))))
        metas.append((1, proto((1, name.encode()), (2, shape_of(array)), (3, kind), *slices)))
    entries.append((b"", proto((1, proto(*metas)))))
    path.write_bytes(table(entries))


def draw(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype("f4")


SOME: Values = {
    "a/weights": draw(3, 3, 2, 5),
    "a/weights/Adam": draw(3, 3, 2, 5),
    "a/biases": draw(5),
    "double": draw(4, 2).astype("f8"),
    "global_step": np.array(-12345678901, "i8"),
    "ints": np.array([[1, -2], [3, 70000]], "i4"),
    "long": draw(700, 3),
}


def same(got: Path, wanted: Values) -> None:
    found = dict(variables(got))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_checksums() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    for size in (0, 1, 5, 64, 2047, 2048, 2049, 4099, 70000):
        data = RANDOM.bytes(size)
        assert crc32c(data) == slow_crc(data), size


def test_snappy() -> None:
    packed = (
        b"\x13" + b"\x0cabcd" + b"\x01\x04" + b"\x1e\x03\x00" + b"\x00z" + b"\x02\x01\x00" + b"\x03\x01\0\0\0"
    )
    assert unsnappy(packed) == b"abcd" + b"abcd" + b"bcdbcdbc" + b"z" + b"z" + b"z"
    with pytest.raises(ValueError, match="before their beginning"):
        unsnappy(b"\x05\x00a\x01\x09")


@pytest.mark.parametrize("shards", [1, 3])
def test_version_2(tmp_path: Path, shards: int) -> None:
    write_v2(tmp_path / "model.ckpt-7", SOME, shards)
    same(tmp_path / "model.ckpt-7", SOME)


def test_version_1(tmp_path: Path) -> None:
    write_v1(tmp_path / "old.ckpt", SOME, cut=("long", "a/biases"))
    same(tmp_path / "old.ckpt", SOME)


def test_a_flipped_bit_or_a_missing_end_is_refused_in_one_line(tmp_path: Path) -> None:
    small = {name: value for name, value in SOME.items() if name != "long"}
    write_v2(tmp_path / "v2" / "m", small)
    write_v1(tmp_path / "v1" / "m", small)
    for checkpoint, file in (("v2", "m.index"), ("v2", "m.data-00000-of-00001"), ("v1", "m")):
        path = tmp_path / checkpoint / file
        whole = path.read_bytes()
        footer = 0 if "data" in file else 48
        damages = [
            whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]
            for at in range(0, len(whole) - footer, 11)
        ]
        damages += [whole[:at] for at in (0, 1, 47, 48, len(whole) // 2, len(whole) - 1)]
        for damaged in damages:
            path.write_bytes(damaged)
            with pytest.raises(PrivadvError) as error:
                list(variables(tmp_path / checkpoint / "m"))
            assert "\n" not in str(error.value)
            assert str(path) in str(error.value)
        path.write_bytes(whole)
        same(tmp_path / checkpoint / "m", small)


def test_a_damaged_footer_never_gives_other_values(tmp_path: Path) -> None:
    write_v1(tmp_path / "m", SOME)
    whole = (tmp_path / "m").read_bytes()
    for at in range(len(whole) - 48, len(whole)):
        (tmp_path / "m").write_bytes(whole[:at] + bytes([whole[at] ^ 3]) + whole[at + 1 :])
        try:
            same(tmp_path / "m", SOME)  # the filler between the handles and the mark carries nothing
        except PrivadvError as error:
            assert "damaged" in str(error)


def test_a_missing_data_file_and_a_stranger_are_named(tmp_path: Path) -> None:
    write_v2(tmp_path / "m", SOME, 2)
    (tmp_path / "m.data-00001-of-00002").unlink()
    with pytest.raises(PrivadvError, match=r"m\.data-00001-of-00002: missing"):
        list(variables(tmp_path / "m"))
    (tmp_path / "text").write_text("no checkpoint at all")
    with pytest.raises(PrivadvError, match="text: damaged, or no TensorFlow 1 checkpoint"):
        list(variables(tmp_path / "text"))


def test_every_way_to_name_a_checkpoint(tmp_path: Path) -> None:
    prefix = tmp_path / "run" / "model.ckpt-50"
    write_v2(prefix, SOME)
    for name in ("", ".index", ".data-00000-of-00001", ".meta"):
        assert locate(Path(f"{prefix}{name}")) == [prefix]
    assert locate(prefix.parent) == [prefix]
    with pytest.raises(PrivadvError, match="no such checkpoint"):
        locate(tmp_path / "run" / "model.ckpt-51")
    with pytest.raises(PrivadvError, match="no checkpoint in this folder"):
        (tmp_path / "empty").mkdir()
        locate(tmp_path / "empty")


def test_the_checkpoint_file_of_another_machine_counts_by_its_last_part(tmp_path: Path) -> None:
    write_v2(tmp_path / "model.ckpt-50", SOME)
    write_v2(tmp_path / "model.ckpt-99", SOME)
    with pytest.raises(PrivadvError, match=r"name one of model\.ckpt-50, model\.ckpt-99"):
        locate(tmp_path)
    state = tmp_path / "checkpoint"
    for folder in ("/mnt/user/pretrained/", "C:\\\\users\\\\pretrained\\\\", ""):
        state.write_text(
            f'model_checkpoint_path: "{folder}model.ckpt-50"\nall_model_checkpoint_paths: "/x/model.ckpt-99"\n'
        )
        assert locate(tmp_path) == [tmp_path / "model.ckpt-50"]
    state.write_text('model_checkpoint_path: "/mnt/model.ckpt-1"\n')
    with pytest.raises(PrivadvError, match=r"names 'model\.ckpt-1', which is not there"):
        locate(tmp_path)


def test_checkpoints_of_several_trainings_lie_side_by_side(tmp_path: Path) -> None:
    """As slim's do once they are unpacked, some of version 1 and some of version 2."""
    one, other = (mobilenet_variables("MobilenetV1", width, 5, "Logits/Conv2d_1c_1x1") for width in (0.5, 0.25))
    write_v2(tmp_path / "mobilenet_v1_0.5_160.ckpt", one)
    write_v1(tmp_path / "mobilenet_v1_0.25_128.ckpt", other)
    (tmp_path / "mobilenet_v1_0.5_160_info.txt").write_text("no checkpoint")
    assert set(import_checkpoints(tmp_path, tmp_path / "out").models) == {"mobilenet_v1_0.5", "mobilenet_v1_0.25"}


def transform_variables(scope: str = "DegradationModule", width: int = 2) -> Values:
    w, values = width, {}
    plan = {"conv1": (9, 3, w), "conv2": (3, w, 2 * w), "conv3": (3, 2 * w, 4 * w)}
    for block in range(1, 6):
        plan |= {f"resid{block}_1": (3, 4 * w, 4 * w), f"resid{block}_2": (3, 4 * w, 4 * w)}
    plan |= {"conv_t1": (3, 2 * w, 4 * w), "conv_t2": (3, w, 2 * w), "conv_t3": (9, w, 3)}
    for name, (kernel, third, fourth) in plan.items():
        channels = third if name in ("conv_t1", "conv_t2") else fourth
        values[f"{scope}/{name}"] = draw(kernel, kernel, third, fourth)
        values[f"{scope}/{name}_shift"] = draw(channels)
        values[f"{scope}/{name}_scale"] = draw(channels)
    return values


def c3d_variables(scope: str = "UtilityModule", width: int = 2, classes: int = 8) -> Values:
    values, inputs = {}, 3
    for name, outputs in {"1": 1, "2": 2, "3a": 4, "3b": 4, "4a": 8, "4b": 8, "5a": 8, "5b": 8}.items():
        values[f"{scope}/wc{name}"] = draw(3, 3, 3, inputs, outputs * width)
        values[f"{scope}/bc{name}"] = draw(outputs * width)
        inputs = outputs * width
    for name, shape in {"d1": (16 * inputs, 6), "d2": (6, 6), "out": (6, classes)}.items():
        values[f"{scope}/w{name}"], values[f"{scope}/b{name}"] = draw(*shape), draw(shape[1])
    return values


def mobilenet_variables(scope: str, width: float, classes: int, head: str) -> Values:
    values, inputs = {}, 3

    def norm(name: str, channels: int) -> None:
        for part in ("beta", "gamma", "moving_mean"):
            values[f"{scope}/{name}/BatchNorm/{part}"] = draw(channels)
        values[f"{scope}/{name}/BatchNorm/moving_variance"] = 1 + draw(channels) ** 2

    for i, plain in enumerate((32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)):
        outputs = max(int(plain * width), 8)
        if i:
            values[f"{scope}/Conv2d_{i}_depthwise/depthwise_weights"] = draw(3, 3, inputs, 1)
            norm(f"Conv2d_{i}_depthwise", inputs)
        name, kernel = (f"Conv2d_{i}_pointwise", 1) if i else ("Conv2d_0", 3)
        values[f"{scope}/{name}/weights"] = draw(kernel, kernel, inputs, outputs)
        norm(name, outputs)
        inputs = outputs
    values[f"{scope}/{head}/weights"] = draw(1, 1, inputs, classes)
    values[f"{scope}/{head}/biases"] = draw(classes)
    return values


def game() -> Values:
    values = transform_variables() | c3d_variables()
    for k in range(2):
        values |= mobilenet_variables(f"BudgetModule_{k}_0.05", 0.05, 13, "Logits/Conv2d_1c_1x1")
    return values


def test_a_game_becomes_filter_target_and_budget_models(tmp_path: Path) -> None:
    values = game()
    extra = {
        "global_step": np.array(7.0, "f4"),
        "beta1_power": np.array(0.5, "f4"),
        "beta2_power_1": np.array(0.5, "f4"),
        "UtilityModule/wc1/Adam": draw(3, 3, 3, 3, 2),
        "UtilityModule/wc1/Adam_1": draw(3, 3, 3, 3, 2),
        "Variable": draw(2),
        "Variable_12": draw(2),
    }
    write_v2(tmp_path / "ckpt" / "model.ckpt-3300", values | extra)
    manifest = import_checkpoints(tmp_path / "ckpt", tmp_path / "out")
    assert set(manifest.models) == {"degradation", "target", "budget_0", "budget_1"}
    assert manifest.dropped == {
        "Adam": 2, "Variable": 2, "beta1_power": 1, "beta2_power": 1, "global_step": 1,
    }  # fmt: skip
    assert any("moving averages were never updated" in note for note in manifest.notes)
    written = json.loads((tmp_path / "out" / "manifest.json").read_text())
    budget = written["models"]["budget_1"]
    assert (budget["classes"], written["models"]["target"]["classes"]) == (13, 8)
    assert (budget["spec"]["network"]["statistics"], budget["spec"]["network"]["decay"]) == ("batch", 0.999)

    weights = load_file(tmp_path / "out" / "degradation.safetensors")
    model = TfTransformNet.model_validate(written["models"]["degradation"]["spec"]).build()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    np.testing.assert_array_equal(
        weights["conv_t1"][1, 3, 2], values["DegradationModule/conv_t1"][2, :, 3, 1]
    )

    weights = load_file(tmp_path / "out" / "budget_1.safetensors")
    reader = TfMobileNet.model_validate(budget["spec"]["network"]).build(13)
    reader.load_state_dict(
        {name.removeprefix("network."): torch.from_numpy(value) for name, value in weights.items()}
    )
    name = "Conv2d_3_depthwise/depthwise_weights"
    depthwise = weights["network.network." + name.replace("/", ".")]
    np.testing.assert_array_equal(depthwise[4, 0, 2, 1], values[f"BudgetModule_1_0.05/{name}"][2, 1, 4, 0])

    weights = load_file(tmp_path / "out" / "target.safetensors")
    spec = TfC3D.model_validate(written["models"]["target"]["spec"]["network"])
    assert (spec.width, spec.dense, spec.size) == (2, 6, (16, 112, 112))
    np.testing.assert_array_equal(
        weights["network.wc2"][1, 0, 2, 1, 0], values["UtilityModule/wc2"][2, 1, 0, 0, 1]
    )


def test_unknown_and_missing_variables_are_refused_by_name_unless_allowed(tmp_path: Path) -> None:
    values = transform_variables()
    whole = dict(values)
    for name in [name for name in whole if "resid5" in name]:
        del whole[name]
    write_v2(tmp_path / "m", whole)
    with pytest.raises(PrivadvError, match=r"6 variables are not there: DegradationModule/resid5_1,"):
        import_checkpoints(tmp_path / "m", tmp_path / "out")
    del values["DegradationModule/conv2_shift"]
    write_v2(tmp_path / "m", values | {"DegradationModule/conv9": draw(2), "stranger/x": draw(2)})
    with pytest.raises(PrivadvError, match=r"1 variables are not there: DegradationModule/conv2_shift"):
        import_checkpoints(tmp_path / "m", tmp_path / "out")
    missing = Options(allow_missing=("*/conv2_shift",))
    with pytest.raises(PrivadvError, match="2 variables are unknown: DegradationModule/conv9, stranger/x"):
        import_checkpoints(tmp_path / "m", tmp_path / "out", missing)
    assert not (tmp_path / "out").exists()
    allowed = missing.model_copy(update={"allow_unknown": ("stranger/*", "DegradationModule/conv9")})
    notes = import_checkpoints(tmp_path / "m", tmp_path / "out", allowed).notes
    assert len(notes) == 3
    assert not load_file(tmp_path / "out" / "degradation.safetensors")["conv2_shift"].any()


def test_the_command_says_what_it_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_v1(tmp_path / "m", transform_variables() | {"stranger": draw(2)})
    assert main([str(tmp_path / "m"), str(tmp_path / "out")]) == 2
    assert "stranger" in capsys.readouterr().err
    assert main([str(tmp_path / "m"), str(tmp_path / "out"), "--allow-unknown", "stranger"]) == 0
    assert "degradation: DegradationModule of m" in capsys.readouterr().out


def test_the_pretrained_tree_in_one_go(tmp_path: Path) -> None:
    tree = tmp_path / "pretrain"
    write_v1(tree / "C3D" / "sport1m.model", c3d_variables("var_name", classes=487))
    write_v2(tree / "target_models" / "model.ckpt-499", c3d_variables())
    write_v2(tree / "degradation_models" / "model.ckpt-16000", transform_variables())
    for k in range(2):
        trained = mobilenet_variables(f"BudgetModule_{k}_0.05", 0.05, 13, "Logits/Conv2d_1c_1x1")
        if k:
            trained = {name: value for name, value in trained.items() if "moving" not in name}
        write_v2(tree / f"budget_k{k}" / f"pretrained_fb_k{k}.ckpt-100", trained)
    manifest = import_checkpoints(tree, tmp_path / "out")
    assert set(manifest.models) == {"sports1m", "target", "degradation", "budget_0", "budget_1"}
    assert manifest.models["sports1m"].classes == 487
    write_v2(tree / "again" / "model.ckpt", transform_variables())
    with pytest.raises(PrivadvError, match="several checkpoints in it hold a 'degradation'"):
        import_checkpoints(tree, tmp_path / "again")


def test_an_import_is_a_new_folder_or_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_v1(tmp_path / "m", transform_variables())
    (tmp_path / "file").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "target.safetensors").write_text("mine")
    (tmp_path / "empty").mkdir()
    for place, said in ((f"{tmp_path}/file", " is there already: name"), (f"{tmp_path}/other", " is there already: name"),
                        ("/proc/out", ": cannot be made (No such file or directory): name another place")):
        assert main([str(tmp_path / "m"), place]) == 2
        assert capsys.readouterr().err.startswith(f"privadv: import_tf: {place}{said}")
    assert main([str(tmp_path / "m"), str(tmp_path / "empty")]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"m", "file", "other", "empty"}


def test_a_folder_that_cannot_be_searched_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(Path, "is_file", lambda path: path.name == "pipe")  # as in /proc, whose files cannot be searched
    monkeypatch.setattr(Path, "open", lambda path, _: os.fdopen(os.open(path, os.O_RDWR), "r+b", buffering=0))
    with pytest.raises(PrivadvError, match=r"cannot be read \(.*\): name the checkpoint itself"):
        locate(tmp_path)


def test_members_of_an_ensemble_are_numbered_as_they_were_made(tmp_path: Path) -> None:
    values: dict[str, np.ndarray] = {}
    for number in range(4):
        width = 0.60 - number * 0.02
        values |= mobilenet_variables(f"BudgetModule_{width}", width, 3, "Logits/Conv2d_1c_1x1")
    write_v2(tmp_path / "m", values)
    models = import_checkpoints(tmp_path / "m", tmp_path / "out").models
    assert [models[f"budget_{k}"].spec["network"]["width"] for k in range(4)] == [0.6, 0.58, 0.56, 0.54]


@pytest.mark.parametrize(
    ("scope", "head", "role"),
    [
        ("MobilenetV1", "Logits/Conv2d_1c_1x1", "mobilenet_v1_0.25"),
        ("MobilenetV1_0.25", "Logits/logits", "mobilenet_v1_0.25"),
        ("BudgetModule_0.25", "Logits/Conv2d_1c_1x1", "budget_0"),
        ("fb_0.25", "Logits/Conv2d_1c_1x1", "budget_0"),
    ],
)
def test_every_name_of_a_mobilenet(tmp_path: Path, scope: str, head: str, role: str) -> None:
    values = mobilenet_variables(scope, 0.25, 3, head)
    averages = {f"{scope}/Conv2d_0/weights/ExponentialMovingAverage": draw(3, 3, 3, 8)}
    write_v2(tmp_path / "m", values | averages)
    manifest = import_checkpoints(tmp_path / "m", tmp_path / "out")
    assert list(manifest.models) == [role]
    assert manifest.models[role].classes == 3
    assert manifest.dropped == {"ExponentialMovingAverage": 1}


@pytest.mark.parametrize("role", ATTACKERS)
def test_the_imagenet_file_of_each_of_the_ten_attackers(role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda weights, **_: nn.init.ones_(weights))
    network = ATTACKERS[role]()
    network.logits(torch.zeros(1, 3, 33, 33), classes=4)
    # Large kernels would take longest; whether they find their places, the test of whole networks sees.
    kept = {name: value for name, value in network.values.items() if value.size < 30_000}
    left_out = sorted(network.values.keys() - kept.keys())
    by_product: Values = {"global_step": np.array(7, "i8")}
    if role.startswith("resnet_v1"):
        by_product[f"{network.scope}/mean_rgb"] = draw(3)
    write_v1(tmp_path / "slim.ckpt", kept | by_product)
    manifest = import_checkpoints(tmp_path / "slim.ckpt", tmp_path / "out", Options(allow_missing=tuple(left_out)))
    assert manifest.dropped == {name.rpartition("/")[2]: 1 for name in by_product}
    assert sorted(note.rpartition(": ")[2] for note in manifest.notes) == left_out
    ((own_role, model),) = manifest.models.items()
    spec = ReaderSpec.model_validate(model.spec)
    assert (own_role, spec.published, model.scope, model.classes) == (role, role, network.scope, 4)
    reads = "bytes_less_mean" if role.startswith("resnet_v1") else "signed"
    assert model.spec["network"].items() >= {"reads": reads, "statistics": "moving"}.items()
    (head,) = (name for name, value in kept.items() if "ogits" in name and value.ndim == 4)
    with safe_open(tmp_path / "out" / model.file, "numpy") as stored:
        logits = stored.get_tensor("network.network.logits.weights")
        np.testing.assert_array_equal(logits[..., 0, 0], kept[head][0, 0].T)
        for name in (name for name, value in kept.items() if value.ndim == 1 and "ogits" not in name):
            own = name.removeprefix(f"{network.scope}/").replace("/", ".")
            np.testing.assert_array_equal(stored.get_tensor(f"network.network.{own}"), kept[name])


@pytest.mark.parametrize(
    ("scopes", "reads", "statistics"),
    [((), "signed", "moving"), (("DegradationModule",), "unit", "moving"), (("fd", "fT"), "bytes", "batch")],
)
def test_slim_networks_read_what_the_filter_beside_them_gives(
    tmp_path: Path, scopes: tuple[str, ...], reads: str, statistics: str
) -> None:
    values = mobilenet_variables("MobilenetV1_0.25", 0.25, 3, "Logits/logits")
    for scope in scopes:
        values |= c3d_variables(scope) if scope == "fT" else transform_variables(scope)
    write_v2(tmp_path / "m", values)
    network = import_checkpoints(tmp_path / "m", tmp_path / "out").models["mobilenet_v1_0.25"].spec["network"]
    assert (network["reads"], network["statistics"]) == (reads, statistics)
    chosen = Options(reads="signed", statistics="moving")
    network = (
        import_checkpoints(tmp_path / "m", tmp_path / "chosen", chosen)
        .models["mobilenet_v1_0.25"]
        .spec["network"]
    )
    assert (network["reads"], network["statistics"]) == ("signed", "moving")


@pytest.mark.parametrize(("scope", "gray"), [("DegradationModule", True), ("fd", False)])
def test_a_filter_is_released_as_its_game_saw_it_unless_told_otherwise(tmp_path: Path, scope: str, gray: bool) -> None:
    write_v2(tmp_path / "m", transform_variables(scope))
    spec = import_checkpoints(tmp_path / "m", tmp_path / "out").models["degradation"].spec
    assert spec["release"]["gray"] is gray and spec["white"] == 255
    option = "--no-gray" if gray else "--gray"
    assert main([str(tmp_path / "m"), str(tmp_path / "other"), option, "--white", "1"]) == 0
    spec = json.loads((tmp_path / "other" / "manifest.json").read_text())["models"]["degradation"]["spec"]
    assert spec["release"]["gray"] is not gray and spec["white"] == 1


def test_a_wrong_option_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_v2(tmp_path / "m", transform_variables())
    assert main([str(tmp_path / "m"), str(tmp_path / "out"), "--white", "0"]) == 2
    assert "key 'white' = 0.0: Input should be greater than 0" in capsys.readouterr().err


def test_wrong_shapes_other_clips_and_broken_values_are_named(tmp_path: Path) -> None:
    values = transform_variables()
    write_v2(tmp_path / "m", values | {"DegradationModule/conv3": draw(3, 3, 4, 9)})
    with pytest.raises(PrivadvError, match=r"conv3 has shape \[3, 3, 4, 9\]"):
        import_checkpoints(tmp_path / "m", tmp_path / "out")
    broken = values["DegradationModule/conv3"].copy()
    broken[0, 0, 0, 0] = np.nan
    write_v2(tmp_path / "m", values | {"DegradationModule/conv3": broken})
    with pytest.raises(PrivadvError, match="no finite floats"):
        import_checkpoints(tmp_path / "m", tmp_path / "out")
    write_v2(tmp_path / "m", c3d_variables())
    with pytest.raises(PrivadvError, match="give --clip"):
        import_checkpoints(tmp_path / "m", tmp_path / "out", Options(clip=(16, 224, 224)))


TENSORFLOW = """
import sys, numpy as np, tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
folder, random = sys.argv[1], np.random.RandomState(0)
x = tf.constant(random.normal(size=(2, 9, 12, 3)).astype("f"))
with tf.variable_scope("net"):
    one = tf.get_variable("one", initializer=random.normal(size=(3, 3, 3, 4)).astype("f"))
    two = tf.get_variable("two", initializer=random.normal(size=(3, 3, 5, 4)).astype("f"))
    big = tf.get_variable("big", initializer=random.normal(size=(300, 1000)).astype("f"))
step = tf.get_variable("global_step", initializer=np.int64(-7), trainable=False)
conv = tf.nn.conv2d(x, one, [1, 2, 2, 1], "SAME")
up = tf.nn.conv2d_transpose(conv, two, [2, 10, 12, 5], [1, 2, 2, 1], "SAME")
pool = tf.nn.max_pool(x, [1, 3, 3, 1], [1, 2, 2, 1], "SAME")
tf.train.AdamOptimizer().minimize(tf.reduce_sum(up) + tf.reduce_sum(big))
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    values = {v.op.name.replace("/", "|"): session.run(v) for v in tf.global_variables()}
    tf.train.Saver().save(session, folder + "/new.ckpt", global_step=3)
    tf.train.Saver(write_version=tf.train.SaverDef.V1).save(session, folder + "/old/old.ckpt")
    activations = session.run({"x": x, "conv": conv, "up": up, "pool": pool})
np.savez(folder + "/values.npz", **values)
np.savez(folder + "/activations.npz", **activations)
"""


@pytest.mark.full
def test_checkpoints_and_activations_of_tensorflow_itself(tmp_path: Path) -> None:
    python = os.environ.get("PRIVADV_TENSORFLOW_PYTHON")
    if not python:
        pytest.skip("PRIVADV_TENSORFLOW_PYTHON names no Python that has tensorflow-cpu")
    (tmp_path / "old").mkdir()
    subprocess.run([python, "-c", TENSORFLOW, str(tmp_path)], check=True, capture_output=True, timeout=240)
    wanted = {name.replace("|", "/"): value for name, value in np.load(tmp_path / "values.npz").items()}
    assert {"net/one", "net/one/Adam_1", "global_step", "beta1_power"} <= wanted.keys()
    for folder in (tmp_path, tmp_path / "old"):
        (checkpoint,) = locate(folder)
        same(checkpoint, wanted)
    seen = {
        name: torch.from_numpy(a).permute(0, 3, 1, 2)
        for name, a in np.load(tmp_path / "activations.npz").items()
    }
    one, two = (torch.from_numpy(wanted[f"net/{name}"]).permute(3, 2, 0, 1) for name in ("one", "two"))
    torch.testing.assert_close(conv_same(seen["x"], one, 2), seen["conv"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(conv_transpose_same(seen["conv"], two, 2), seen["up"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(max_pool_same(seen["x"], 3, 2), seen["pool"])
