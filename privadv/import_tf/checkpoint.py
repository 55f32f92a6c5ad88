"""TensorFlow 1.x checkpoints without TensorFlow: V2 (.index and .data files) and V1 (one file), every checksum checked.

Both are tables of sorted keys. A V2 index maps a variable's name to its place in a data file; a V1 table holds the values.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from privadv.errors import PrivadvError
from privadv.import_tf.table import Message, crc32c, read_message, read_table, unmask

TYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "|u1",
    5: "<i2",
    6: "|i1",
    9: "<i8",
    10: "|b1",
    17: "<u2",
    19: "<f2",
}
# Where a TensorProto keeps its values when they are not in one piece, by type.
VALUES = {1: 5, 2: 6, 3: 7, 4: 7, 5: 7, 6: 7, 9: 10, 10: 11, 17: 7, 19: 13}
TENSOR_CONTENT = 4
STEP = re.compile(r"-\d+$")
SHARDED = re.compile(r"(.+)\.data-(\d{5})-of-(\d{5})$")


def locate(path: Path) -> list[Path]:
    """The checkpoints that ``path`` names, each as the path that TensorFlow would be given (V2: without ``.index``).

    ``path`` is a checkpoint, one of a V2 checkpoint's files, a folder of checkpoints, or a folder of such folders. In a folder
    the file ``checkpoint`` says which is meant; where the path in it is of another machine, its last part counts.

    Raises:
        PrivadvError: there is no checkpoint, or a folder cannot be read, or holds several steps of one training and does not say
            which is meant.
    """
    if path.is_dir():
        try:
            return _in_folder(path) or _below(path)
        except OSError as error:
            where = error.filename or path
            raise PrivadvError(f"{where}: cannot be read ({error.strerror}): name the checkpoint itself") from None
    match = SHARDED.match(path.name)
    name = match[1] if match else re.sub(r"\.(index|meta)$", "", path.name)
    found = path.with_name(name)
    if not _is_checkpoint(found):
        raise PrivadvError(
            f"{path}: no such checkpoint: name its file, its prefix before .index, or its folder"
        )
    return [found]


def _below(path: Path) -> list[Path]:
    folders = sorted(folder for folder in path.rglob("*") if folder.is_dir())
    checkpoints = [checkpoint for folder in folders for checkpoint in _in_folder(folder)]
    if not checkpoints:
        raise PrivadvError(
            f"{path}: no checkpoint in this folder or below: name the folder of its .index file"
        )
    return checkpoints


def _in_folder(folder: Path) -> list[Path]:
    state = folder / "checkpoint"
    if state.is_file():
        return [_named_by(state)]
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and (file.suffix == ".index" or _is_table(file))]
    found = [file.with_suffix("") if file.suffix == ".index" else file for file in files]
    trainings = Counter(STEP.sub("", file.name) for file in found)
    steps = ", ".join(file.name for file in found if trainings[STEP.sub("", file.name)] > 1)
    if steps:
        raise PrivadvError(f"{folder}: several checkpoints of one training and no file 'checkpoint': name one of {steps}")
    return found


def _named_by(state: Path) -> Path:
    match = re.search(r'^\s*model_checkpoint_path:\s*"(.*)"', state.read_text(errors="replace"), re.MULTILINE)
    if not match:
        raise PrivadvError(f"{state}: no model_checkpoint_path in it: name the checkpoint itself")
    named = match[1].replace("\\\\", "\\")
    here = state.parent / re.split(r"[/\\]", named)[-1]
    found = next((path for path in (state.parent / named, here) if _is_checkpoint(path)), None)
    if found is None:
        raise PrivadvError(
            f"{state}: it names '{here.name}', which is not there: put it beside, or name a checkpoint"
        )
    return found


def _is_checkpoint(path: Path) -> bool:
    return path.with_name(path.name + ".index").is_file() or path.is_file()


def _is_table(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 8, 0))
        return file.read() == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"


def variables(checkpoint: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every variable's name and value, one after the other, of a checkpoint that :func:`locate` gave.

    Raises:
        PrivadvError: a file is missing, damaged or of another format; one line that names it.
    """
    index = checkpoint.with_name(checkpoint.name + ".index")
    path = index if index.is_file() else checkpoint
    try:
        yield from _version2(checkpoint, index) if index.is_file() else _version1(checkpoint)
    except PrivadvError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, struct.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PrivadvError(
            f"{path}: damaged, or no TensorFlow 1 checkpoint ({reason}): fetch it again"
        ) from None
    except OSError as error:
        raise PrivadvError(f"{path}: cannot be read ({error.strerror}): check the file") from None


