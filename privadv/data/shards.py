"""Clips in plain tar files, two members each: ``00000007.json`` (labels) and ``00000007.raw`` or ``.jpg``.

``raw`` is the uint8 array (T, H, W, 3) byte for byte. ``jpg`` is one mosaic of the T frames, about nine
times smaller and lossy. Equal clips give equal bytes, so that a re-run stores nothing new.
"""

from __future__ import annotations

import io
import json
import math
import re
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from privadv.data.manifest import Clip, Encoding, Geometry, Shard
from privadv.errors import PrivadvError
from privadv.scratch import scratch
from privadv.store import Store

JPEG_QUALITY = 90
TILE = 16  # JPEG codes 16x16 blocks: frames padded to whole ones do not bleed into each other in the mosaic
LABEL_BYTES = 1 << 16
SUFFIX = {"raw": "raw", "jpeg": "jpg"}


def write_shards(
    store: Store, clips: Iterable[Clip], encoding: Encoding, shard_bytes: int = 64 << 20
) -> tuple[Shard, ...]:
    """Put ``clips`` into the store as tars of about ``shard_bytes`` (at least one clip each), in their order.

    Raises:
        PrivadvError: two clips have one id, or a clip's frames are not uint8 (T, H, W, 3) as the first one's.
    """
    shards, seen, shape = [], set(), None
    numbered = enumerate(clips)
    pending = next(numbered, None)
    with scratch() as folder:
        path = folder / "shard.tar"
        while pending is not None:
            count = 0
            with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
                while pending is not None and (count == 0 or tar.offset < shard_bytes):
                    number, clip = pending
                    shape = shape or clip.frames.shape
                    _check(clip, shape, seen)
                    _add(tar, f"{number:08d}.json", _labels(clip))
                    _add(tar, f"{number:08d}.{SUFFIX[encoding]}", encode(clip.frames, encoding))
                    count, pending = count + 1, next(numbered, None)
            shards.append(Shard(blob=store.put(path), clips=count))
    return tuple(shards)


def read_shard(
    data: bytes, where: str, geometry: Geometry, encoding: Encoding, clips: int | None = None
) -> Iterator[Clip]:
    """Read the clips of one tar in order, of which there must be ``clips``; nothing is ever unpacked to disk.

    Raises:
        PrivadvError: names the shard, as ``where``, and the member that is no regular one of such a pair, is larger than a
            clip of ``geometry`` can be, holds another number of pixels, or is one too many.
    """
    count = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            members = iter(tar)
            for member in members:
                count += 1
                if clips is not None and count > clips:
                    raise PrivadvError(f"{where}: holds more than its {clips} clips, such as {member.name[:80]!r}")
                text = _read(tar, member, r"\d{8}\.json", LABEL_BYTES, where)
                labels = _labels_in(text, f"{where}: {member.name}")
                pixels = next(members, None)
                if pixels is None:
                    raise PrivadvError(f"{where}: {member.name} has no pixels: the shard is cut short")
                name = re.escape(member.name[:8] + "." + SUFFIX[encoding])
                limit = math.prod(geometry.shape) + (LABEL_BYTES if encoding == "jpeg" else 0)
                content = _read(tar, pixels, name, limit, where)
                yield Clip(frames=decode(content, geometry, encoding, f"{where}: {pixels.name}"), **labels)
    except (tarfile.TarError, OSError, ValueError, RecursionError) as error:
        raise PrivadvError(f"{where}: not a readable shard ({error}): run the stage that wrote it again") from None
    if clips is not None and count < clips:
        raise PrivadvError(f"{where}: holds {count} clips where the manifest says {clips}: render it again")


