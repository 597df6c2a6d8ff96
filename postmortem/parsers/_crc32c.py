"""CRC-32C (Castagnoli), masked the way TFRecord files store it, for one record or for thousands of equal length at once.

The sum is linear over single bits: every byte contributes a table value that depends only on its value and its distance from
the end of the record, and the contributions are XORed. So records of one length are checked column by column, and a column in
which all of them agree costs nothing.
"""

from __future__ import annotations

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # CRC-32C, bits reversed (RFC 3720, appendix B.4)
_MASK_DELTA = 0xA282EAD8  # TFRecord rotates every sum by 15 bits and adds this (tensorflow/core/lib/hash/crc32c.h)
_WORD = 0xFFFFFFFF
_PLAIN_LOOP = 192  # bytes up to which a plain loop is faster than numpy calls
_SPAN = 256  # bytes of one block when a long record is cut into blocks


def _make_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)


_TABLE = _make_table()
_LIST = _TABLE.tolist()
_BY_DISTANCE: list[np.ndarray] = [_TABLE]


def table(distance: int) -> np.ndarray:
    """What each byte value (256,) contributes to the sum when `distance` bytes follow it."""
    while len(_BY_DISTANCE) <= distance:
        last = _BY_DISTANCE[-1]
        _BY_DISTANCE.append((last >> 8) ^ _TABLE[last & 0xFF])
    return _BY_DISTANCE[distance]


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """The CRC-32C of some bytes, not masked."""
    data = memoryview(data)
    return _plain(data) if len(data) <= _PLAIN_LOOP else _long(np.frombuffer(data, np.uint8))


def mask(crc: int) -> int:
    """A sum as a TFRecord file stores it."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & _WORD


@functools.lru_cache(maxsize=1 << 16)
def masked_length(length: int) -> int:
    """What a TFRecord header must hold after a record length."""
    return mask(_plain(memoryview(length.to_bytes(8, "little"))))


def unmask(stored: np.ndarray) -> np.ndarray:
    """Sums (n,) uint32 as they were before masking."""
    turned = stored - np.uint32(_MASK_DELTA)
    return (turned >> np.uint32(17)) | (turned << np.uint32(15))


def _plain(data: memoryview) -> int:
    crc, lookup = _WORD, _LIST
    for byte in data:
        crc = lookup[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ _WORD


def _long(data: np.ndarray) -> int:
    """The sum of a long record: of all its blocks at once, then joined in pairs.

    Zero bytes in front do not change a sum that starts from zero, so the front is padded; the usual start from all ones is the
    same as inverting the first four bytes.
    """
    blocks = 1 << max(0, (-(-len(data) // _SPAN) - 1).bit_length())
    padded = np.zeros(blocks * _SPAN, np.uint8)
    padded[-len(data) :] = data
    padded[len(padded) - len(data) :][:4] ^= 0xFF
    columns = np.ascontiguousarray(padded.reshape(blocks, _SPAN).T)
    sums = np.zeros(blocks, np.uint32)
    for index in range(_SPAN):
        sums ^= table(_SPAN - 1 - index)[columns[index]]
    level = 0
    while len(sums) > 1:
        sums = _shift(sums[0::2], level) ^ sums[1::2]
        level += 1
    return int(sums[0]) ^ _WORD


def _shift(sums: np.ndarray, level: int) -> np.ndarray:
    """Sums as they are after `_SPAN * 2**level` more zero bytes."""
    parts = _shift_tables(level)
    return parts[0][sums & 255] ^ parts[1][(sums >> 8) & 255] ^ parts[2][(sums >> 16) & 255] ^ parts[3][sums >> 24]


@functools.cache
def _shift_tables(level: int) -> list[np.ndarray]:
    """What each byte value in each of the four bytes of a sum becomes after `_SPAN * 2**level` zero bytes."""
    if level:
        return [_shift(part, level - 1) for part in (_shift(part, level - 1) for part in _shift_identity())]
    parts = _shift_identity()
    for _ in range(_SPAN):
        parts = [(part >> 8) ^ _TABLE[part & 0xFF] for part in parts]
    return parts


def _shift_identity() -> list[np.ndarray]:
    return [(np.arange(256, dtype=np.uint32) << np.uint32(8 * place)).astype(np.uint32) for place in range(4)]


def wrong_by_difference(first: bytes, differing: np.ndarray, varying: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Which of n records of equal length do not have the sum that is stored for them: (n,) bool.

    The first record is summed as it is; of the others only the bytes that differ from it anywhere are looked up.

    first      the bytes of the first record
    differing  (n, length) uint8, each record XOR the first; varying (length,) is not 0 where any of them is not
    stored     (n,) uint32 masked sums
    """
    sums = unmask(stored) ^ np.uint32(crc32c(first))
    for place in np.flatnonzero(varying).tolist():
        sums ^= table(len(first) - 1 - place).take(differing[:, place])
    return sums != 0


_HIGH_BYTES = np.array([((1 << 64) - 1) ^ ((1 << (8 * (8 - count))) - 1) for count in range(9)], np.uint64)


def wrong_sums(words: np.ndarray, starts: np.ndarray, lengths: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Which of n records of any lengths do not have the sum that is stored for them: (n,) bool.

    What a byte contributes depends on its distance from the end, so the records are laid side by side with their ends in one line and
    looked up column by column, a shorter one with zeros in front, which contribute nothing. The start from all ones contributes
    what it makes of as many zeros. It costs as much as if all were as long as the longest.

    words   every 8 bytes of the buffer as a little-endian uint64, one at each byte offset
    starts  (n,) offsets of the records, none of them below 8; lengths (n,) in bytes; stored (n,) uint32 masked sums
    """
    sums = unmask(stored) ^ np.array([_of_zeros(length) for length in range(int(lengths.max(initial=0)) + 1)], np.uint32)[lengths]
    ends = starts + lengths
    for behind in range(0, int(lengths.max(initial=0)), 8):
        eight = words[np.maximum(ends - behind - 8, 0)] & _HIGH_BYTES.take(np.clip(lengths - behind, 0, 8))
        varying = int(np.bitwise_or.reduce(eight))
        octets = eight.view(np.uint8).reshape(-1, 8)
        for place in range(8):
            if (varying >> (8 * place)) & 255:
                sums ^= table(behind + 7 - place).take(octets[:, place])
    return sums != 0


@functools.cache
def _of_zeros(length: int) -> int:
    """The sum of so many zero bytes."""
    return crc32c(bytes(length))
