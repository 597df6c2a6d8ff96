"""What is measured of a curve before its shape is named: a few robust numbers relative to its own scale and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from postmortem.curves.changepoints import Buckets, buckets, noise_of
from postmortem.curves.order import inner_range, median, medians, quantile

TREND_SHARE = 16  # the trend is a running median over 1/16 of the curve: one twentieth of a run is the least that is a phase
SWING_SHARE = 4  # swings are what is left over a running median of a quarter of the curve
SPIKE_SHARE = 10  # a spike is held against the medians of a tenth of the curve before and after it
LATE_SHARE = 0.2  # "the end" of a curve is its last fifth
TAIL_SHARE = 20  # its end level is the median of its last twentieth, of three points at least
STRETCH = 4096  # points of a stretch on which the noise of a long curve is measured
FEW = 12  # with fewer points a running median would rub out what there is


@dataclass(frozen=True, slots=True)
class Look:
    """The numbers of one curve, turned so that down is better (`sign` -1: the values were negated).

    Indices (at_*) count the buckets of `reduced`; levels, noise and heights are in units of the value.

    n, tail, gap      finite points; non-finite points after the last finite one; longest run of such points that was survived
    start, end        median of the first three points (or the trend there, if they tell no more); median of the last twentieth
    quarter           median of the last quarter: where a swinging curve ends
    lift, lift_error  median of the first quarter over that of the last one, and its standard error
    best, worst       least and greatest value of the trend, at at_best and at_worst
    noise, raw_noise  standard deviation around the trend, from second differences: of the buckets, and of the points themselves
    late, late_error  how much the curve falls per run length in its last fifth (a straight line), and the error of that number
    bow               greatest distance between the trend and the straight line from start to end, as a share of start - end
    swing, turns      spread (5 to 95 %) of what is left over a wide trend, in the later half; how often that changes sign
    climb             rise of the straight line through everything after the best: what a rise is when its swings are taken away
    peak, at_peak     greatest height over what is before and after; spread around the trend without it is `usual`
    settled           first bucket from which on the curve gets no better by more than noise and 3 % of its drop
    """

    reduced: Buckets
    values: np.ndarray
    trend: np.ndarray
    sign: float
    n: int
    tail: int
    gap: int
    start: float
    end: float
    quarter: float
    lift: float
    lift_error: float
    best: float
    at_best: int
    worst: float
    at_worst: int
    noise: float
    raw_noise: float
    late: float
    late_error: float
    bow: float
    swing: float
    turns: int
    climb: float
    peak: float
    at_peak: int
    usual: float
    settled: int

    @property
    def drop(self) -> float:
        """How far the curve got better from its start to its best."""
        return self.start - self.best

    @property
    def gain(self) -> float:
        """How far the curve got better from its start to its end; negative where it got worse."""
        return self.start - self.end

    @property
    def rise(self) -> float:
        """How far the curve got worse from its best to its end."""
        return self.end - self.best

    @property
    def m(self) -> int:
        """Number of buckets."""
        return len(self.values)

    def numbers(self) -> dict[str, float]:
        """The numbers as a Shape carries them: levels as the log spelled them, indices as points of the curve."""
        told = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("start", "end", "quarter", "best", "worst"):
                told[field.name] = self.sign * value
            elif field.name.startswith("at_") or field.name == "settled":
                told[field.name] = float(self.point(value))
            elif isinstance(value, int | float):
                told[field.name] = float(value)
        return told | {"drop": self.drop, "gain": self.gain, "rise": self.rise}

    def point(self, bucket: int) -> int:
        """The index in the curve of the first point of a bucket."""
        return int(self.reduced.starts[min(bucket, self.m - 1)])


def look(values: np.ndarray, direction: Literal["down", "up"] | None) -> Look | None:
    """Measure a curve, values (n,); None where it holds no finite point."""
    finite = np.isfinite(values)
    n = int(finite.sum())
    if not n:
        return None
    sign = -1.0 if direction == "up" else 1.0
    reduced = buckets(values)
    y = sign * reduced.middle
    high = sign * (reduced.low if sign < 0 else reduced.high)
    firsts = sign * np.asarray(values[:64] if finite[:64].sum() >= 3 else values)
    trend = running_median(y, len(y) // TREND_SHARE) if len(y) >= FEW else y
    noise = noise_of(y)
    raw_noise = noise if reduced.width == 1 else _raw_noise(values)
    start = median(firsts[np.isfinite(firsts)][:3]) if n >= FEW else float(y[0])
    if abs(start - trend[0]) < 3 * raw_noise:
        start = float(trend[0])  # three points say no more than noise: the trend knows better
    end = median(y[-max(3, len(y) // TAIL_SHARE) :]) if len(y) >= FEW else float(np.mean(y[-2:]))
    side = max(2, len(y) // 4)
    quarter = median(y[-side:])
    at_best, at_worst = int(np.argmin(trend)), int(np.argmax(trend))
    best = min(float(trend[at_best]), end)
    late, late_error = _late(y)
    swing, turns = _swings(y)
    peak, at_peak, usual = _peak(y, high, trend)
    tail, gap = _gaps(finite)
    return Look(
        reduced=reduced,
        values=y,
        trend=trend,
        sign=sign,
        n=n,
        tail=tail,
        gap=gap,
        start=start,
        end=end,
        quarter=quarter,
        lift=median(y[:side]) - quarter,
        lift_error=1.25 * noise * np.sqrt(2 / side),
        best=best,
        at_best=at_best,
        worst=float(trend[at_worst]),
        at_worst=at_worst,
        noise=noise,
        raw_noise=raw_noise,
        late=late,
        late_error=late_error,
        bow=_bow(trend, start, end),
        swing=swing,
        turns=turns,
        climb=_climb(y, at_best),
        peak=peak,
        at_peak=at_peak,
        usual=usual,
        settled=_settled(trend, noise, start, best),
    )


def running_median(y: np.ndarray, width: int) -> np.ndarray:
    """Median over an odd window of about `width` points (at least 3) around each point; the ends are repeated."""
    half = max(1, width // 2)
    return medians(np.lib.stride_tricks.sliding_window_view(np.pad(y, half, mode="edge"), 2 * half + 1))


def line(y: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Least-squares line through y (m >= 2): its middle level, its slope per point and the standard error of the slope."""
    y = np.asarray(y, np.float64)
    x = np.arange(len(y)) - (len(y) - 1) / 2
    spread = float(x @ x)
    level = float(y.mean())
    slope = float(x @ y) / spread
    left = y - level - slope * x
    return level, slope, float(np.sqrt(left @ left / max(1, len(y) - 2) / spread))


