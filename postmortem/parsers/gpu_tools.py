"""Reads the reports of other GPU tools: rocm-smi, amd-smi, gpustat, `dcgmi dmon` and `diag`; `nvidia-smi topo -m` is recognised.

One file may hold reports of several tools or one report many times, so every line is offered to all forms.
"""

from __future__ import annotations

import re

from postmortem.model import Event, Reading
from postmortem.parsers import _beside
from postmortem.parsers._telemetry import LONGEST_REPORT, MOST_ROWS, Telemetry, gpu_number, number, rows_of, stamp
from postmortem.parsers.base import LIKELY, NO, SURE, Request, SourceFile

NAME = "gpu-tools"
ABOUT = (
    "rocm-smi (tables, GPU[0] lists, CSV), amd-smi (monitor, metric), gpustat, dcgmi dmon and diag, also at the head of another log; "
    "nvidia-smi topo -m is recognised, without series"
)

# Tables whose columns stand two blanks apart: rocm-smi's "Concise Info" of every version, `amd-smi monitor`
TABLE_HEAD = re.compile(r"^\s*(?:GPU|Device)\s{2,}.*\b(?:Temp|AvgPwr|VRAM%|POWER|GPU_T|GPU_TEMP|GFX_UTIL|VRAM_USED)(?:\s|$)")
BANNER = re.compile(r"ROCm System Management|^AMDSMI Tool:")
COLUMNS_APART = re.compile(r"(?<![,\s])\s{2,}")  # "N/A, N/A,  0" is one cell
USED_OF = re.compile(r"([\d.]+)\s*/\s*([\d.]+)\s?([MG]i?B)")
UNIT = re.compile(r"\d(?:%|\s?W|\s?°?[Cc]|\s?[Mm][Hh]z)(?:\s|$)")
TABLE_NAMES = {
    "Temp": "rocm Temp", "AvgPwr": "rocm AvgPwr", "Power": "rocm AvgPwr", "SCLK": "rocm SCLK", "MCLK": "rocm MCLK", "VRAM%": "rocm VRAM%",
    "GPU%": "rocm GPU%",
    "POWER": "power.draw", "GPU_TEMP": "temperature.gpu", "GPU_T": "temperature.gpu", "MEM_TEMP": "temperature.memory",
    "MEM_T": "temperature.memory", "GFX_UTIL": "utilization.gpu", "GFX%": "utilization.gpu", "MEM_UTIL": "utilization.memory",
    "MEM%": "utilization.memory", "GFX_CLOCK": "clocks.sm", "GFX_CLK": "clocks.sm", "MEM_CLOCK": "clocks.mem", "VRAM_USED": "memory.used",
    "VRAM_TOTAL": "memory.total",
}  # fmt: skip
# rocm-smi with options: "GPU[0]  : GPU use (%): 97"
LISTED = re.compile(r"^GPU\[(\d+)\]\s*:\s*(\S.*?)\s*:\s*(\S+)\s*$")
MIB = 1 / (1 << 20)
LISTED_NAMES = {
    "GPU use (%)": ("rocm GPU%", 1), "GPU Memory Allocated (VRAM%)": ("rocm VRAM%", 1), "GPU memory use (%)": ("rocm VRAM%", 1),
    "Temperature (Sensor junction) (C)": ("rocm Temp", 1), "Temperature (Sensor memory) (C)": ("temperature.memory", 1),
    "Average Graphics Package Power (W)": ("rocm AvgPwr", 1), "Current Socket Graphics Package Power (W)": ("rocm AvgPwr", 1),
    "VRAM Total Memory (B)": ("memory.total", MIB), "VRAM Total Used Memory (B)": ("memory.used", MIB),
}  # fmt: skip
# `amd-smi metric`: "GPU: 0", and below it sections by indentation
METRIC_GPU = re.compile(r"^GPU:\s*(\d+)\s*$")
METRIC_LINE = re.compile(r"^(\s+)([A-Z][A-Z0-9_]*):\s*(.*?)\s*$")
METRIC_NAMES = {
    "USAGE/GFX_ACTIVITY": "utilization.gpu", "USAGE/UMC_ACTIVITY": "utilization.memory", "POWER/SOCKET_POWER": "power.draw",
    "TEMPERATURE/HOTSPOT": "temperature.gpu", "TEMPERATURE/MEM": "temperature.memory", "MEM_USAGE/TOTAL_VRAM": "memory.total",
    "MEM_USAGE/USED_VRAM": "memory.used", "CLOCK/GFX_0/CLK": "clocks.sm", "CLOCK/MEM_0/CLK": "clocks.mem",
    "ECC/TOTAL_CORRECTABLE_COUNT": "ecc.errors.corrected.volatile.total", "ECC/TOTAL_UNCORRECTABLE_COUNT": "ecc.errors.uncorrected.volatile.total",
}  # fmt: skip
GPUSTAT = re.compile(
    r"^\[(?P<gpu>\d+)\]\s+[^|]+?\|\s*(?P<temp>\d+|\?\?)\s*(?:'|°)C(?:,\s*(?P<fan>\d+|\?\?)\s*%(?=,\s*[\d?]+\s*%))?,\s*(?P<util>\d+|\?\?)\s*%"
    r"(?:,\s*(?P<watt>\d+|\?\?)\s*/\s*(?P<cap>\d+|\?\?)\s*W)?\s*\|\s*(?P<used>\d+)\s*/\s*(?P<total>\d+)\s*MB"
)
GPUSTAT_NAMES = {
    "temp": "GPU Temp",
    "fan": "Fan",
    "util": "GPU-Util",
    "watt": "Pwr:Usage",
    "cap": "Pwr:Cap",
    "used": "Memory-Usage",
    "total": "Memory-Usage total",
}
GPUSTAT_DATE = re.compile(r"\s\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}")
DCGM_HEAD = re.compile(r"^#\s*Entity\b")
DCGM_ROW = re.compile(r"^\s*GPU[- ](\d+)\s")
# dcgmi prints short names of its fields (DCGM API reference, "Field identifiers").
DCGM_NAMES = {
    "GPUTL": "utilization.gpu", "MCUTL": "utilization.memory", "FBUSD": "memory.used", "FBFRE": "memory.free", "FBTTL": "memory.total",
    "TMPTR": "temperature.gpu", "MMTMP": "temperature.memory", "POWER": "power.draw", "SMCLK": "clocks.sm", "MMCLK": "clocks.mem",
    "SBECC": "ecc.errors.corrected.volatile.total", "DBECC": "ecc.errors.uncorrected.volatile.total",
}  # fmt: skip
# `rocm-smi --csv`: "card0,41.0,97", named as in its lists
CSV_HEAD = re.compile(r"^device,")
CSV_CARD = re.compile(r"^card(\d+),")
# `dcgmi diag`: a table of tests in sections; what fails below "Deployment" is the installation and no card, but for retired memory
DIAG_HEAD = re.compile(r"^\|\s*Diagnostic\s*\|\s*Result\s*\|")
DIAG_SECTION = re.compile(r"^[|+]-{3,}\s+(\w+)\s+-{3,}")
DIAG_ROW = re.compile(r"^\|\s*(?P<test>[^|]*?)\s*\|\s*(?P<result>[^|]*?)\s*\|\s*$")
DIAG_FAIL = re.compile(r"^(?:GPU\s?\d+:\s*)?F(?:ail|AIL)\b")
TOPOLOGY = re.compile(r"\bGPU0\b.*\b(CPU Affinity|GPU1)\b")


