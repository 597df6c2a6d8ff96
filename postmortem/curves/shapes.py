"""The shape of a curve in a word: decided from its segments and a few robust numbers relative to its own scale and noise.

Every shape is one small test; the table at the end gives their order, and the first that holds names the curve. A test returns the
bucket at which the shape began (for a turn its minimum, for a plateau the first flat point ...), None where it does not hold.
Shapes are descriptions, no verdicts: what is a fault is decided by the rules, which see all curves of a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from postmortem.curves.look import FEW, TREND_SHARE, Look, look
from postmortem.curves.order import inner_range, median, quantile
from postmortem.model import Curve, Segment, Shape

SHORT = 5  # fewer finite points have no shape
SAME = 1e-9  # spread, relative to the level, up to which values are the same: what is left of one number through float arithmetic
SIGNIFICANT = 5.0  # widths of the trend's noise: the best of twenty medians of pure noise lies two widths low, the start as much high
DIVERGED = 0.25  # a loss has diverged when it ends above its start by this share of its level and by half of what it had gained
FAR = 1.0  # ... whatever its noise, when its last third lies whole above that share, and half of it above twice the start
TURNED = 0.15  # a turn takes back this share of what was gained
LOST = 0.7  # a score is forgotten when this share of what it had reached is gone
GOOD = 0.2  # ... and it had reached more than this share of its best above where it fell to
SWING_BEFORE_TREND = 2.0  # swings more than this often the size of a rise make it part of the swinging
FLAT = 0.02  # a curve whose trend stays within this share of its level has not moved ...
CREEP = 0.0025  # ... unless it creeps down in a straight line by more than this share
SLOW = 0.05  # a straight fall by less than this share of its level is a slow burn
STRAIGHT = 0.25  # greatest distance from the straight line, as a share of the fall: an exponential over one time constant has 0.12
SPIKE_OVER_USUAL = 6.0  # a spike is this often the usual deviation from the trend
DWARFS = 1.5  # swings this often the size of the trend dwarf it
STRUCTURED = 6.0  # swings of white noise spread 3.3 noise widths (5 to 95 %); twice that is a movement
INSTANT = 0.04  # an instant drop is over within this share of the run (or within two points)
ALL_OF_IT = 0.85  # ... and makes this share of the whole drop
LEFT = 0.1  # what may still come after a curve has gone flat, as a share of its drop
PLATEAU_SHARE = 0.25  # a plateau lasts this share of the run
STEEP = 1.5  # before a plateau the fall is this often the average of the run
ABRUPT = 0.6  # ... and just before it with this share of its average pace: an exponential of two time constants has slowed to 0.48
STEP = 0.12  # a stair takes this share of the whole drop at once
SIDE = 4  # buckets on either side of a stair that are held against each other
JUMP = 3.0  # ... and this often what the curve moves within as many buckets before or after
HUMP = 0.1  # a warm-up rises above the start by this share of the drop, or stays at the start ...
WARM_UP = 0.08  # ... for this share of the run
STILL = 0.5  # still improving: in its last fifth the curve falls with this share of its average pace
NOISY = 0.12  # noise beyond this share of the drop makes a fall noisy


def shape_of(curve: Curve) -> Shape:
    """The shape of a curve whose segments are already known. Never raises; "empty" where the curve holds no number at all."""
    seen = look(curve.values, curve.direction)
    if seen is None:
        return Shape("nan-death" if len(curve) else "empty", 0 if len(curve) else None, {"n": 0.0, "tail": float(len(curve))})
    numbers = seen.numbers() | _chance(seen, curve)
    if died := _died(seen):
        return Shape("nan-death", len(curve) - seen.tail, numbers) if died else Shape("unknown", None, numbers)
    for name, test in SHAPES:
        at = test(seen, curve.segments)
        if at is not None and (name != "unknown-direction" or curve.direction is None):
            return Shape(_in_words(name, curve), seen.point(at), numbers)
    return Shape("converging" if seen.gain > 0 else "wandering", None, numbers)


def _in_words(name: str, curve: Curve) -> str:
    """A score that gets worse and worse is forgotten, a loss diverges."""
    return "forgetting" if name == "divergence" and curve.direction == "up" else name


def _died(seen: Look) -> bool:
    """NaN or infinite to the end, and longer than any such stretch that was survived."""
    return seen.tail > seen.gap


def blur(seen: Look) -> float:
    """Standard deviation of a point of the trend: that of a running median over its window."""
    window = max(3, seen.m // TREND_SHARE) if seen.m >= FEW else 1
    return 1.25 * seen.noise / math.sqrt(window)


def _scale(seen: Look) -> float:
    """The level of the curve, for "a share of its level": the larger of where it began and where it was in the middle."""
    return max(abs(seen.start), abs(median(seen.values)))


# ---------------------------------------------------------------------- one test a shape


def _constant(seen: Look, _: Sequence[Segment]) -> int | None:
    spread = float(np.max(seen.reduced.high) - np.min(seen.reduced.low))
    return 0 if seen.n >= 3 and spread <= SAME * abs(float(seen.values[0])) else None


def _short(seen: Look, _: Sequence[Segment]) -> int | None:
    return 0 if seen.n < SHORT else None


def _unknown_direction(seen: Look, _: Sequence[Segment]) -> int | None:
    return 0


def _divergence(seen: Look, _: Sequence[Segment]) -> int | None:
    """Ends clearly above where it began."""
    first = min(seen.start, float(seen.values[0])) if seen.m < 64 else seen.start
    above = seen.end - first
    clear = above > max(DIVERGED * abs(first), 0.5 * seen.drop, SIGNIFICANT * blur(seen))
    if _stays_above(seen, first):
        return _leaves(seen, first)
    lasting = max(seen.climb, seen.quarter - first) * SWING_BEFORE_TREND > seen.swing
    return _leaves(seen, first) if clear and lasting else None


def _stays_above(seen: Look, first: float) -> bool:
    """Whether the last third lies, whole, far above where the curve began: then noise is no objection."""
    last = seen.values[-max(3, seen.m // 3) :]
    whole = quantile(last, 0.05) > first + DIVERGED * abs(first)
    return whole and median(last) > first + FAR * abs(first)


def _leaves(seen: Look, first: float) -> int:
    """The last point before the trend climbs half of the way from the start to its greatest value and past its early best."""
    half = (first + max(seen.worst, seen.end)) / 2
    over = int(np.argmax(seen.trend >= half))
    return int(np.argmin(seen.trend[: over + 1]))


def _forgetting(seen: Look, _: Sequence[Segment]) -> int | None:
    """A score that was good and is gone: most of what it had reached above nothing (or above its start) is lost for good."""
    if seen.sign > 0 or seen.n < FEW:
        return None
    base = max(seen.start, seen.worst) if seen.best < 0 < seen.worst else min(max(seen.start, seen.worst), 0.0)
    reached = base - seen.best
    tail = seen.trend[-max(2, seen.m // 10) :]
    gone = float(np.min(tail)) - seen.best
    if reached > max(SIGNIFICANT * blur(seen), GOOD * abs(seen.best)) and gone > LOST * reached and gone > seen.swing / SWING_BEFORE_TREND:
        return _after_best(seen, seen.best + 0.5 * gone)
    return None


def _after_best(seen: Look, level: float) -> int:
    """The last point at or below a level before the curve leaves it for good."""
    below = np.flatnonzero(seen.trend <= level)
    return int(below[-1]) if len(below) else seen.at_best


def _spike(seen: Look, _: Sequence[Segment]) -> int | None:
    """One excursion that towers over everything else the curve does, and comes back."""
    scale = max(seen.drop, abs(seen.gain), SIGNIFICANT * seen.noise, FLAT * _scale(seen))
    towers = seen.peak > scale and seen.peak > SPIKE_OVER_USUAL * max(seen.usual, seen.noise)
    return seen.at_peak if towers and seen.rise < seen.peak / 3 else None


def _turn(seen: Look, _: Sequence[Segment]) -> int | None:
    """A minimum, then a clear and lasting rise."""
    late = median(seen.trend[-max(2, seen.m // 10) :])
    rise = min(late - seen.best, seen.rise)
    spread = max(seen.worst - seen.best, seen.drop)
    if rise > max(SIGNIFICANT * blur(seen), TURNED * spread, FLAT / 2 * _scale(seen)) and seen.at_best < 0.85 * seen.m:
        return seen.at_best if max(seen.climb, seen.quarter - seen.best) * SWING_BEFORE_TREND > seen.swing else None
    return None


def _oscillation(seen: Look, _: Sequence[Segment]) -> int | None:
    """Swings, again and again, that dwarf the trend."""
    large = seen.swing > DWARFS * max(abs(seen.lift), seen.drop / 2)
    told = seen.swing > STRUCTURED * seen.noise or seen.swing > 0.5 * _scale(seen)
    return seen.m // 2 if large and told and seen.turns >= SHORT and seen.swing > FLAT * _scale(seen) else None


def _slow_burn(seen: Look, _: Sequence[Segment]) -> int | None:
    """A straight line down that hardly leaves its level."""
    share = seen.gain / _scale(seen) if _scale(seen) else 0.0
    straight = seen.bow < STRAIGHT and seen.late > 0.3 * seen.gain
    return 0 if CREEP < share < SLOW and straight and seen.gain > SIGNIFICANT * blur(seen) and seen.n >= FEW - 2 else None


def _flat(seen: Look, _: Sequence[Segment]) -> int | None:
    """Never left its start: what moves is noise, or a sliver of its level."""
    span = inner_range(seen.trend) if seen.m >= FEW else float(np.ptp(seen.trend))
    still = abs(seen.lift) < 4 * seen.lift_error and max(abs(seen.gain), span / 2) < SIGNIFICANT * blur(seen)
    noise_only = still and seen.drop < 2 * SIGNIFICANT * blur(seen) and seen.swing < 0.5 * _scale(seen)
    return 0 if noise_only or max(span, abs(seen.gain)) < FLAT * _scale(seen) else None


def _hockey_stick(seen: Look, _: Sequence[Segment]) -> int | None:
    """Drops at once and never moves again."""
    if seen.n < 2 * FEW:
        return None
    first = float(seen.values[0]) if seen.m < seen.n else float(max(seen.values[0], seen.start))
    drop = first - seen.best
    knee = max(2, math.ceil(INSTANT * seen.m))
    after = seen.trend[knee:]
    left = median(after[: max(3, len(after) // 8)]) - median(after[-max(3, len(after) // 8) :])
    fell = first - median(after[: max(3, len(after) // 8)])
    flat = left < max(LEFT * drop, SIGNIFICANT / 2 * blur(seen)) and fell > 2 * SIGNIFICANT * blur(seen)
    return knee if flat and fell > ALL_OF_IT * drop else None


def _plateau(seen: Look, segments: Sequence[Segment]) -> int | None:
    """A steady fall that breaks off: flat from there to the end."""
    finite = [s for s in segments if math.isfinite(s.level)]
    if len(finite) < 2 or seen.drop <= SIGNIFICANT * blur(seen):
        return None
    before, last = finite[-2], finite[-1]
    run = finite[-1].end
    moved = -seen.sign * last.slope * (last.end - last.start)
    steep = -seen.sign * before.slope * run > STEEP * seen.drop * 0.5
    flat = abs(moved) < max(LEFT * seen.drop, SIGNIFICANT / 2 * blur(seen))
    knee = _bucket(seen, last.start)
    fall = float(seen.trend[0] - seen.trend[knee])
    lately = float(seen.trend[int(0.6 * knee)] - seen.trend[knee]) / 0.4  # what the whole fall would be at the pace just before the knee
    straight = knee >= SHORT and lately > ABRUPT * fall
    return knee if flat and steep and straight and last.end - last.start >= PLATEAU_SHARE * run else None


def _staircase(seen: Look, segments: Sequence[Segment]) -> int | None:
    """Falls in steps: at a change point the level drops at once, by much more than the slope around it makes in that time."""
    for segment in segments[1:]:
        at = _bucket(seen, segment.start)
        edge = slice(max(0, at - SIDE - 1), at - 1), slice(at + 1, at + 1 + SIDE)  # the change may stand a bucket beside the jump
        if at < 2 * SIDE + 1 or at + 2 * SIDE + 1 > seen.m:
            continue
        before, after = (median(seen.values[side]) for side in edge)
        slopes = [seen.values[at - 2 * SIDE - 1 : at - 1], seen.values[at + 1 : at + 1 + 2 * SIDE]]
        usual = max(abs(median(side[len(side) // 2 :]) - median(side[: len(side) // 2])) for side in slopes)
        if before - after > max(STEP * seen.drop, 3 * seen.noise, JUMP * usual) and seen.end < before - STEP * seen.drop / 2:
            return at
    return None


def _warm_up(seen: Look, segments: Sequence[Segment]) -> int | None:
    """Rises or waits at first, then falls well below its start."""
    if seen.drop <= 2 * SIGNIFICANT * blur(seen):
        return None
    early = 0 < seen.at_worst < 0.5 * seen.m and seen.at_worst >= 0.02 * seen.m
    hump = early and seen.worst - seen.start > max(HUMP * seen.drop, SIGNIFICANT * blur(seen))
    if hump:
        return seen.at_worst
    if seen.drop <= 4 * SIGNIFICANT * blur(seen):
        return None
    waits = int(np.argmax(seen.trend < seen.start - max(HUMP * seen.drop, 3 * blur(seen))))
    falls = seen.trend[waits] - float(np.min(seen.trend[waits : waits + max(2, waits)]))
    return waits if WARM_UP * seen.m <= waits and waits >= 3 and falls > 2 * HUMP * seen.drop else None


def _still_improving(seen: Look, _: Sequence[Segment]) -> int | None:
    """Falls at its end with a good share of its average pace."""
    clear = seen.late > STILL * seen.drop and seen.late > 3 * seen.late_error and seen.gain > SIGNIFICANT * blur(seen)
    return int(seen.m * 0.8) if clear and seen.rise < 0.1 * seen.drop + 2 * blur(seen) else None


def _noisy_falling(seen: Look, _: Sequence[Segment]) -> int | None:
    return 0 if seen.raw_noise > NOISY * seen.drop and seen.gain > 0 and seen.lift > 0 else None


def _bucket(seen: Look, point: int) -> int:
    """The bucket that holds a point of the curve."""
    return max(0, int(np.searchsorted(seen.reduced.starts, point, side="right")) - 1)


SHAPES: tuple[tuple[str, Callable[[Look, Sequence[Segment]], int | None]], ...] = (
    ("constant", _constant),
    ("short", _short),
    ("unknown-direction", _unknown_direction),
    ("divergence", _divergence),
    ("slow-burn", _slow_burn),
    ("flat", _flat),
    ("spike", _spike),
    ("forgetting", _forgetting),
    ("turn", _turn),
    ("oscillation", _oscillation),
    ("hockey-stick", _hockey_stick),
    ("staircase", _staircase),
    ("still-improving", _still_improving),
    ("warm-up", _warm_up),
    ("plateau", _plateau),
    ("noisy-falling", _noisy_falling),
)


# ---------------------------------------------------------------------- chance level

CHANCE_CLOSE = 0.01  # a loss within this share of ln k sits at chance: 6.908 for 1000 classes, 1.386 for 4
CHANCE_CLASSES = (
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    12,
    14,
    16,
    20,
    21,
    32,
    50,
    64,
    100,
    101,
    128,
    200,
    256,
    365,
    400,
    512,
    1000,
    1024,
    2048,
    21841,
)


def _chance(seen: Look, curve: Curve) -> dict[str, float]:
    """Where a loss ends at ln k for a usual number of classes k: that k, and the share of the run it sat there; else nothing."""
    if curve.kind != "loss" or curve.direction != "down" or seen.end <= 0:
        return {}
    close = {k: abs(seen.end / math.log(k) - 1) for k in CHANCE_CLASSES}
    k = min(close, key=close.__getitem__)
    if close[k] > CHANCE_CLOSE:
        return {}
    there = np.abs(seen.trend / math.log(k) - 1) <= 2 * CHANCE_CLOSE
    return {"chance": float(k), "at_chance": float(there.mean())}
