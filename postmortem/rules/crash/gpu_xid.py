"""The GPU or its link failed

Usual causes, most common first: the link (a card that is not seated well, power, riser, cable, temperature); memory of the card that ECC
could not correct; a driver or firmware bug; for Xid 13 and 31 more often a bug in the program.

To tell them apart: the number of the Xid says which. 79 and "fallen off the bus" are the link or power; 48, 63, 64, 92, 94, 95 are
memory; 119 and 120 the firmware; 74 NVLink; 13 and 31 the program, unless only one card shows them; 43 and 45 only clean up. `nvidia-smi
-q -d ECC,ROW_REMAPPER,PAGE_RETIREMENT` and `dcgmi diag -r 3` test the card.

This is not it: corrected single-bit errors, ECC of the host's memory, a card that is only hot or power-capped, a job without a GPU.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from postmortem.model import Event, Onset
from postmortem.rules.base import Case, Hit, limit, quote
from postmortem.rules.crash._examples import first_words, last_words, raised
from postmortem.rules.crash._xid import RANK, XIDS, Xid
from postmortem.rules.examples import Example

severity = "error"
explains = (
    "illegal-memory-access",
    "node-failure",
    "nccl-error",
    "nccl-timeout",
    "cuda-unavailable",
    "segfault",
    "python-exception",
    "dataloader-worker-died",
    "interrupted",
    "hang",
)
fix = (
    "Drain the node, note the card's serial number (`nvidia-smi -q`), test it (`dcgmi diag -r 3`), reset it or have it replaced; resume "
    "on another node.",
)
prevention = (
    "Let a health check in the job's prologue look at `dmesg | grep -e Xid -e AER`, ECC counters and `nvidia-smi`, and refuse a sick node.",
)
says = "|".join((
    r"NVRM: Xid",
    r"\bXid \(PCI:",
    r"[Ff]allen off the bus",
    r"GPU is lost",
    r"Unable to determine the device handle for",
    r"uncorrectable (?:ECC|NVLink) error (?:was )?(?:encountered|detected)",
    r"(?:CUDA_ERROR_|cudaError)(?:ECC_?UNCORRECTABLE|ECCUncorrectable|NVLINK_UNCORRECTABLE|HARDWARE_STACK_ERROR|HardwareStackError)",
    r"CUDA error: hardware stack error",
    r"GPU requires (?:a )?reset|Reset Required|GPU reset required",
    r"NVRM: .{0,80}RmInitAdapter failed",
    r"NVRM: .{0,80}probe routine failed",
    r"nvidia-nvswitch\d*: SXid",
    r"amdgpu .{0,120}(?:GPU reset begin|GPU reset\(\d+\) failed|ring \S+ timeout|uncorrectable hardware error)",
    r"PCIe Bus Error: severity=",
    r"\bAER: (?:Multiple )?(?:Corrected|Uncorrected|Uncorrectable)",
))  # fmt: skip

SAYS = re.compile(says)
CARD = re.compile(r"\(PCI:([0-9a-fA-F:.]+)\)")
STAMP = re.compile(r"^(?P<day>.*?)\b(?:(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d(?:[.,]\d+)?)\b|(?P<up>\d+\.\d{6})\b)")
CORRECTED = re.compile(r"\bCorrected\b")
NUMBER = re.compile(r"Xid(?: \([^)]*\))?:? ?\(?(\d{1,3})\b(?!:)")
BEFORE = re.compile(r"caused by previous Xid (\d{1,3})\b")  # the driver's own word for an echo
PCIE = re.compile(r"PCIe Bus Error: severity=(\w+)|\bAER: (?:Multiple )?(\w+)")
OTHER = Xid("driver", "an error that the driver reported under this number", "Look the number up in NVIDIA's table of Xid errors.")


@dataclass(frozen=True)
class Thresholds:
    storm: float = limit(
        10,
        "lines",
        "so many corrected PCIe errors are a sick link; a few are noise",
        "a healthy link shows none or a handful between two boots",
    )
    echo: float = limit(
        60,
        "seconds",
        "a time-out of the driver so soon after an exception of the program on the same card is its consequence",
        "the driver waits a few seconds for a context that hangs before it reports it",
    )


def examine(event: Event) -> Hit | None:
    """Nothing: `check` sees all such lines together, and the first is seldom the one that tells most."""
    return None


def check(case: Case, limits: Thresholds) -> Iterator[Hit]:
    told = [event for event in case.kind("hardware", "log", "exception") if SAYS.search(event.text)]
    final = [event for event in told if event.fate == "fatal"]
    plain = [event for event in final if not PCIE.search(event.text) and not NUMBER.search(event.text)]
    if plain:
        yield Hit([quote(event) for event in plain[:3]], Onset(time=plain[0].time))
    yield from _xids(final, limits)
    yield from _pcie(final, limits)
    yield from _diagnosed(case)
    outlived = [event for event in told if event.fate in ("survived", "history") and not PCIE.search(event.text)]
    if outlived:
        yield Hit([quote(event) for event in outlived[:3]], Onset(time=outlived[0].time), severity="note")


def _diagnosed(case: Case) -> Iterator[Hit]:
    """What a test of the cards found (`dcgmi diag`): they are sick, but it does not say that the run met it."""
    failed = [event for event in case.kind("hardware") if event.data.get("what") == "diagnostic-failed" and event.fate == "fatal"]
    if failed:
        said = "A diagnostic of the GPUs (`dcgmi diag`) failed."
        yield Hit([quote(event) for event in failed[:3]], Onset(time=failed[0].time), "medium", severity="warning", cause=said)


def _pcie(final: list[Event], limits: Thresholds) -> Iterator[Hit]:
    """A storm of corrected PCIe errors, or one that could not be corrected."""
    storm = [event for event in final if PCIE.search(event.text)]
    fatal = [event for event in storm if not CORRECTED.search(event.text)]
    if len(storm) >= limits.storm or fatal:
        first = (fatal or storm)[0]
        said = (
            f"The PCIe link of a device reported errors in {len(storm)} lines: a card that is not seated well, a riser, a cable, or power."
        )
        yield Hit(
            [quote(first, primary=True), quote(storm[-1])],
            Onset(time=first.time),
            "medium",
            severity="error" if fatal else "warning",
            cause=said,
        )


def _seconds(event: Event) -> tuple[str, float] | None:
    """The clock of a kernel line: its date as it is written, and the seconds of the day (or since the start of the machine)."""
    found = STAMP.search(event.text)
    if found is None:
        return None
    if found["up"]:
        return "", float(found["up"])
    return found["day"], 3600 * int(found["h"]) + 60 * int(found["m"]) + float(found["s"].replace(",", "."))


def _follows(later: Event, earlier: Event, limits: Thresholds) -> bool:
    """Whether one line comes within the limit after another of the same card."""
    cards = [found[1] if (found := CARD.search(event.text)) else "" for event in (later, earlier)]
    now, then = _seconds(later), _seconds(earlier)
    return cards[0] == cards[1] and bool(now and then and now[0] == then[0] and 0 <= now[1] - then[1] <= limits.echo)


def _leading(told: list[tuple[int, Event]], limits: Thresholds) -> tuple[int, Event]:
    """The Xid that tells most: the worst kind, but the program's own exception where the driver's time-out came right after it."""
    number, event = min(told, key=lambda pair: RANK.index(XIDS.get(pair[0], OTHER).origin))
    if XIDS.get(number, OTHER).origin == "driver":
        for earlier, first in told:
            if XIDS.get(earlier, OTHER).origin == "program" and _follows(event, first, limits):
                return earlier, first
    return number, event


def _xids(events: list[Event], limits: Thresholds) -> Iterator[Hit]:
    """One hit for the most telling Xid; the others stand beside it as evidence."""
    told = [(int(found[1]), event) for event in events for found in (BEFORE.search(event.text), NUMBER.search(event.text)) if found]
    if not told:
        return
    number, event = _leading(told, limits)
    xid = XIDS.get(number, OTHER)
    others = list({other: more for other, more in reversed(told) if other != number}.values())[:3]
    yield Hit(
        [quote(event, primary=True), *(quote(more) for more in others)],
        Onset(time=event.time),
        severity="warning" if xid.origin in ("program", "echo") else "error",
        title=f"The GPU driver reported Xid {number}: {xid.means}",
        cause=f"Xid {number} means {xid.means}.",
        fix=(xid.do,),
    )


def _kernel(*lines: str, note: str = "") -> Example:
    return first_words("\n".join(f"[{5000 + i}.{100000 + i}] {line}" for i, line in enumerate(lines)), note, name="dmesg.log")


DIAG = (
    "+---------------------------+------------------------+\n| Diagnostic                | Result                 |\n"
    "+===========================+========================+\n|-----  Deployment  --------+------------------------|\n"
    "| Persistence Mode          | Fail                   |\n+-----  Hardware  ----------+------------------------+\n"
    "| GPU Memory                | {:<22} |\n| Pulse Test                | {:<22} |\n"
)
AER = "pcieport 0000:80:01.1: AER: Corrected error received: 0000:81:00.0"
fires_on = [
    _kernel("NVRM: Xid (PCI:0000:41:00): 79, pid=20117, GPU has fallen off the bus.", note="Xid 79"),
    _kernel("NVRM: Xid (PCI:0000:c4:00): 94, pid=7710, name=python, Contained: SM (0x1). RST: No, D-RST: No", note="Xid 94"),
    raised("RuntimeError: CUDA error: uncorrectable ECC error encountered", "PyTorch"),
    first_words(
        "[  812.004133] NVRM: Xid (PCI:0000:1b:00): 13, pid=881, name=python, Graphics SM Warp Exception on (GPC 2, TPC 1, SM 0)\n"
        "[  902.117210] NVRM: Xid (PCI:0000:1b:00): 109, pid=990, name=python, Ch 00000008, errorString CTX SWITCH TIMEOUT",
        "a time-out a minute and a half after an exception of another program",
        name="dmesg.log",
    ),
    first_words(
        "[Tue Jan  7 10:02:11 2025] NVRM: Xid (PCI:0000:1b:00): 13, pid=881, name=python, Graphics SM Warp Exception on (GPC 2, TPC 1, SM 0)\n"
        "[Tue Jan  7 10:02:15 2025] NVRM: Xid (PCI:0000:3d:00): 109, pid=990, name=python, Ch 00000008, errorString CTX SWITCH TIMEOUT",
        "a time-out of another card",
        name="dmesg.log",
    ),
    _kernel("NVRM: Xid (PCI:0000:dc:00): 45, pid=1818, name=python3, Ch 00000001 caused by previous Xid 149", note="what an echo names"),
    last_words(
        "Unable to determine the device handle for GPU 0000:41:00.0: GPU is lost.  Reboot the system to recover this GPU", "nvidia-smi"
    ),
]
warns_on = [
    _kernel(
        "NVRM: Xid (PCI:0000:1b:00): 13, pid=881, name=python, Graphics SM Warp Exception on (GPC 2, TPC 1, SM 0): Out Of Range Address",
        "NVRM: Xid (PCI:0000:1b:00): 109, pid=881, name=python, Ch 00000008, errorString CTX SWITCH TIMEOUT, Info 0x4c005",
        note="a time-out right after the program's own exception",
    ),
    _kernel("NVRM: Xid (PCI:0000:41:00): 31, pid=120, name=python, Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS", note="Xid 31"),
    _kernel(*[AER] * 14, note="a storm of corrected PCIe errors"),
    first_words(DIAG.format("Pass - All", "Fail - GPU: 1"), "a diagnostic that failed", name="dcgm.txt"),
]
quiet_on = [
    _kernel("NVRM: loading NVIDIA UNIX x86_64 Kernel Module  535.104.05", "usb 1-4: new high-speed USB device", note="a driver that loads"),
    _kernel(AER, note="one corrected PCIe error"),
    _kernel(*[AER] * 5, note="five corrected PCIe errors"),
    last_words("volatile uncorrectable ECC errors: 0, fallback: none", "a counter at zero"),
    first_words(DIAG.format("Pass - All", "Skip - All"), "a diagnostic whose cards passed", name="dcgm.txt"),
]
