"""Reads what GPU tools write as JSON: `gpustat --json`, `rocm-smi --json`, `amd-smi metric --json`, `nvtop -s`.

Each shows a moment: one object a GPU, some of its numbers as text with their unit. A loop appends such documents to one file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from postmortem.frame import NO_TIME
from postmortem.model import Reading
from postmortem.parsers import _json
from postmortem.parsers._columns import moment
from postmortem.parsers._telemetry import Telemetry, gpu_number, number
from postmortem.parsers._textblocks import whole
from postmortem.parsers.base import NO, SURE, Request, SourceFile

NAME = "gpu-json"
ABOUT = "gpustat --json, rocm-smi --json, amd-smi metric --json, nvtop -s (also -l): one moment of all GPUs, once or repeated"

MIB = 1 / (1 << 20)
_CARD = re.compile(r"card(\d{1,4})")
Card = tuple[int | None, dict[str, Any]]  # number of the GPU and its object


@dataclass(frozen=True, slots=True)
class Tool:
    """How one tool says it.

    cards  finds the GPUs of a document    mark   the key that each GPU's object has or stands under ("{}": its number)
    names  maps a path of keys to a raw name and a factor
    """

    cards: Callable[[Any], list[Card]]
    mark: str
    names: dict[str, tuple[str, float]]


def _gpustat(value: Any) -> list[Card]:
    gpus = value.get("gpus") if isinstance(value, dict) else None
    found = [gpu for gpu in gpus if isinstance(gpu, dict)] if isinstance(gpus, list) else []
    return [(_index(gpu, "index"), gpu) for gpu in found if "utilization.gpu" in gpu]


def _rocm(value: Any) -> list[Card]:
    cards = value.items() if isinstance(value, dict) else ()
    found = [(card, gpu) for key, gpu in cards if (card := _CARD.fullmatch(str(key))) and isinstance(gpu, dict)]
    return [(gpu_number(card[1]), gpu) for card, gpu in found]


def _nvtop(value: Any) -> list[Card]:
    gpus = value.get("gpus", value.get("devices")) if isinstance(value, dict) else value
    found = [gpu for gpu in gpus if isinstance(gpu, dict)] if isinstance(gpus, list) else []
    return [(place, gpu) for place, gpu in enumerate(found) if "device_name" in gpu and "gpu_util" in gpu]


def _amd(value: Any) -> list[Card]:
    gpus = value.get("gpu_data", value.get("gpu")) if isinstance(value, dict) else value
    found = [gpu for gpu in gpus if isinstance(gpu, dict)] if isinstance(gpus, list) else []
    return [(_index(gpu, "gpu"), gpu) for gpu in found if "gpu" in gpu and _AMD_PARTS & gpu.keys()]


_AMD_PARTS = {"usage", "power", "temperature", "clock", "mem_usage"}
TOOLS = (
    Tool(
        _gpustat,
        "index",
        {
            "temperature.gpu": ("temperature.gpu", 1), "fan.speed": ("fan.speed", 1), "utilization.gpu": ("utilization.gpu", 1),
            "power.draw": ("power.draw", 1), "enforced.power.limit": ("enforced.power.limit", 1), "memory.used": ("memory.used", 1),
            "memory.total": ("memory.total", 1),
        },
    ),
    Tool(
        _rocm,
        "card{}",
        {
            "GPU use (%)": ("rocm GPU%", 1), "GPU memory use (%)": ("rocm VRAM%", 1),
            "GPU Memory Allocated (VRAM%)": ("rocm VRAM%", 1), "Temperature (Sensor junction) (C)": ("rocm Temp", 1),
            "Temperature (Sensor memory) (C)": ("temperature.memory", 1), "Average Graphics Package Power (W)": ("rocm AvgPwr", 1),
            "Current Socket Graphics Package Power (W)": ("rocm AvgPwr", 1), "VRAM Total Memory (B)": ("memory.total", MIB),
            "VRAM Total Used Memory (B)": ("memory.used", MIB),
        },
    ),
    Tool(
        _nvtop,
        "device_name",
        {
            "gpu_util": ("gpu_util", 1), "temp": ("temperature.gpu", 1), "fan_speed": ("fan_speed", 1), "power_draw": ("power.draw", 1),
            "gpu_clock": ("clocks.sm", 1), "mem_clock": ("clocks.mem", 1), "mem_util": ("nvtop mem_util", 1),
        },
    ),
    Tool(
        _amd,
        "gpu",
        {
            "usage/gfx_activity": ("utilization.gpu", 1), "usage/umc_activity": ("utilization.memory", 1),
            "power/socket_power": ("power.draw", 1), "temperature/hotspot": ("temperature.gpu", 1),
            "temperature/mem": ("temperature.memory", 1), "mem_usage/total_vram": ("memory.total", 1),
            "mem_usage/used_vram": ("memory.used", 1), "clock/gfx_0/clk": ("clocks.sm", 1), "clock/mem_0/clk": ("clocks.mem", 1),
            "ecc/total_correctable_count": ("ecc.errors.corrected.volatile.total", 1),
            "ecc/total_uncorrectable_count": ("ecc.errors.uncorrected.volatile.total", 1),
        },
    ),
)  # fmt: skip


def claims(source: SourceFile) -> float:
    """SURE where the first document shows GPUs as one of the tools does."""
    if source.head[:64].lstrip()[:1] not in (b"{", b"["):
        return NO
    return SURE if _tool(_json.peek(source.head)) else NO


def _tool(value: Any) -> Tool | None:
    return next((tool for tool in TOOLS if any(_numbers(tool, gpu) for _, gpu in tool.cards(value))), None)


def _index(gpu: dict[str, Any], key: str) -> int | None:
    index = gpu.get(key)
    return gpu_number(str(index)) if isinstance(index, int | str) else None


def _numbers(tool: Tool, gpu: dict[str, Any]) -> dict[str, float]:
    """Raw name -> value of one GPU, the first key that says it."""
    found: dict[str, float] = {}
    for path, (raw_name, factor) in tool.names.items():
        value: Any = gpu
        for key in path.split("/"):
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, dict):  # amd-smi: {"value": 83, "unit": "%"}
            value = f"{value.get('value')} {value.get('unit', '')}"
        told = number(str(value)) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
        if told is not None and raw_name not in found:
            found[raw_name] = told * factor
    return found


def _documents(text: str) -> Iterator[tuple[int, Any]]:
    """(position, value) of each document of the file; the last one may be cut."""
    end = 0
    for start, stop, value in _json.values(text):
        yield start, value
        end = stop
    if text[end:].strip():
        value, _ = _json.salvage(text[end:].lstrip(" \n\t,"))
        if value is not None:
            yield end, value


def read(source: SourceFile, request: Request) -> Reading:
    """One point a GPU, quantity and document; the line is that of the GPU's object."""
    reading = Reading(source.name, NAME)
    text, more = whole(source.path, source.head, _json.DOCUMENT_BYTES)
    if more:
        reading.notes.append(f"only the first {_json.DOCUMENT_BYTES >> 20} MB are read")
    lines, telemetry = _json.Lines(text), Telemetry()
    for start, value in _documents(text):
        tool = _tool(value)
        if tool is None:
            reading.rejected += 1
            continue
        when = moment(value.get("query_time")) if isinstance(value, dict) else NO_TIME
        at = start
        for device, gpu in tool.cards(value):
            at = max(at, _json.place_of(text, tool.mark.format(device), at))
            for raw_name, told in _numbers(tool, gpu).items():
                telemetry.add(raw_name, device, told, lines[at], None if when == NO_TIME else when)
    reading.blocks = telemetry.blocks()
    return reading