def _version2(checkpoint: Path, index: Path) -> Iterator[tuple[str, np.ndarray]]:
    entries = read_table(index.read_bytes())
    key, header = next(entries)
    if key:
        raise ValueError("the index has no header")
    head = read_message(header)
    shards = head.number(1)
    if head.number(2):
        raise ValueError("it is big-endian")
    for key, value in entries:
        name, entry = key.decode(), read_message(value)
        if entry.messages(7):
            raise PrivadvError(f"{index}: variable '{name}' is stored in slices, which is not supported")
        yield name, _entry_value(checkpoint, entry, shards, name)


def _entry_value(checkpoint: Path, entry: Message, shards: int, name: str) -> np.ndarray:
    dtype, shape = _type(entry.number(1), name), _shape(entry.message(2))
    data = checkpoint.with_name(f"{checkpoint.name}.data-{entry.number(3):05d}-of-{shards:05d}")
    if not data.is_file():
        raise PrivadvError(f"{data}: missing: a checkpoint is its .index and all of its .data files")
    offset, size = entry.number(4), entry.number(5)
    if data.stat().st_size < offset + size:
        raise PrivadvError(f"{data}: damaged, it ends inside of '{name}': fetch it again")
    with data.open("rb") as file:
        file.seek(offset)
        raw = file.read(size)
    if crc32c(raw) != unmask(entry.number(6)):
        raise PrivadvError(f"{data}: damaged, the checksum of '{name}' is wrong: fetch it again")
    return np.frombuffer(raw, dtype).reshape(shape)


def _version1(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    entries = read_table(path.read_bytes())
    key, value = next(entries)
    if key:
        raise ValueError("it has no list of its variables")
    meta = read_message(value).message(1)
    tensors = {m.text(1): (_shape(m.message(2)), m.number(3), len(m.messages(4))) for m in meta.messages(1)}
    parts: dict[str, list[Message]] = {name: [] for name in tensors}
    for _, value in entries:
        part = read_message(value).message(2)
        name = part.text(1)
        parts[name].append(part)
        shape, kind, count = tensors[name]
        if len(parts[name]) == count:
            yield name, _assembled(name, shape, kind, parts.pop(name))
    if parts:
        raise ValueError(f"variable '{next(iter(parts))}' is incomplete")


def _assembled(name: str, shape: tuple[int, ...], kind: int, parts: list[Message]) -> np.ndarray:
    result = np.empty(shape, _type(kind, name))
    for part in parts:
        extents = part.message(2).messages(1)
        place = tuple(
            slice(e.number(1), e.number(1) + e.number(2)) if e.has(2) else slice(None) for e in extents
        )
        tensor = part.message(3)
        if tensor.number(1) not in (0, kind) or len(place) != len(shape):
            raise ValueError(f"variable '{name}' contradicts the list of variables")
        result[place] = _tensor_values(tensor, kind, result.dtype).reshape(result[place].shape)
    return result


def _tensor_values(tensor: Message, kind: int, dtype: np.dtype) -> np.ndarray:
    if tensor.has(TENSOR_CONTENT):
        return np.frombuffer(tensor.data(TENSOR_CONTENT), dtype)
    if kind in (1, 2):
        return np.frombuffer(tensor.packed(VALUES[kind]), dtype)
    numbers = tensor.packed_numbers(VALUES[kind])
    if kind == 19:
        return np.array(numbers, "<u2").view("<f2")
    return np.array(numbers, "<u8").astype("<i8").astype(dtype)


def _type(number: int, name: str) -> np.dtype:
    if number not in TYPES:
        raise ValueError(f"variable '{name}' has type {number}, only plain numbers are read")
    return np.dtype(TYPES[number])


def _shape(shape: Message) -> tuple[int, ...]:
    return tuple(dimension.number(1) for dimension in shape.messages(2))
