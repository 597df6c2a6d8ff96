"""The GPU's memory had errors that ECC could not correct

Usual causes, most common first: an ageing memory cell (row remapping takes care of it after a reset), a failing card, overheating.

To tell them apart: `nvidia-smi -q -d ECC,ROW_REMAPPER`: remapping pending means reset the GPU; remapping failed means replace it.

This is not it: ECC of the host's memory (dmidecode), corrected errors alone, counters of earlier jobs (aggregate, not volatile).
"""

from collections.abc import Iterator

import numpy as np

from postmortem.model import Onset, Unchecked
from postmortem.rules.base import Case, Hit, point, quote
from postmortem.rules.examples import flat, join, telemetry

severity = "warning"
explains = ("gpu-xid", "illegal-memory-access", "nan-death")
fix = ("Drain the node and reset the GPU: `nvidia-smi --gpu-reset -i N`; if errors come back, replace the card.",)
prevention = ("Check `ecc.errors.uncorrected.volatile.total` in the job's prologue and refuse the node if it is above 0.",)


SAID = r"(?i)\buncorrectable ECC error"


def check(case: Case) -> Iterator[Hit | Unchecked]:
    said = case.said(SAID, "exception", "log", "hardware")
    if said:  # what it did to the run is told by the rule that reads this exception; here it is the hint at the hardware
        yield Hit([quote(said[0], primary=True)], Onset(time=said[0].time), "high", "note")
    if not case.all("gpu_ecc_uncorrected"):
        if not said:
            yield Unchecked("ecc-errors", "the run holds no count of ECC errors")
        return
    for curve in case.all("gpu_ecc_uncorrected"):
        bad = np.flatnonzero(curve.values > 0)
        if len(bad):
            first = int(bad[0])
            yield Hit(
                [point(curve, first, f"{curve.raw_name} = {curve.values[first]:.0f} at {curve.where(first)}", primary=True)],
                curve.when(first),
            )


fires_on = [
    telemetry("errors from the middle on", util=flat(95, 40), ecc=join(flat(0, 20), flat(2, 20))),
    telemetry("errors from the start", util=flat(95, 40), ecc=flat(1, 40)),
]
quiet_on = [telemetry("none", util=flat(95, 40), ecc=flat(0, 40)), telemetry("no ECC on this card", util=flat(95, 40))]