def claims(source: SourceFile) -> float:
    """SURE for a banner or header of one of the tools near the top."""
    rows = rows_of(source, MOST_ROWS)
    if any(BANNER.search(row) or DCGM_HEAD.match(row) or DIAG_HEAD.match(row) for row in rows):
        return SURE
    if any(METRIC_GPU.match(row) for row in rows[:3]) and any(
        row.strip() in ("USAGE:", "POWER:", "CLOCK:", "TEMPERATURE:") for row in rows[:12]
    ):
        return SURE
    if len(rows) > 1 and CSV_HEAD.match(rows[0]) and CSV_CARD.match(rows[1]):
        return SURE
    own = any(GPUSTAT.match(row) or TOPOLOGY.search(row) for row in rows) or any(TABLE_HEAD.match(row) for row in rows[:2])
    return LIKELY if own else NO


def read(source: SourceFile, request: Request) -> Reading:
    """One block a quantity and GPU; a row of other length than its header is rejected."""
    reader = _Reader(source.name)
    return _beside.read(source, request, reader.feed, reader.reading)


class _Reader:
    """State of one pass: the columns of the table above, the GPU and the sections of a list, the last time stamp."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.telemetry = Telemetry()
        self.events: list[Event] = []
        self.rejected = 0
        self.topology = False
        self.time: int | None = None
        self.table: list[str] = []
        self.starts: list[int] = []  # of the columns of the table above
        self.csv: list[str] = []
        self.dcgm: list[str] = []
        self.gpu: int | None = None
        self.path: list[tuple[int, str]] = []
        self.section, self.test = "", ""

    def reading(self) -> Reading:
        """What all lines so far have said."""
        notes = ["topology of the GPUs: no series"] if self.topology else []
        return Reading(self.file, NAME, self.telemetry.blocks(), self.events, rejected=self.rejected, notes=notes)

    def feed(self, line: int, text: str) -> bool:
        """One line, offered to each form in turn; whether it was of any."""
        if not text.strip():
            return True
        if len(text) > LONGEST_REPORT:
            return False
        forms = (self._table, self._listed, self._gpustat, self._dcgm, self._diag, self._csv, self._metric)
        if any(form(line, text) for form in forms):
            return True
        if TOPOLOGY.search(text):
            self.topology = True
            return True
        if found := GPUSTAT_DATE.search(text):
            self.time = stamp(found.group()) or self.time
        return found is not None or "ROCm S" in text

    def _add(self, name: str, gpu: int | None, cell: str, line: int, factor: float = 1.0) -> None:
        value = number(cell)
        self.telemetry.add(name, gpu, None if value is None else value * factor, line, self.time)

    def _table(self, line: int, text: str) -> bool:
        if TABLE_HEAD.match(text):
            self.table = [name.partition(" (")[0] for name in COLUMNS_APART.split(text.strip())]
            self.starts = [found.start() for found in re.finditer(r"(?<!\S)(?<!\s\S)\S|(?<=\s\s)\S", text)]
            return True
        if not self.table or not text.lstrip()[:1].isdigit() or not UNIT.search(text):
            return False
        cells = COLUMNS_APART.split(text.strip())
        if len(cells) != len(self.table):
            cells = self._cut(text)
        if not cells:
            self.rejected += 1
            return True
        for name, cell in zip(self.table, cells, strict=True):
            if name in TABLE_NAMES:
                self._add(TABLE_NAMES[name], gpu_number(cells[0]), cell, line)
            elif found := USED_OF.fullmatch(cell):  # VRAM_USAGE
                for raw_name, size in (("memory.used", found[1]), ("memory.total", found[2])):
                    self._add(raw_name, gpu_number(cells[0]), f"{size} {found[3]}", line)
        return True

    def _cut(self, text: str) -> list[str]:
        """The cells of a row by where their columns begin, for cells so wide that one blank is left between them; [] where that cuts a word."""
        if len(self.starts) != len(self.table) or any(text[start - 1 : start].strip() for start in self.starts[1:]):
            return []
        return [text[start:end].strip() for start, end in zip(self.starts, [*self.starts[1:], None], strict=True)]

    def _listed(self, line: int, text: str) -> bool:
        found = LISTED.match(text)
        if found and (known := LISTED_NAMES.get(found[2])):
            self._add(known[0], gpu_number(found[1]), found[3], line, known[1])
        return found is not None

    def _gpustat(self, line: int, text: str) -> bool:
        found = GPUSTAT.match(text)
        if found:
            for group, name in GPUSTAT_NAMES.items():
                self._add(name, gpu_number(found["gpu"]), found[group] or "", line)
        return found is not None

    def _dcgm(self, line: int, text: str) -> bool:
        if DCGM_HEAD.match(text):
            words = text.split()
            self.dcgm = words[next(i for i, word in enumerate(words) if "Entity" in word) + 1 :]
            return True
        found = DCGM_ROW.match(text) if self.dcgm else None
        if found:
            for name, cell in zip(self.dcgm, text[found.end() :].split(), strict=False):
                self._add(DCGM_NAMES.get(name, f"dcgm {name}"), gpu_number(found[1]), cell, line)
        return found is not None

    def _csv(self, line: int, text: str) -> bool:
        if CSV_HEAD.match(text):
            self.csv = [name.strip() for name in text.split(",")]
            return True
        found = CSV_CARD.match(text) if self.csv else None
        if found is None:
            return False
        cells = text.split(",")
        if len(cells) != len(self.csv):
            self.rejected += 1
            return True
        for name, cell in zip(self.csv, cells, strict=True):
            if known := LISTED_NAMES.get(name):
                self._add(known[0], gpu_number(found[1]), cell, line, known[1])
        return True

    def _diag(self, line: int, text: str) -> bool:
        if DIAG_HEAD.match(text):
            self.section, self.test = "Diagnostic", ""
            return True
        if not self.section or not text.startswith(("|", "+")):
            self.section = ""
            return False
        if found := DIAG_SECTION.match(text):
            self.section = found[1]
        elif found := DIAG_ROW.match(text):
            self.test = found["test"] or self.test
            card = self.section != "Deployment" or self.test.startswith("Page Retirement")
            if card and DIAG_FAIL.match(found["result"]):
                told = f"{self.test} | {found['result']}"
                self.events.append(Event(self.file, line, "hardware", told[:500], self.time, data={"what": "diagnostic-failed"}))
        return True

    def _metric(self, line: int, text: str) -> bool:
        if found := METRIC_GPU.match(text):
            self.gpu, self.path = gpu_number(found[1]), []
            return True
        found = METRIC_LINE.match(text) if self.gpu is not None else None
        if not found:
            return False
        depth = len(found[1])
        while self.path and self.path[-1][0] >= depth:
            self.path.pop()
        if not found[3]:
            self.path.append((depth, found[2]))
        elif raw_name := METRIC_NAMES.get("/".join([*(name for _, name in self.path), found[2]])):
            self._add(raw_name, self.gpu, found[3], line)
        return True
