"""Reads what nvidia-smi prints: its table (once or repeated), `-q`, `--query-gpu` CSV with or without header, `dmon` and `pmon`.

nvitop draws the same table. One file may hold several of them one after the other, so every line is offered to all; each keeps only its own state.
"""

from __future__ import annotations

import re

from postmortem.model import Event, Reading
from postmortem.parsers import _beside
from postmortem.parsers._telemetry import CELL, LONGEST_REPORT, MOST_ROWS, Telemetry, gpu_number, number, rows_of, stamp
from postmortem.parsers.base import LIKELY, NO, SURE, Request, SourceFile

NAME = "nvidia-smi"
ABOUT = "nvidia-smi: table, -q, --query-gpu CSV (with or without header and units), dmon, pmon, also at the head of another log; nvitop -1"

TABLE_HEAD = re.compile(r"^\| (?:NVIDIA-SMI|NVITOP) ")
# What a part of the table begins with
TABLE_PART = re.compile(r"^\|\s*(?:NVIDIA-SMI|NVITOP|Processes:|Compute processes:|MIG devices:|GPU\s)")
TABLE_GPU = re.compile(r"^\|\s+(\d+)\s+\S.*?\|\s*[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.\d.*?\|\s*(\S+)\s*\|")
TABLE_USE = re.compile(
    r"^\|\s*(?:(?P<gpu>\d+)\s+)?(?P<fan>N/A|ERR!|MAX|\d+%)\s+(?P<temp>N/A|ERR!|\d+C)\s+(?:P\d+|N/A|ERR!)\s+(?P<watt>\S+)\s*/\s*(?P<cap>\S+)\s*\|"
    r"\s*(?P<used>\S+)\s*/\s*(?P<total>\S+)\s*\|\s*(?P<util>N/A|ERR!|\d+%)"
)
TABLE_NAMES = {
    "fan": "Fan",
    "temp": "GPU Temp",
    "watt": "Pwr:Usage",
    "cap": "Pwr:Cap",
    "used": "Memory-Usage",
    "total": "Memory-Usage total",
    "util": "GPU-Util",
}
QUERY_FIELD = re.compile(
    r"^(timestamp|index|name|uuid|pstate|serial|count|driver_|vbios_|hostname|pcie?\.|utilization\.|memory\.|temperature\.|power\.|clocks|ecc\."
    r"|fan\.|enforced\.|gpu_|mig\.|compute_|display_|persistence_|accounting\.|encoder\.|inforom\.|gom\.|retired_pages\.|remapped_rows\.)"
)
QUERY_SURE = re.compile(r"(utilization\.(gpu|memory)|memory\.(used|total|free)|temperature\.gpu|power\.draw|clocks[._])")
DMON_HEAD = re.compile(r"^[>\s]*#\s*(?:Date[\s,]+|YYYYMMDD[\s,]+)?(?:Time[\s,]+|HH:MM:SS[\s,]+)?gpu[\s,]+\w", re.I)
DMON_ROW = re.compile(r"^[>\s]*(?:\d{8}[\s,]+)?(?:\d{2}:\d{2}:\d{2}[\s,]+)?\d+(?:[\s,]+\S+)+\s*$")
APART = re.compile(r"\s*,\s*|\s+")  # between the columns of dmon and pmon; `--format csv` puts commas there
REPORT_GPU = re.compile(r"^GPU\s+[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.\d\s*$")
REPORT_HEAD = re.compile(r"^=+NVSMI LOG=+")
REPORT_TOP = re.compile(r"^(?:Timestamp|Driver Version|CUDA Version|Attached GPUs)\s*:|^=+NVSMI LOG=+")
REPORT_LINE = re.compile(r"^(\s+)(\S.*?)\s*(?::\s(.*))?$")
# Path in a `-q` report -> raw name. Newer drivers renamed "Clocks Throttle Reasons" and "Power Readings".
REPORT_FIELDS = {
    "FB Memory Usage/Total": "FB Memory Usage Total",
    "FB Memory Usage/Used": "FB Memory Usage Used",
    "FB Memory Usage/Free": "FB Memory Usage Free",
    "Utilization/Gpu": "Utilization Gpu",
    "Utilization/GPU": "Utilization Gpu",
    "Utilization/Memory": "Utilization Memory",
    "Temperature/GPU Current Temp": "GPU Current Temp",
    "Temperature/Memory Current Temp": "Memory Current Temp",
    "Power Readings/Power Draw": "Power Draw",
    "Power Readings/Power Limit": "Power Limit",
    "GPU Power Readings/Power Draw": "Power Draw",
    "GPU Power Readings/Average Power Draw": "Power Draw",
    "GPU Power Readings/Current Power Limit": "Power Limit",
    "Clocks/SM": "Clocks SM",
    "Clocks/Memory": "Clocks Memory",
    "Fan Speed": "Fan",
    **{
        f"Clocks {kind} Reasons/{path}": name
        for kind in ("Throttle", "Event")
        for path, name in (
            ("SW Power Cap", "SW Power Cap"),
            ("HW Slowdown/HW Thermal Slowdown", "HW Thermal Slowdown"),
            ("HW Thermal Slowdown", "HW Thermal Slowdown"),
            ("SW Thermal Slowdown", "SW Thermal Slowdown"),
            ("HW Slowdown/HW Power Brake Slowdown", "HW Power Brake Slowdown"),
            ("HW Power Brake Slowdown", "HW Power Brake Slowdown"),
        )
    },
    **{
        f"ECC Errors/Volatile/{kind} {what}{how}": f"Volatile ECC {what}"
        for kind in ("SRAM", "DRAM")
        for what in ("Correctable", "Uncorrectable")
        for how in ("", " Parity", " SEC-DED")  # driver 550 tells two kinds of SRAM errors apart
    },
    "ECC Errors/Volatile/Single Bit/Total": "Volatile ECC Correctable",  # cards before Turing
    "ECC Errors/Volatile/Double Bit/Total": "Volatile ECC Uncorrectable",
}
LOST = re.compile(
    r"Unable to determine the device handle|No devices were found|GPU is lost|couldn't communicate with the NVIDIA driver|Unknown Error"
)
ADDRESSES = ("pci.bus_id", "gpu_bus_id", "uuid", "gpu_uuid")
MOST_CARDS = 1024
NO_NUMBERS = {
    "timestamp", "index", "name", "gpu_name", "serial", "gpu_serial", "pstate", "driver_version", "vbios_version", "count", *ADDRESSES,
}  # fmt: skip
HEADERLESS_ROWS = 3  # so many lines of units and commas are no accident


