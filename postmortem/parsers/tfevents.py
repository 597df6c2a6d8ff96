"""Reads TensorBoard event files: every scalar with its record, step and time, past damage, without TensorFlow.

Length sums of all records are checked, and the data sum of every record that holds numbers, cannot be decoded or is small. A larger
image, histogram, audio clip or graph is counted and stepped over unread: its sum could only say that a picture nobody looks at is
damaged. (TensorBoard's Rust loader checks no data sum unless a record cannot be parsed: `--no-checksum` is the default in
tensorboard/data/server/cli.rs; its Python loader checks all.)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from postmortem.frame import NO_TIME, Block
from postmortem.model import Origin, Reading, Setting
from postmortem.parsers import _tfevents_settings as settings
from postmortem.parsers import _tfevents_table as tables
from postmortem.parsers._crc32c import crc32c, mask, masked_length, wrong_sums
from postmortem.parsers._literals import shortened
from postmortem.parsers._protobuf import Malformed
from postmortem.parsers._tfevents_columns import Tags, microseconds, nothing, walk
from postmortem.parsers._tfevents_frames import CAPACITY, BigRecord, Loss, RecordFile
from postmortem.parsers._tfevents_record import EventRecord, blob_kind, decode
from postmortem.parsers._tfevents_rows import FEWEST, Rows, repeated
from postmortem.parsers._tfevents_table import Series
from postmortem.parsers._tfevents_window import HEADER, Chunk, joined
from postmortem.parsers.base import LIKELY, NO, PLAUSIBLE, SURE, Request, SourceFile

NAME = "tfevents"
ABOUT = "TensorBoard event files (v1 and v2): scalars of any number type, hyperparameters; images, histograms and graphs are counted."

_VERSION = b"brain.Event:"  # what the first event of a file says of its format
_NAMED = re.compile(r"\.tfevents(\.|$)|^tfevents\.")
_LFS = b"version https://git-lfs"
_UNSUMMED = 1024  # bytes from which a record without numbers is not read for its sum
_LARGE = 64 << 10  # bytes from which a record is decoded on its own
_FEW = 16  # records from which columns are faster than one by one
_LONG = 4096  # bytes of a record up to which records of similar length are summed together
_MOST_UNLIKE = 0.9  # rows that may be unlike the first one without giving up on tables
_SIMILAR = 16  # bytes: a difference in length for which it does not pay to sum records apart
_LONGEST_NAME = 200
_MOST_TAGS = 50_000
_MOST_SETTINGS = 5_000


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
    parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)  # of single records
    series: list[Series] = field(default_factory=list)  # of tables
    kinds: Counter[str] = field(default_factory=Counter)
    settings: list[Setting] = field(default_factory=list)
    wrong_sums: list[int] = field(default_factory=list)  # numbers of the records
    malformed: list[int] = field(default_factory=list)


def read(source: SourceFile, request: Request) -> Reading:
    """One Block a tag; the line is the number of the record in the file. Raises OSError where the file cannot be opened."""
    result = _Result(source.name)
    file = RecordFile(source.path, _unwanted)
    for found in file.chunks():
        if isinstance(found, BigRecord):
            _big(found, result)
        else:
            _window(found, result)
    result.kinds.update(file.skipped)
    reading = Reading(source.name, NAME, settings=result.settings[:_MOST_SETTINGS])
    reading.blocks = _blocks(result)
    reading.rejected = len(result.wrong_sums) + len(result.malformed) + sum(loss.how != "zeros" for loss in file.losses)
    reading.notes = _notes(source, file, result, reading)
    return reading


def _window(chunk: Chunk, result: _Result) -> None:
    """All records of a window: what repeats is read as tables, the rest record by record."""
    found, rest = repeated(chunk)
    if found:
        rest = joined(chunk.window, [rest, *(left for rows in found for left in _rows(rows, result))])
        rest = rest.only(np.argsort(rest.lines))  # settings keep the order of the file
    if rest.count:
        _chunk(rest, result)


def _rows(rows: Rows, result: _Result) -> list[Chunk]:
    """Read rows of records as tables; returns what is left.

    Rows unlike the first one are tried again, with a first one of their own, as long as that takes a good part of them.
    """
    rests: list[Chunk] = []
    left: Rows | None = rows
    before = math.inf
    while left is not None and FEWEST <= len(left) <= _MOST_UNLIKE * before:
        before = len(left)
        table = tables.read(left, result.tags)
        result.series += table.series
        result.wrong_sums += table.wrong
        rests += [table.rest] if table.rest is not None else []
        left = table.unlike
    return rests if left is None else [*rests, left.records()]


def _chunk(chunk: Chunk, result: _Result) -> None:
    """Any records of a window: walk the columns, check sums, decode one by one what the columns do not understand."""
    window = chunk.window
    large = chunk.lengths > _LARGE
    if large.any():
        for start, length, line in zip(*(column[large].tolist() for column in (chunk.starts, chunk.lengths, chunk.lines)), strict=True):
            _large(window.bytes[start : start + length + 4], line, result)
        chunk = chunk.only(~large)
    columns = walk(chunk, result.tags) if chunk.count >= _FEW else nothing(chunk.count)
    summed = (chunk.lengths <= _UNSUMMED) | columns.unread
    summed[columns.record] = True
    wrong = _wrong(chunk, summed)
    result.wrong_sums += chunk.lines[wrong].tolist()
    for kind, records in columns.blobs:
        result.kinds[kind] += int((~wrong[records]).sum())
    rows = columns.tag, chunk.lines[columns.record], microseconds(columns.wall), columns.step, columns.value
    if wrong.any():
        right = ~wrong[columns.record]
        rows = tuple(column[right] for column in rows)
    if len(result.tags.names) * _FEW < len(rows[0]):  # cut by tag while it is in the cache, unless that makes too many small pieces
        result.series += _by_tag([rows])
    else:
        result.parts.append(rows)
    slow = chunk.only(columns.unread & ~wrong)
    for start, length, line in zip(slow.starts.tolist(), slow.lengths.tolist(), slow.lines.tolist(), strict=True):
        _slow(window.bytes[start : start + length], line, result)


def _wrong(chunk: Chunk, among: np.ndarray) -> np.ndarray:
    """Which records (n,) bool have a wrong data sum; only those `among` are looked at. Records of similar length are summed together."""
    window, starts, lengths = chunk.window, chunk.starts, chunk.lengths
    stored = window.u32[starts + lengths]
    wrong = np.zeros(len(starts), bool)
    rows = np.flatnonzero(among)
    similar = lengths[rows] // _SIMILAR
    order = np.argsort(similar, kind="stable")
    rows = rows[order]
    for first, last in pairwise([*np.flatnonzero(np.diff(similar[order], prepend=-1)).tolist(), len(rows)]):
        group = rows[first:last]
        if len(group) >= _FEW and int(lengths[group[0]]) <= _LONG:
            wrong[group] = wrong_sums(window.u64, starts[group], lengths[group], stored[group])
        else:
            places = zip(starts[group].tolist(), lengths[group].tolist(), strict=True)
            sums = [mask(crc32c(window.bytes[start : start + length])) for start, length in places]
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


def _unwanted(head: memoryview, length: int) -> str | None:
    """What a large record is, if it holds no number and no setting: RecordFile steps over it."""
    kind = blob_kind(head, length)
    return kind if kind != "tensor" or length > CAPACITY else None  # a smaller tensor may be a text


def _big(record: BigRecord, result: _Result) -> None:
    """A record larger than the window."""
    if record.data is None:
        result.wrong_sums.append(record.line)
    else:
        _slow(record.data, record.line, result)


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
        time = microseconds(np.full(count, np.nan if event.wall is None else event.wall))
        values = np.array([value for _, value in event.scalars])
        result.parts.append((tags, np.full(count, line), time, np.full(count, event.step, np.int64), values))
    _settings(event, Origin(result.name, line), result)


def _settings(event: EventRecord, origin: Origin, result: _Result) -> None:
    if len(result.settings) < _MOST_SETTINGS:
        for content in event.hparams:
            result.settings += [Setting(key, value, origin) for key, value in settings.hparams(content)]
        for tag, words in event.texts:
            result.settings += [Setting(key, value, origin) for key, value in settings.from_text(tag, words)]


def _blocks(result: _Result) -> list[Block]:
    """The points of every tag in the order of the file; tags in the order in which the file brings them."""
    parts: dict[int, list[Series]] = {}
    for one in (*result.series, *_by_tag(result.parts)):
        parts.setdefault(one.tag, []).append(one)
    first = {tag: min(int(one.line[0]) for one in some) for tag, some in parts.items()}
    blocks, seen = [], Counter[str]()
    for tag in sorted(parts, key=first.__getitem__)[:_MOST_TAGS]:
        line, time, step, value = _joined(parts.pop(tag))
        name = result.tags.names[tag].decode("utf-8", "replace").strip()
        raw = shortened(name, _LONGEST_NAME) or "(unnamed)"
        blocks.append(Block(raw, value, line, step, times=time if (time != NO_TIME).any() else None, series=seen[raw]))
        seen[raw] += 1  # two tags that look the same after shortening stay two series
    return blocks


def _by_tag(parts: list[tuple[np.ndarray, ...]]) -> list[Series]:
    """Rows (tag, line, time, step, value) of any order cut by tag."""
    if not parts:
        return []
    tag, *columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    few = tag.astype(np.uint16) if int(tag.max(initial=0)) < 1 << 16 else tag  # numpy sorts 16 bits by counting
    order = np.argsort(few, kind="stable")
    columns = [column[order] for column in columns]
    firsts = np.flatnonzero(np.diff(tag[order], prepend=-1))
    bounds = [*firsts.tolist(), len(tag)]
    tags = tag[order[firsts]].tolist()
    return [Series(one, *(column[slice(*ends)] for column in columns)) for one, ends in zip(tags, pairwise(bounds), strict=True)]


def _joined(parts: list[Series]) -> tuple[np.ndarray, ...]:
    """Line, time, step and value of one tag from all its parts, by line: records of other layouts were read later than their neighbours."""
    columns = [np.concatenate(column) for column in zip(*((one.line, one.time, one.step, one.value) for one in parts), strict=True)]
    if bool((np.diff(columns[0]) < 0).any()):
        order = np.argsort(columns[0], kind="stable")
        columns = [column[order] for column in columns]
    return tuple(columns)


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
