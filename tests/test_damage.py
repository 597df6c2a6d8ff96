"""The damage law: every parser, on 10,000 mutated inputs, raises nothing, invents nothing malformed, and stays within 1 s and 256 MB on any."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from damage_samples import mutated, samples

from postmortem import frame, parsers
from postmortem.errors import UnreadableFile
from postmortem.model import Reading
from postmortem.parsers.base import HEAD_BYTES, NO, Parser, Request, SourceFile
from postmortem.rules import base as rules

INPUTS = 10_000  # mutated files for each parser
SLICES = 10  # a test reads INPUTS / SLICES of them, so that several processes share a parser
SECONDS = 1.0  # of processor time, for one file
MEMORY = 256 << 20  # bytes beyond what the process held before
PARSERS = {parser.NAME: parser for parser in parsers.parsers()}
SAMPLES = samples()


class TooSlow(BaseException):
    """Raised by the alarm; no parser can catch it by accident."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux only")
def test_the_bounds_hold() -> None:
    """The watch itself: a reader that takes too much or never ends is stopped."""
    with pytest.raises(MemoryError), bounded():
        bytes(MEMORY + (64 << 20))
    with pytest.raises(TooSlow), bounded(seconds=0.05) as alarm:
        alarm()
        while True:
            pass


def test_every_parser_has_samples_and_reads_them(tmp_path: Path) -> None:
    """A new parser needs a sample in damage_samples.py; each sample must be claimed by its own parser and read without loss."""
    assert SAMPLES.keys() == PARSERS.keys()
    for name, own in SAMPLES.items():
        for sample in own:
            source = Workplace(tmp_path / name).put(sample.name, sample.data)
            assert parsers.claim(source) is PARSERS[name], sample.name
            reading = PARSERS[name].read(source, Request(rules.wanted()))
            assert reading.rows or reading.events or reading.settings or reading.notes, sample.name


@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_mutated_files(name: str, part: int, tmp_path: Path) -> None:
    parser, place, request = PARSERS[name], Workplace(tmp_path), Request(rules.wanted())
    dice = random.Random(f"{name} {part}")
    readings, number, data = [], 0, b""
    with bounded() as alarm:
        try:
            for number in range(INPUTS // SLICES):
                sample, other = dice.choice(SAMPLES[name]), dice.choice(SAMPLES[name])
                data = mutated(sample, other, dice)
                source = place.put(sample.name, data)
                alarm()
                check_claims(parser, source, every=number % 20 == 0)
                reading = read(parser, source, request)
                check(reading)
                readings.append(reading)
        except (Exception, TooSlow) as error:
            raise AssertionError(f"{name}, input {number} of part {part} ({len(data)} bytes): {data[:2000]!r}") from error
    table = frame.assemble(readings)
    assert table.height == sum(reading.rows for reading in readings)


def read(parser: Parser, source: SourceFile, request: Request) -> Reading:
    """What the parser says. The two errors that a parser may raise are the contract's, not damage that got through."""
    try:
        return parser.read(source, request)
    except (UnreadableFile, OSError) as error:
        return Reading(source.name, parsers.UNREADABLE, notes=[str(error)])


def check_claims(parser: Parser, source: SourceFile, every: bool) -> None:
    """The parser itself, and now and then all others, say how sure they are of the damaged file."""
    for one in PARSERS.values() if every else [parser]:
        assert NO <= one.claims(source) <= 1


def check(reading: Reading) -> None:
    """What every reading must be, whatever the file was: columns of equal length, real places, text that can be printed."""
    assert reading.rejected >= 0
    for block in reading.blocks:
        columns = [column for column in (block.lines, block.steps, block.epochs, block.times) if column is not None]
        assert all(len(column) == len(block.values) for column in columns) and block.values.dtype.kind == "f"
        assert block.lines is None or not len(block.lines) or block.lines.min() > 0
        assert block.device is None or 0 <= block.device < 2**31
        assert block.rank is None or 0 <= block.rank < 2**31
        assert 0 < len(block.raw_name) <= 400
        block.raw_name.encode()
    for event in reading.events:
        assert event.line is None or event.line > 0
        assert event.rank is None or 0 <= event.rank < 2**31
        event.text.encode()
    for setting in reading.settings:
        setting.key.encode()
        str(setting.value).encode()
    "\n".join(reading.notes).encode()


# ---------------------------------------------------------------------- bounds


class Workplace:
    """Puts one file after the other into a folder; a file stays open, for opening it anew 10,000 times costs seconds on some systems."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, int] = {}

    def put(self, name: str, data: bytes) -> SourceFile:
        path = self._folder / name
        if name not in self._files:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[name] = os.open(path, os.O_RDWR | os.O_CREAT)
        file = self._files[name]
        os.pwrite(file, data, 0)
        os.ftruncate(file, len(data))
        return SourceFile(path, name, len(data), data[:HEAD_BYTES])

    def __del__(self) -> None:
        for file in self._files.values():
            os.close(file)


@contextlib.contextmanager
def bounded(seconds: float = SECONDS) -> Iterator[Callable[[], None]]:
    """Within it the process may grow by MEMORY at most (a MemoryError tells), and each call of the alarm gives the next file its seconds."""

    def ring(*_: object) -> None:
        raise TooSlow(f"more than {seconds} s")

    def alarm() -> None:
        signal.setitimer(signal.ITIMER_PROF, seconds)

    before = signal.signal(signal.SIGPROF, ring)
    try:
        with memory_limit():
            yield alarm
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def memory_limit() -> Iterator[None]:
    """Linux counts and limits the address space of a process; elsewhere only the time is watched."""
    sizes = Path("/proc/self/statm")
    if not sizes.exists():
        yield
        return
    import resource

    start_threads()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(sizes.read_text().split()[0]) * resource.getpagesize() + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@functools.cache
def start_threads() -> None:
    """Polars starts its threads when it first reads a table; a gigabyte of addresses is set aside for their stacks, and none of it used."""
    import polars as pl

    pl.read_csv(b"step,loss\n" + b"1,0.5\n" * 100_000)


# ---------------------------------------------------------------------- long runs of one thing

RUNS = (
    b" ",
    b"\t",
    b"\n",
    b"9",
    b"a",
    b'"',
    b"|",
    b":",
    b",",
    b"[",
    b"- ",
    b"\\",
    b"/",
    b"- [",
    b"\r",
    b"=",
    b"a ",
    b"a=",
    b"1,",
    b"(",
    b"\n ",
)
LONG = 20_000


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_long_runs(name: str, tmp_path: Path) -> None:
    """The same byte 20,000 times in the middle of a file: a pattern that tries every split of it would take minutes, a recursion overflow."""
    parser, place, request = PARSERS[name], Workplace(tmp_path), Request(rules.wanted())
    with bounded() as alarm:
        for sample in SAMPLES[name]:
            for run in RUNS:
                for at in (0, len(sample.data) // 3, 2 * len(sample.data) // 3):
                    data = sample.data[:at] + run * LONG + sample.data[at:]
                    source = place.put(sample.name, data)
                    alarm()
                    try:
                        parser.claims(source)
                        check(read(parser, source, request))
                    except (Exception, TooSlow) as error:
                        raise AssertionError(f"{name}, {sample.name}: {run!r} at byte {at}") from error
