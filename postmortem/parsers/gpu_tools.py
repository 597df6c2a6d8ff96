"""Reads the tables of other GPU tools: rocm-smi, gpustat, `dcgmi dmon`; `nvidia-smi topo -m` is recognised."""

from __future__ import annotations

import re

from postmortem.model import Reading
from postmortem.parsers._telemetry import Telemetry, lines, number, stamp
from postmortem.parsers.base import LIKELY, NO, SURE, Request, SourceFile

NAME = "gpu-tools"
ABOUT = "rocm-smi, gpustat, dcgmi dmon; nvidia-smi topo -m is recognised and holds no series"

ROCM_HEAD = re.compile(r"^GPU\s+.*\b(Temp|AvgPwr|VRAM%)")
ROCM_ROW = re.compile(r"^(\d+)\s+\S")
ROCM_NAMES = {
    "Temp": "rocm Temp",
    "AvgPwr": "rocm AvgPwr",
    "SCLK": "rocm SCLK",
    "MCLK": "rocm MCLK",
    "VRAM%": "rocm VRAM%",
    "GPU%": "rocm GPU%",
}
GPUSTAT = re.compile(
    r"^\[(?P<gpu>\d+)\]\s+.+?\|\s*(?P<temp>\d+)\s*(?:'|°)C,\s*(?P<util>\d+)\s*%(?:,\s*(?P<watt>\d+)\s*/\s*(?P<cap>\d+)\s*W)?\s*\|\s*(?P<used>\d+)\s*/\s*(?P<total>\d+)\s*MB"
)
GPUSTAT_NAMES = {
    "temp": "GPU Temp",
    "util": "GPU-Util",
    "watt": "Pwr:Usage",
    "cap": "Pwr:Cap",
    "used": "Memory-Usage",
    "total": "Memory-Usage total",
}
DCGM_HEAD = re.compile(r"^#\s*Entity\b")
DCGM_ROW = re.compile(r"^GPU[- ](\d+)\s")
# dcgmi prints short names of its fields (DCGM API reference, "Field identifiers").
DCGM_NAMES = {
    "GPUTL": "utilization.gpu", "MCUTL": "utilization.memory", "FBUSD": "memory.used", "FBFRE": "memory.free", "FBTTL": "memory.total",
    "TMPTR": "temperature.gpu", "MMTMP": "temperature.memory", "POWER": "power.draw", "SMCLK": "clocks.sm", "MMCLK": "clocks.mem",
    "SBECC": "ecc.errors.corrected.volatile.total", "DBECC": "ecc.errors.uncorrected.volatile.total",
}  # fmt: skip
TOPOLOGY = re.compile(r"\bGPU0\b.*\b(CPU Affinity|GPU1)\b")


def claims(source: SourceFile) -> float:
    """SURE for a banner or header of one of the tools near the top."""
    rows = source.head[:4096].decode("utf-8", "replace").splitlines()[:12]
    if any("ROCm System Management" in row or DCGM_HEAD.match(row) for row in rows):
        return SURE
    return LIKELY if any(GPUSTAT.match(row) or TOPOLOGY.search(row) for row in rows) else NO


def read(source: SourceFile, request: Request) -> Reading:
    """One block a quantity and GPU; a row of other length than its header is rejected."""
    telemetry, rejected, time = Telemetry(), 0, None
    rocm: list[str] = []
    dcgm: list[str] = []
    topology = False
    for line, text in lines(source):
        words = text.split()
        if ROCM_HEAD.match(text):
            rocm = words
        elif rocm and (found := ROCM_ROW.match(text)):
            if len(words) != len(rocm):
                rejected += 1
                continue
            for name, cell in zip(rocm, words, strict=True):
                if name in ROCM_NAMES:
                    telemetry.add(ROCM_NAMES[name], int(found[1]), number(cell), line, time)
        elif found := GPUSTAT.match(text):
            for group, name in GPUSTAT_NAMES.items():
                telemetry.add(name, int(found["gpu"]), number(found[group] or ""), line, time)
        elif DCGM_HEAD.match(text):
            dcgm = words[next(i for i, word in enumerate(words) if "Entity" in word) + 1 :]
        elif dcgm and (found := DCGM_ROW.match(text)):
            cells = text[found.end() :].split()
            for name, cell in zip(dcgm, cells, strict=False):
                telemetry.add(DCGM_NAMES.get(name, f"dcgm {name}"), int(found[1]), number(cell), line, time)
        elif TOPOLOGY.search(text):
            topology = True
        else:
            time = stamp(text.partition("  ")[2]) or time
    notes = ["topology of the GPUs: no series"] if topology else []
    return Reading(source.name, NAME, telemetry.blocks(), rejected=rejected, notes=notes)
