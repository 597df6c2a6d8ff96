"""Reads `nvidia-smi -q -x`: the XML report of all GPUs at one moment."""

from __future__ import annotations

import re
import xml.parsers.expat as expat
from collections.abc import Callable

from postmortem.model import Event, Reading
from postmortem.parsers._telemetry import Telemetry, number, stamp
from postmortem.parsers.base import NO, SURE, Request, SourceFile

NAME = "nvidia-smi-xml"
ABOUT = "nvidia-smi -q -x (XML), schema v4 to v13, once or repeated; MIG devices"

MAX_BYTES = 16 * 1024 * 1024  # a report of 16 GPUs with all processes is about 1 MB
DEEPEST = 40  # elements inside one another; a report has 6
LONGEST_LEAF = 4096  # characters of one value
# Path below <gpu> -> raw name. Newer schemas renamed power_readings and clocks_throttle_reasons.
FIELDS = {
    "fb_memory_usage/total": "fb_memory_usage total",
    "fb_memory_usage/used": "fb_memory_usage used",
    "fb_memory_usage/free": "fb_memory_usage free",
    "utilization/gpu_util": "utilization gpu_util",
    "utilization/memory_util": "utilization memory_util",
    "temperature/gpu_temp": "temperature gpu_temp",
    "temperature/memory_temp": "temperature memory_temp",
    "fan_speed": "fan_speed",
    "clocks/sm_clock": "clocks sm_clock",
    "clocks/mem_clock": "clocks mem_clock",
    **{
        f"{group}/{name}": f"power {raw}"
        for group in ("power_readings", "gpu_power_readings")
        for name, raw in (
            ("power_draw", "draw"),
            ("instant_power_draw", "draw"),
            ("power_limit", "limit"),
            ("current_power_limit", "limit"),
        )
    },
    **{
        f"clocks_{word}_reasons/clocks_{word}_reason_{name}": f"clocks_event_reason_{name}"
        for word in ("throttle", "event")
        for name in ("sw_power_cap", "hw_thermal_slowdown", "sw_thermal_slowdown", "hw_power_brake_slowdown")
    },
    **{
        f"ecc_errors/volatile/{name}": f"ecc volatile {name}"
        for name in ("sram_correctable", "sram_uncorrectable", "dram_correctable", "dram_uncorrectable")
    },
    "ecc_errors/volatile/sram_uncorrectable_parity": "ecc volatile sram_uncorrectable",  # driver 550 tells two kinds apart
    "ecc_errors/volatile/sram_uncorrectable_secded": "ecc volatile sram_uncorrectable",
    "ecc_errors/volatile/single_bit/total": "ecc volatile dram_correctable",
    "ecc_errors/volatile/double_bit/total": "ecc volatile dram_uncorrectable",
    "remapped_rows/remapped_row_unc": "remapped rows uncorrectable",
    "retired_pages/double_bit_retirement/retired_count": "retired pages double bit",
}


DOCUMENT = re.compile(rb"<\?xml\b")


class _NoReport(Exception):
    """The document declares entities of its own or nests without end: it is no report of nvidia-smi but an attack."""


def claims(source: SourceFile) -> float:
    """SURE where the root element stands near the top."""
    return SURE if re.search(rb"<nvidia_smi_log\b", source.head[:4096]) else NO


def read(source: SourceFile, request: Request) -> Reading:
    """The values of FIELDS for every GPU; entities are refused, never expanded."""
    reading = Reading(source.name, NAME)
    if source.size > MAX_BYTES:
        reading.notes.append(f"larger than {MAX_BYTES // 2**20} MiB: not read")
        return reading
    report = _Report(source.name)
    data = source.path.read_bytes()[:MAX_BYTES]
    for start, end in _documents(data):
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = report.start, report.end, report.text
        parser.EntityDeclHandler = report.entity
        above = data.count(b"\n", 0, start)
        report.begin(lambda parser=parser, above=above: above + parser.CurrentLineNumber)  # type: ignore[misc]
        try:
            parser.Parse(data[start:end], True)
        except _NoReport:
            reading.rejected += 1
            reading.notes.append("declares XML entities or nests too deeply: refused")
            return reading
        except expat.ExpatError as error:
            reading.rejected += 1
            reading.notes.append(f"broken XML at line {above + error.lineno}: what stands before it was read")
    reading.blocks, reading.events = report.telemetry.blocks(), report.events
    return reading


def _documents(data: bytes) -> list[tuple[int, int]]:
    """Where each document begins and ends: `nvidia-smi -q -x -l` writes one after the other."""
    starts = [found.start() for found in DOCUMENT.finditer(data)] or [0]
    return list(zip(starts, [*starts[1:], len(data)], strict=True))


class _Report:
    """Walks the elements: a path below <gpu>, the text of the current leaf."""

    def __init__(self, file: str) -> None:
        self.file, self.telemetry, self.events = file, Telemetry(), list[Event]()
        self.path: list[str] = []
        self.gpu, self.leaf = -1, ""
        self.time: int | None = None
        self.line: Callable[[], int] = lambda: 0

    def begin(self, line: Callable[[], int]) -> None:
        """A new document, whose lines are told by `line`: its GPUs are counted anew."""
        self.path, self.leaf, self.gpu, self.line = [], "", -1, line

    def entity(self, *_: object) -> None:
        raise _NoReport

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "gpu" and len(self.path) == 1:
            self.gpu += 1
        if len(self.path) >= DEEPEST:
            raise _NoReport
        self.path.append(name)
        self.leaf = ""

    def text(self, data: str) -> None:
        if len(self.leaf) < LONGEST_LEAF:  # expat gives the text in pieces, in the worst case one a character
            self.leaf += data[:LONGEST_LEAF]

    def end(self, name: str) -> None:
        where, value = "/".join(self.path[2:]), self.leaf.strip()
        if self.path[1:] == ["timestamp"]:
            self.time = stamp(value)
        elif where in FIELDS and self.gpu >= 0:
            self.telemetry.add(FIELDS[where], self.gpu, number(value), self.line(), self.time)
            if "ERR" in value:
                self.events.append(Event(self.file, self.line(), "hardware", f"{where}: {value}"[:500], self.time))
        self.path.pop()
        self.leaf = ""