def claims(source: SourceFile) -> float:
    """SURE for its own banners and headers near the top, LIKELY for headerless rows with units and for error messages of the tool."""
    rows = rows_of(source, MOST_ROWS)
    if not rows:
        return NO
    if any(TABLE_HEAD.match(row) or REPORT_HEAD.match(row.strip()) or DMON_HEAD.match(row) for row in rows) or _is_query_header(rows[0]):
        return SURE
    if len(rows) >= HEADERLESS_ROWS and all(_has_units(row) for row in rows[:HEADERLESS_ROWS]):
        return LIKELY
    return LIKELY if len(rows) <= HEADERLESS_ROWS and any(LOST.search(row) for row in rows) else NO


def _is_query_header(row: str) -> bool:
    fields = [field.strip() for field in row.split(",")]
    return bool(QUERY_SURE.search(row)) and sum(bool(QUERY_FIELD.match(f)) for f in fields) >= max(1, len(fields) - 1)


def _has_units(row: str) -> bool:
    cells = row.split(",")
    units = [found[2] for cell in cells if (found := CELL.match(cell))]
    return len(cells) >= 3 and "%" in units and any(u in ("MiB", "W") for u in units)


def read(source: SourceFile, request: Request) -> Reading:
    """All telemetry of the file; raw names as nvidia-smi spells them, without the unit."""
    reader = Reports(source.name)
    return _beside.read(source, request, reader.feed, reader.reading)


