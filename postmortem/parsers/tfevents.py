"""Reads TensorBoard event files: every scalar with its record, step and time, past damage, without TensorFlow.

Length sums of all records are checked, and the data sum of every record that holds numbers, cannot be decoded or is small. A larger
image, histogram, audio clip or graph is counted and stepped over unread.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from postmortem.frame import NO_TIME, Block
from postmortem.model import Origin, Reading, Setting
from postmortem.parsers import _tfevents_settings as settings
from postmortem.parsers._crc32c import crc32c, mask, masked_length, wrong_sums
from postmortem.parsers._literals import shortened
from postmortem.parsers._protobuf import Malformed
from postmortem.parsers._tfevents_columns import Columns, Tags, nothing, walk
from postmortem.parsers._tfevents_frames import HEADER, BigRecord, Chunk, Loss, RecordFile
from postmortem.parsers._tfevents_record import EventRecord, blob_kind, decode
from postmortem.parsers.base import LIKELY, NO, PLAUSIBLE, SURE, Request, SourceFile

NAME = "tfevents"
ABOUT = "TensorBoard event files (v1 and v2): scalars of any number type, hyperparameters; images, histograms and graphs are counted."

_VERSION = b"brain.Event:"  # what the first event of a file says of its format
_NAMED = re.compile(r"\.tfevents(\.|$)|^tfevents\.")
_LFS = b"version https://git-lfs"
_UNSUMMED = 1024  # bytes from which a record without numbers is not read for its sum
_LARGE = 64 << 10  # bytes from which a record is decoded on its own
_FEW = 16  # records from which columns are faster than one by one
_MANY = 64  # records a tag from which those of one tag are summed together
_LONG = 4096  # bytes of a record up to which records of equal length are summed together
_LONGEST_NAME = 200
_MOST_TAGS = 50_000
_MOST_SETTINGS = 5_000
_LATEST = 253402300800.0  # seconds: the year 10000


def claims(source: SourceFile) -> float:
    """Sure where the first record checks out and says that it is an event, likely where only the name says so."""
    named = bool(_NAMED.search(source.basename))
    head = source.head
    if len(head) >= HEADER.size:
        length, stored = HEADER.unpack_from(head)
        if masked_length(length) == stored and HEADER.size + length <= len(head):
            if _VERSION in head[HEADER.size : HEADER.size + length] or named:
                return SURE
            return NO  # TFRecord framing around something else: a data set
    if not named:
        return NO
    return LIKELY if not head or b"\0" in head or head.startswith(_LFS) else PLAUSIBLE


@dataclass(slots=True)
class _Result:
    """What has been found so far: columns of scalars in parts, everything else as counts and examples."""

    name: str
    tags: Tags = field(default_factory=Tags)
    parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    settings: list[Setting] = field(default_factory=list)
    wrong_sums: list[int] = field(default_factory=list)  # numbers of the records
    malformed: list[int] = field(default_factory=list)


def read(source: SourceFile, request: Request) -> Reading:
    """One Block a tag; the line is the number of the record in the file. Raises OSError where the file cannot be opened."""
    result = _Result(source.name)
    file = RecordFile(source.path)
    for chunk in file.chunks():
        if isinstance(chunk, BigRecord):
            _big(chunk, result)
        else:
            _chunk(chunk, result)
    reading = Reading(source.name, NAME, settings=result.settings[:_MOST_SETTINGS])
    reading.blocks = _blocks(result)
    reading.rejected = len(result.wrong_sums) + len(result.malformed) + sum(loss.how != "zeros" for loss in file.losses)
    reading.notes = _notes(source, file, result, reading)
    return reading


def _chunk(chunk: Chunk, result: _Result) -> None:
    """All records of a window: walk the columns, check sums, decode one by one what the columns do not understand."""
    window, lines = chunk.window, chunk.line + np.arange(len(chunk.starts))
    large = chunk.lengths > _LARGE
    if large.any():
        for index in np.flatnonzero(large).tolist():
            start, length = int(chunk.starts[index]), int(chunk.lengths[index])
            _large(window.bytes[start : start + length + 4], int(lines[index]), result)
        chunk, lines = Chunk(window, chunk.starts[~large], chunk.lengths[~large], chunk.line), lines[~large]
    columns = walk(chunk, result.tags) if len(lines) >= _FEW else nothing(len(lines))
    summed = (chunk.lengths <= _UNSUMMED) | columns.unread
    summed[columns.record] = True
    wrong = _wrong(chunk, summed, columns)
    result.wrong_sums += lines[wrong].tolist()
    for kind, records in columns.blobs:
        result.kinds[kind] += int((~wrong[records]).sum())
    rows: tuple[np.ndarray, ...] = (lines[columns.record], columns.wall, columns.step, columns.tag, columns.value)
    if wrong.any():
        right = ~wrong[columns.record]
        rows = tuple(column[right] for column in rows)
    result.parts.append(rows)
    for index in np.flatnonzero(columns.unread & ~wrong).tolist():
        start = int(chunk.starts[index])
        _slow(window.bytes[start : start + int(chunk.lengths[index])], int(lines[index]), result)


def _wrong(chunk: Chunk, among: np.ndarray, columns: Columns) -> np.ndarray:
    """Which records (n,) bool have a wrong data sum; only those `among` are looked at.

    Records of one length are summed together; where there are enough, those of one tag, for they agree in more bytes.
    """
    window, starts, lengths = chunk.window, chunk.starts, chunk.lengths
    stored = window.u32[starts + lengths]
    wrong = np.zeros(len(starts), bool)
    alike = np.zeros(len(starts), np.int64)
    alike[columns.record] = columns.tag
    tags = int(alike.max(initial=0)) + 1
    rows = np.flatnonzero(among)
    key = lengths[rows] * tags + alike[rows] if tags * _MANY < len(rows) else lengths[rows]
    order = np.argsort(key, kind="stable")
    rows = rows[order]
    firsts = np.flatnonzero(np.diff(key[order], prepend=-1)).tolist()
    for first, last in zip(firsts, [*firsts[1:], len(rows)], strict=True):
        group, length = rows[first:last], int(lengths[rows[first]])
        if len(group) >= _FEW and 0 < length <= _LONG:
            wrong[group] = wrong_sums(window.u64, starts[group], length, stored[group])
        else:
            sums = [mask(crc32c(window.bytes[start : start + length])) for start in starts[group].tolist()]
            wrong[group] = np.array(sums, np.uint32) != stored[group]
    return wrong


def _large(data: memoryview, line: int, result: _Result) -> None:
    """A large record with its stored sum behind it: summed only where it holds numbers or makes no sense."""
    body = data[:-4]
    try:
        event = decode(body)
        plain = not (event.scalars or event.texts or event.hparams)
    except Malformed:
        plain = False
    if plain:
        result.kinds.update(event.kinds)
    elif mask(crc32c(body)) != int.from_bytes(data[-4:], "little"):
        result.wrong_sums.append(line)
    else:
        _slow(body, line, result)


def _big(record: BigRecord, result: _Result) -> None:
    """A record larger than the window."""
    if kind := blob_kind(record.head, record.length):
        result.kinds[kind] += 1
    elif (data := record.load()) is None:
        result.wrong_sums.append(record.line)
    else:
        _slow(data, record.line, result)


def _slow(data: memoryview, line: int, result: _Result) -> None:
    """One record by the slow decoder."""
    try:
        event = decode(data)
    except Malformed:
        result.malformed.append(line)
        return
    result.kinds.update(event.kinds)
    if event.scalars:
        count = len(event.scalars)
        tags = np.array([result.tags.number(tag) for tag, _ in event.scalars], np.int64)
        wall = np.full(count, np.nan if event.wall is None else event.wall)
        values = np.array([value for _, value in event.scalars])
        result.parts.append((np.full(count, line), wall, np.full(count, event.step, np.int64), tags, values))
    _settings(event, Origin(result.name, line), result)


def _settings(event: EventRecord, origin: Origin, result: _Result) -> None:
    if len(result.settings) < _MOST_SETTINGS:
        for content in event.hparams:
            result.settings += [Setting(key, value, origin) for key, value in settings.hparams(content)]
        for tag, words in event.texts:
            result.settings += [Setting(key, value, origin) for key, value in settings.from_text(tag, words)]


def _blocks(result: _Result) -> list[Block]:
    """The columns of all parts, cut by tag, each in the order of the file."""
    if not result.parts:
        return []
    line, wall, step, tag, value = (np.concatenate(column) for column in zip(*result.parts, strict=True))
    if bool((np.diff(line) < 0).any()):  # slow records stand behind the fast ones of their window
        order = np.argsort(line, kind="stable")
        line, wall, step, tag, value = line[order], wall[order], step[order], tag[order], value[order]
    few = tag.astype(np.uint16) if len(result.tags.names) <= 1 << 16 else tag  # numpy sorts 16 bits by counting
    order = np.argsort(few, kind="stable")
    line, step, value, time = line[order], step[order], value[order], _microseconds(wall[order])
    starts = np.flatnonzero(np.diff(tag[order], prepend=-1))
    ends = np.append(starts[1:], len(line))
    blocks, seen = [], Counter[str]()
    for place in np.argsort(line[starts], kind="stable")[:_MOST_TAGS].tolist():  # in the order in which the file brings them
        part = slice(int(starts[place]), int(ends[place]))
        name = result.tags.names[int(tag[order[part.start]])].decode("utf-8", "replace").strip()
        raw, times = shortened(name, _LONGEST_NAME) or "(unnamed)", time[part]
        some = times if (times != NO_TIME).any() else None
        blocks.append(Block(raw, value[part], line[part], step[part], times=some, series=seen[raw]))
        seen[raw] += 1  # two tags that look the same after shortening stay two series
    return blocks


def _microseconds(wall: np.ndarray) -> np.ndarray:
    """Seconds (n,) as int64 microseconds; NO_TIME for what is no time after 1970 and before the year 10000."""
    sane = (wall > 0) & (wall < _LATEST)
    return np.where(sane, np.rint(np.where(sane, wall, 0.0) * 1e6).astype(np.int64), NO_TIME)


# ---------------------------------------------------------------------- notes


def _notes(source: SourceFile, file: RecordFile, result: _Result, reading: Reading) -> list[str]:
    """What a reader should know about the file, in sentences."""
    notes = []
    if not file.size:
        return ["empty event file (0 bytes): a writer was opened and wrote nothing"]
    if source.head.startswith(_LFS):
        return ["Git LFS pointer: the event file itself was not downloaded"]
    if wrong := result.wrong_sums:
        notes.append(f"{len(wrong)} record(s) with a wrong data CRC dropped (first: record {min(wrong)})")
    if broken := result.malformed:
        notes.append(f"{len(broken)} bad record(s): no valid event inside a right CRC (first: record {min(broken)})")
    notes += _loss_notes(file.losses)
    if len(result.tags.names) > _MOST_TAGS:
        notes.append(f"{len(result.tags.names)} tags: only the first {_MOST_TAGS} were kept")
    if len(result.settings) > _MOST_SETTINGS:
        notes.append(f"only the first {_MOST_SETTINGS} settings were kept")
    if result.kinds:
        notes.append("no numbers, skipped: " + ", ".join(f"{count} {kind}" for kind, count in sorted(result.kinds.items())))
    if not reading.blocks and not notes and not reading.settings:
        notes.append("only the file header: nothing was logged")
    elif not reading.blocks:
        notes.append("no scalars in this file")
    return notes


def _loss_notes(losses: list[Loss]) -> list[str]:
    """One sentence for a cut end, one for a tail of zeros, one for all other damage."""
    notes = []
    for loss in losses:
        if loss.how == "cut":
            notes.append(f"truncated: cut at byte {loss.offset + loss.size}, inside record {loss.line} that begins at byte {loss.offset}")
        elif loss.how == "zeros":
            where = "at the end" if loss.at_end else f"before record {loss.line}"
            notes.append(f"{loss.size} zero bytes {where}: space was reserved and nothing written")
    damaged = [loss for loss in losses if loss.how == "garbage"]
    if damaged:
        size = sum(loss.size for loss in damaged)
        first = damaged[0]
        place = f"first at byte {first.offset}" + (" up to the end" if first.at_end else f", before record {first.line}")
        notes.append(f"damaged: {size} bytes in {len(damaged)} place(s) with no valid length CRC were skipped ({place})")
    return notes