def _raw_noise(values: np.ndarray) -> float:
    """Noise of the points themselves; of a long curve, of three stretches of it."""
    n = len(values)
    parts = [values] if n <= 3 * STRETCH else [values[at : at + STRETCH] for at in (0, (n - STRETCH) // 2, n - STRETCH)]
    return max(noise_of(part[np.isfinite(part)]) for part in parts)


def _late(y: np.ndarray) -> tuple[float, float]:
    """The fall over the last fifth, scaled up to the length of the curve, and its standard error."""
    count = max(4, int(np.ceil(len(y) * LATE_SHARE)))
    if len(y) < count:
        return 0.0, np.inf
    _, slope, error = line(y[-count:])
    return -slope * (len(y) - 1), error * (len(y) - 1)


def _bow(trend: np.ndarray, start: float, end: float) -> float:
    """How far the trend leaves the straight line from start to end, as a share of their distance."""
    if start == end:
        return np.inf
    return float(np.max(np.abs(trend - np.linspace(start, end, len(trend))))) / abs(start - end)


def _swings(y: np.ndarray) -> tuple[float, int]:
    """Spread of what is left over a wide running median in the later half of the curve, and how often it crosses zero for good."""
    if len(y) < FEW:
        return 0.0, 0
    left = (y - running_median(y, len(y) // SWING_SHARE))[len(y) // 2 :]
    swing = inner_range(left)
    clear = np.sign(left[np.abs(left) > swing / 8])
    return swing, int(np.count_nonzero(np.diff(clear)))


def _climb(y: np.ndarray, at_best: int) -> float:
    """Rise of the least-squares line over the points after the best one; 0 where there are fewer than four."""
    after = y[at_best:]
    return line(after)[1] * (len(after) - 1) if len(after) >= 4 else 0.0


def _peak(y: np.ndarray, high: np.ndarray, trend: np.ndarray) -> tuple[float, int, float]:
    """The greatest height over the medians before and after, its bucket, and the usual height (95 %) of the others."""
    width = max(2, len(y) // SPIKE_SHARE)
    if len(y) < 2 * width + 1:
        return 0.0, 0, 0.0
    around = medians(np.lib.stride_tricks.sliding_window_view(y, width))  # around[i] is over i..i+width-1
    middle = np.arange(width, len(y) - width)
    height = high[middle] - np.maximum(around[middle - width], around[middle + 1])
    at = int(np.argmax(height))
    return float(height[at]), int(middle[at]), quantile(np.abs(high - trend), 0.95)


def _settled(trend: np.ndarray, noise: float, start: float, best: float) -> int:
    """The first bucket from which on nothing better comes, by more than the noise of a median and 3 % of the drop."""
    margin = max(0.03 * (start - best), noise)
    return int(np.argmax(trend <= best + margin))


def _gaps(finite: np.ndarray) -> tuple[int, int]:
    """Non-finite points at the end, and the longest run of them that was survived."""
    if finite.all():
        return 0, 0
    known = np.flatnonzero(finite)
    return int(len(finite) - 1 - known[-1]), int(max(known[0], np.max(np.diff(known), initial=1) - 1))