def encode(frames: np.ndarray, encoding: Encoding) -> bytes:
    """Bytes of ``frames`` uint8 (T, H, W, 3): themselves, or a near-square JPEG mosaic read row by row."""
    if encoding == "raw":
        return np.ascontiguousarray(frames).tobytes()
    count, height, width, _ = frames.shape
    rows, columns, tile_height, tile_width = _mosaic(count, height, width)
    missing = rows * columns - count, tile_height - height, tile_width - width, 0
    padded = np.pad(frames, [(0, number) for number in missing], mode="edge")
    grid = padded.reshape(rows, columns, tile_height, tile_width, 3).swapaxes(1, 2)
    mosaic = Image.fromarray(grid.reshape(rows * tile_height, columns * tile_width, 3))
    out = io.BytesIO()
    mosaic.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def decode(data: bytes, geometry: Geometry, encoding: Encoding, where: str) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) of ``data``; ``where`` names it in the error.

    Raises:
        PrivadvError: ``data`` is no clip of ``geometry``.
    """
    if encoding == "raw":
        if len(data) != math.prod(geometry.shape):
            raise PrivadvError(f"{where}: {len(data)} bytes are no clip of {geometry.shape}")
        return np.frombuffer(bytearray(data), np.uint8).reshape(geometry.shape)
    rows, columns, tile_height, tile_width = _mosaic(geometry.frames, geometry.height, geometry.width)
    try:
        image = Image.open(io.BytesIO(data), formats=["JPEG"])
        if image.size != (columns * tile_width, rows * tile_height) or image.mode != "RGB":
            raise PrivadvError(f"{where}: {image.mode} image of {image.size} is no clip of {geometry.shape}")
        grid = np.asarray(image).reshape(rows, tile_height, columns, tile_width, 3).swapaxes(1, 2)
    except (OSError, Image.DecompressionBombError) as error:
        raise PrivadvError(f"{where}: not a readable JPEG mosaic ({error})") from None
    tiles = grid.reshape(rows * columns, tile_height, tile_width, 3)
    return np.array(tiles[: geometry.frames, : geometry.height, : geometry.width])


def _mosaic(count: int, height: int, width: int) -> tuple[int, int, int, int]:
    columns = math.ceil(math.sqrt(count))
    return math.ceil(count / columns), columns, -(-height // TILE) * TILE, -(-width // TILE) * TILE


def _check(clip: Clip, shape: tuple[int, ...], seen: set[str]) -> None:
    if clip.frames.dtype != np.uint8 or clip.frames.ndim != 4 or clip.frames.shape != shape or shape[-1] != 3:
        raise PrivadvError(f"clip {clip.id}: {clip.frames.dtype} {clip.frames.shape}, expected uint8 {shape}")
    if clip.id in seen:
        raise PrivadvError(f"clip {clip.id}: two clips have this id: {clip.source} is listed twice")
    seen.add(clip.id)


def _labels(clip: Clip) -> bytes:
    names = ("id", "target", "budget", "source", "indices", *(("group",) if clip.group else ()))
    facts = {name: getattr(clip, name) for name in names}
    return json.dumps(facts, sort_keys=True).encode()


def _labels_in(data: bytes, where: str) -> dict[str, Any]:
    try:
        facts = json.loads(data)
        budget = facts["budget"]
        return {"id": str(facts["id"]), "target": int(facts["target"]), "source": str(facts["source"]),
                "budget": budget if isinstance(budget, int) else tuple(int(label) for label in budget),
                "indices": tuple(int(index) for index in facts["indices"]), "group": str(facts.get("group", ""))}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise PrivadvError(f"{where}: not the labels of a clip ({type(error).__name__}: {error})") from None


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # its time stays 0: equal clips, equal shard
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, limit: int, where: str) -> bytes:
    if not member.isreg() or not re.fullmatch(name, member.name):
        raise PrivadvError(f"{where}: member {member.name[:80]!r} does not belong in a shard")
    if not 0 <= member.size <= limit:
        raise PrivadvError(f"{where}: {member.name} has {member.size} bytes, at most {limit} expected")
    file = tar.extractfile(member)
    assert file is not None
    return file.read()
