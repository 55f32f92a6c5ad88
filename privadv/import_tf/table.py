"""The two formats that TensorFlow's checkpoint files are made of: LevelDB's sorted table and protocol buffers.

Whatever is not as it should be raises ValueError (or IndexError, struct.error); the caller knows the file's name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

MAGIC = 0xDB4775248B80FB57
FOOTER, TRAILER = 48, 5
LANES, SHORT = 1 << 15, 2048


def read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table in order; every block's checksum is checked before its first entry is given."""
    if len(data) < FOOTER or struct.unpack_from("<Q", data, len(data) - 8)[0] != MAGIC:
        raise ValueError("it does not end as a table does")
    footer = data[-FOOTER:]
    meta, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    _block(data, meta)
    last = None
    for _, value in _entries(_block(data, index)):
        handle, _ = _handle(value, 0)
        for key, entry in _entries(_block(data, handle)):
            if last is not None and key <= last:
                raise ValueError("its keys are out of order")
            last = key
            yield key, entry
    if last is None:
        raise ValueError("it is empty")


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(data: bytes, handle: tuple[int, int]) -> bytes:
    offset, size = handle
    end = offset + size
    if end + TRAILER > len(data) - FOOTER:
        raise ValueError("a block lies outside of the file")
    kind, checksum = struct.unpack_from("<BI", data, end)
    if crc32c(data[offset : end + 1]) != unmask(checksum):
        raise ValueError(f"wrong checksum of the block at byte {offset}")
    if kind > 1:
        raise ValueError(f"unknown compression {kind}")
    return unsnappy(data[offset:end]) if kind else data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end, at, key = len(block) - 4 - 4 * restarts, 0, b""
    if end < 0:
        raise ValueError("a block is cut short")
    while at < end:
        shared, at = varint(block, at)
        unshared, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + unshared + length > end:
            raise ValueError("an entry lies outside of its block")
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + length]
        at += length


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next thing begins."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def unsnappy(data: bytes) -> bytes:
    """What Snappy packed: literal bytes, and copies of what is already there."""
    size, at = varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag, at = data[at], at + 1
        if tag & 3 == 0:
            length, at = _literal_length(data, tag >> 2, at)
            out += data[at : at + length]
            at += length
            continue
        if tag & 3 == 1:
            length, back, at = 4 + (tag >> 2 & 7), (tag >> 5) << 8 | data[at], at + 1
        else:
            width = 2 if tag & 3 == 2 else 4
            length, back, at = 1 + (tag >> 2), int.from_bytes(data[at : at + width], "little"), at + width
        if not 0 < back <= len(out):
            raise ValueError("compressed bytes point before their beginning")
        copied = out[len(out) - back :]
        out += (copied * (length // back + 1))[:length]
    if len(out) != size:
        raise ValueError("compressed bytes have the wrong length")
    return bytes(out)


def _literal_length(data: bytes, code: int, at: int) -> tuple[int, int]:
    if code < 60:
        return code + 1, at
    width = code - 59
    return int.from_bytes(data[at : at + width], "little") + 1, at + width


class Message:
    """A protocol buffer's fields by number; absent fields read as 0, empty bytes or an empty message."""

    def __init__(self, fields: dict[int, list[int | bytes]]) -> None:
        self.fields = fields

    def has(self, field: int) -> bool:
        return field in self.fields

    def number(self, field: int) -> int:
        value = self.fields.get(field, [0])[-1]
        if isinstance(value, bytes):
            raise ValueError(f"field {field} is no number")
        return value

    def data(self, field: int) -> bytes:
        return self._bytes(field)[-1] if self.has(field) else b""

    def text(self, field: int) -> str:
        return self.data(field).decode()

    def message(self, field: int) -> Message:
        return read_message(self.data(field))

    def messages(self, field: int) -> list[Message]:
        return [read_message(value) for value in self._bytes(field)]

    def packed(self, field: int) -> bytes:
        """The bytes of a repeated field of fixed width."""
        return b"".join(self._bytes(field))

    def packed_numbers(self, field: int) -> list[int]:
        """The numbers of a repeated field of varying width."""
        numbers: list[int] = []
        for value in self.fields.get(field, []):
            at = 0
            if isinstance(value, int):
                numbers.append(value)
                continue
            while at < len(value):
                number, at = varint(value, at)
                numbers.append(number)
        return numbers

    def _bytes(self, field: int) -> list[bytes]:
        values = [value for value in self.fields.get(field, []) if isinstance(value, bytes)]
        if len(values) != len(self.fields.get(field, [])):
            raise ValueError(f"field {field} is a number")
        return values


def read_message(data: bytes) -> Message:
    """The fields of a message; fixed 32-bit and variable numbers as int, all else as bytes."""
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        wire, value = tag & 7, b""
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 5:
            value, at = struct.unpack_from("<I", data, at)[0], at + 4
        elif wire in (1, 2):
            length, at = (8, at) if wire == 1 else varint(data, at)
            value = data[at : at + length]
            at += length
        else:
            raise ValueError(f"unknown wire type {wire}")
        if at > len(data):
            raise ValueError("a field is cut short")
        fields.setdefault(tag >> 3, []).append(value)
    return Message(fields)


def unmask(masked: int) -> int:
    """The checksum that a stored one stands for."""
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def _byte_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    return table


TABLE = _byte_table()
NUMBERS: list[int] = TABLE.tolist()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum. Bytes run through many registers side by side, which are then joined two by two."""
    size = len(data)
    if size < SHORT:
        return _short(data)
    lanes = min(LANES, 1 << size.bit_length() // 2)
    length = -(-size // lanes)
    # Zeros before the data leave an empty register empty, so they may fill up the first lanes; the checksum's
    # all-ones start is the same as flipping the first four bytes.
    padded = np.zeros(lanes * length, np.uint8)
    padded[lanes * length - size :] = np.frombuffer(data, np.uint8)
    padded[lanes * length - size :][:4] ^= 255
    registers = np.zeros(lanes, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(lanes, length).T):
        registers = TABLE[(registers ^ column) & 255] ^ registers >> 8
    step = _zeros(length)
    while len(registers) > 1:
        registers = _apply(step, registers[::2]) ^ registers[1::2]
        step = _apply(step, step)
    return int(registers[0]) ^ 0xFFFFFFFF


def _short(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register = NUMBERS[(register ^ byte) & 255] ^ register >> 8
    return register ^ 0xFFFFFFFF


def _zeros(count: int) -> np.ndarray:
    """What ``count`` zero bytes do to a register: the image of each of its 32 bits."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    result, step = bits, TABLE[bits & 255] ^ bits >> 8
    while count:
        if count & 1:
            result = _apply(step, result)
        step, count = _apply(step, step), count >> 1
    return result


def _apply(images: np.ndarray, registers: np.ndarray) -> np.ndarray:
    result = np.zeros_like(registers)
    for bit in range(32):
        result ^= images[bit] * (registers >> np.uint32(bit) & np.uint32(1))
    return result
