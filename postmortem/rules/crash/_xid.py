"""NVIDIA's Xid numbers: what the driver means by them, and what to do.

After NVIDIA's public document "XID Errors" (docs.nvidia.com, deploy/xid-errors), in our own words.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Origin = Literal["program", "card", "link", "driver", "echo"]


class Xid(NamedTuple):
    """Where it comes from (the program, the card, a link, the driver, or only an echo of another error), what it means, what to do."""

    origin: Origin
    means: str
    do: str


PROGRAM = (
    "Usually a bug in a kernel of the program: run `compute-sanitizer python train.py`; if only this card shows it, `dcgmi diag -r 3`."
)
RESET = "Reset the GPU (`nvidia-smi --gpu-reset -i N`) or reboot the node; if it comes back, replace the card."
REPLACE = "Drain the node and have the card replaced."
LINK = "Reseat the card and check its power, riser and cables; look for PCIe errors in dmesg. If it comes back, replace the card."
NVLINK = "Check `nvidia-smi nvlink -s` and `-e`; reset all GPUs of the node; if it comes back, replace the card or the bridge."
UPDATE = "Update driver and firmware; reset the GPU; if it comes back, replace the card."
LOOK = "Look at the Xid before it: this one only cleans up after it."

XIDS: dict[int, Xid] = {
    8: Xid("program", "the GPU stopped working on a command", PROGRAM),
    11: Xid("driver", "an invalid command in the push buffer", UPDATE),
    13: Xid("program", "an exception in a kernel (illegal address, illegal instruction, out-of-range register)", PROGRAM),
    31: Xid("program", "a page fault of the GPU's memory: an address that is not mapped", PROGRAM),
    32: Xid("link", "a corrupted push buffer: PCIe or the driver", LINK),
    38: Xid("driver", "the driver's firmware failed", UPDATE),
    43: Xid("echo", "the GPU stopped processing for one program that had an error", LOOK),
    44: Xid("driver", "a fault of the graphics engine at a context switch", UPDATE),
    45: Xid("echo", "preemptive clean-up: work of a program that ended or failed before was removed", LOOK),
    46: Xid("driver", "the GPU stopped processing", RESET),
    48: Xid("card", "a double-bit ECC error: memory that could not be corrected", RESET),
    54: Xid("card", "the auxiliary power is not connected", LINK),
    56: Xid("card", "an error of the display engine", UPDATE),
    57: Xid("card", "an error while the frame buffer or the display was programmed", REPLACE),
    58: Xid("card", "an error of the memory interface", REPLACE),
    61: Xid("card", "a breakpoint or warning of the internal micro-controller", RESET),
    62: Xid("card", "the internal micro-controller halted", RESET),
    63: Xid(
        "card",
        "a memory page or row was retired; it is taken out at the next reset",
        "Reset the GPU when the job is over; this error alone lost nothing.",
    ),
    64: Xid("card", "a memory page or row could not be retired", RESET),
    65: Xid("card", "an error of the video processor", RESET),
    66: Xid("driver", "an illegal access by the driver", UPDATE),
    68: Xid("program", "an exception of the video decoder", PROGRAM),
    69: Xid("program", "an exception of the graphics engine class", PROGRAM),
    73: Xid("program", "an exception of the video encoder", PROGRAM),
    74: Xid("link", "an error on NVLink", NVLINK),
    78: Xid("driver", "a virtual GPU could not be started", UPDATE),
    79: Xid("link", "the GPU has fallen off the bus: it does not answer over PCIe any more", LINK),
    92: Xid("card", "a high rate of single-bit ECC errors", RESET),
    94: Xid(
        "card",
        "an ECC error that was contained: only the program that used the memory is lost",
        "Restart the program; reset the GPU when it is idle.",
    ),
    95: Xid("card", "an ECC error that could not be contained: every program on the card is in doubt", RESET),
    109: Xid("driver", "a time-out at a context switch", UPDATE),
    110: Xid("card", "a security fault", RESET),
    119: Xid("driver", "the GPU's system processor (GSP) did not answer in time", UPDATE),
    120: Xid("driver", "an error of the GPU's system processor (GSP)", UPDATE),
    121: Xid("link", "a corrected error of the link between chips", NVLINK),
    122: Xid("card", "the firmware memory could not be read or written", REPLACE),
    123: Xid("card", "the power management unit failed", RESET),
    137: Xid("link", "a fault on NVLink, seen by the remote side", NVLINK),
    140: Xid("card", "an ECC error that was not recovered", RESET),
    143: Xid("card", "the GPU could not be brought up", RESET),
    144: Xid("link", "an error of NVLink's serialiser", NVLINK),
    145: Xid("link", "an error of NVLink's reliable link layer", NVLINK),
    149: Xid("link", "a fatal error of NVLink's network port", NVLINK),
    154: Xid(
        "echo",
        "the driver says what recovery is needed (reset, reboot or drain)",
        "Do what the line says: reset the GPU, reboot or drain the node; the Xid before it is the cause.",
    ),
}

# The worse it is, the earlier it is told, where a log holds several.
RANK: tuple[Origin, ...] = ("link", "card", "driver", "program", "echo")

__all__ = ["RANK", "XIDS", "Xid"]