class Reports:
    """State of one pass: the last time stamp, the GPU of the table row above, the CSV and dmon columns, the path inside a -q report."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.telemetry = Telemetry()
        self.events: list[Event] = []
        self.notes: list[str] = []
        self.rejected = 0
        self.time: int | None = None
        self.device: int | None = None
        self.cards: dict[str, int] = {}  # addresses of the GPUs of the CSV, in the order in which they appeared
        self.inside = self.gap = False  # a table; a blank line just above
        self.query: list[str] = []
        self.first_cell = ""  # what the first cells of the rows of the CSV are
        self.dmon: list[str] = []
        self.path: list[tuple[int, str]] = []
        self.report_gpu = -1
        self.guessed = False

    def reading(self) -> Reading:
        """What all lines so far have said."""
        if self.guessed:
            self._name_memory()
            self.notes.append("the CSV has no header: columns were named by their units")
        return Reading(self.file, NAME, self.telemetry.blocks(), self.events, rejected=self.rejected, notes=self.notes)

    def _name_memory(self) -> None:
        """What the second column in MiB of a CSV without header is: the total if it never changes while the use does, free if both add up."""
        used, second = self.telemetry.values("memory.used", None), self.telemetry.values("memory.second", None)
        if len(used) != len(second) or len(set(used)) < HEADERLESS_ROWS:
            return
        sums = [a + b for a, b in zip(used, second, strict=True)]
        if len(set(second)) == 1 and max(used) <= second[0]:
            self.telemetry.rename("memory.second", None, "memory.total")
        elif len(set(sums)) == 1:
            self.telemetry.rename("memory.second", None, "memory.free")

    def feed(self, line: int, text: str) -> bool:
        """One line, offered to each form in turn; whether it was of any."""
        if not text.strip():
            self.gap = True
            return True
        if len(text) > LONGEST_REPORT:
            return self._query(line, text)  # only a query for all fields has rows as long as that
        if self._table(line, text) or self._dmon(line, text) or self._query(line, text) or self._report(line, text):
            return True
        if LOST.search(text):
            self.events.append(Event(self.file, line, "hardware", text.strip()[:500], self.time))
            return True
        if (when := stamp(text)) is not None:
            self.time = when
        return when is not None

    def _table(self, line: int, text: str) -> bool:
        if TABLE_HEAD.match(text):
            self.inside = True
        elif self.gap and text.startswith("|"):
            self.inside = self.inside and TABLE_PART.match(text) is not None  # else it is somebody else's table
        elif not text.startswith(("|", "+-", "+=")):
            self.inside = False
        self.gap = self.gap and not text.startswith("|")
        if not self.inside or text.startswith("+"):
            return self.inside
        if found := TABLE_GPU.match(text):
            self.device = gpu_number(found[1])
            self.telemetry.add("Volatile Uncorr. ECC", self.device, number(found[2]), line, self.time)
        elif (found := TABLE_USE.match(text)) and (found["gpu"] or self.device is not None):
            self.device = gpu_number(found["gpu"]) if found["gpu"] else self.device  # nvitop's short table has one line a GPU
            for group, raw_name in TABLE_NAMES.items():
                self.telemetry.add(raw_name, self.device, number(found[group]), line, self.time)
        if "ERR!" in text:
            self.events.append(Event(self.file, line, "hardware", text.strip()[:500], self.time))
        return True

    def _query(self, line: int, text: str) -> bool:
        if "," not in text:
            return False
        cells = [cell.strip() for cell in text.split(",")]
        if _is_query_header(text):
            self.query = [cell.partition("[")[0].strip() or f"col{number}" for number, cell in enumerate(cells, 1)]
            return True
        if not self.query and _has_units(text):
            self.query, self.guessed = _named_by_unit(cells), True
        if not self.query:
            return False
        kind = "time" if stamp(cells[0]) is not None else "number" if number(cells[0]) is not None else "text"
        self.first_cell = self.first_cell or kind
        if kind != self.first_cell:
            return False  # a line of something else
        if len(cells) != len(self.query):
            self.rejected += kind != "text"
            return kind != "text"
        row = dict(zip(self.query, cells, strict=True))
        when = stamp(row.get("timestamp", ""))
        device = self._card(row)
        for raw_name, cell in row.items():
            if raw_name not in NO_NUMBERS:
                self.telemetry.add(raw_name, device, number(cell), line, when)
        return True

    def _card(self, row: dict[str, str]) -> int | None:
        """The number of a row's GPU; where only its address is told, the order in which addresses appeared: nvidia-smi lists them by number."""
        address = next((row[name] for name in ADDRESSES if row.get(name)), None)
        if "index" in row or address is None:
            return gpu_number(row.get("index", ""))
        return self.cards.setdefault(address, len(self.cards)) if len(self.cards) < MOST_CARDS else None

    def _dmon(self, line: int, text: str) -> bool:
        if DMON_HEAD.match(text):
            self.dmon = APART.split(text.strip(" >#\t"))
            return True
        if not self.dmon:
            return False
        if text.lstrip("> \t").startswith("#"):
            return True  # the line of units
        if not DMON_ROW.match(text):
            return False
        cells = APART.split(text.strip(" >\t"))
        names = [name.lower() for name in self.dmon]
        if len(cells) < len(names) or (len(cells) > len(names) and names[-1] != "command"):
            return False  # a command may hold blanks
        row = dict(zip(names, cells, strict=False))
        device = gpu_number(row.get("gpu", ""))
        when = stamp(f"{row['date']} {row['time']}") if "date" in row and "time" in row else None
        process = f" (pid {row['pid']})" if row.get("pid", "-").isdigit() else ""
        for name, cell in row.items():
            if name not in ("gpu", "date", "time", "pid", "type", "command"):
                self.telemetry.add(f"dmon {name}{process}", device, number(cell), line, when)
        return True

    def _report(self, line: int, text: str) -> bool:
        """`nvidia-smi -q`: indentation makes a path, "FB Memory Usage" / "Used : 3 MiB"."""
        if REPORT_GPU.match(text):
            self.report_gpu += 1
            self.path = []
            return True
        if REPORT_TOP.match(text):
            self.report_gpu = -1  # the next report counts its GPUs anew
            if text.startswith("Timestamp"):
                self.time = stamp(text.partition(":")[2]) or self.time
            return True
        found = REPORT_LINE.match(text) if self.report_gpu >= 0 else None
        if not found:
            self.report_gpu = -1  # a line that is not indented ends the report
            return False
        depth = len(found[1])
        while self.path and self.path[-1][0] >= depth:
            self.path.pop()
        if found[3] is None:
            self.path.append((depth, found[2]))
            return True
        raw_name = REPORT_FIELDS.get("/".join([*(name for _, name in self.path), found[2]]))
        if raw_name:
            self.telemetry.add(raw_name, self.report_gpu, number(found[3]), line, self.time)
        return True


def _named_by_unit(cells: list[str]) -> list[str]:
    """Names for the columns of a CSV without header: the first "%" is the GPU, the second its memory controller, and so on.

    Two columns in MiB are memory.used and, as the second one, either what is free or the total: one row does not tell, so it is called
    memory.second until all rows are read.
    """
    percent = iter(["utilization.gpu", "utilization.memory"])
    memory = iter(["memory.used", "memory.second"])
    names = []
    for column, cell in enumerate(cells):
        found = CELL.match(cell)
        unit = found[2] if found else None
        if column == 0 and stamp(cell) is not None:
            names.append("timestamp")
        elif unit == "%":
            names.append(next(percent, f"col{column + 1}"))
        elif unit in ("MiB", "GiB"):
            names.append(next(memory, f"col{column + 1}"))
        elif unit == "W":
            names.append("power.draw" if "power.draw" not in names else f"col{column + 1}")
        elif unit == "MHz":
            names.append("clocks.sm" if "clocks.sm" not in names else f"col{column + 1}")
        else:
            names.append(f"col{column + 1}")
    return names
