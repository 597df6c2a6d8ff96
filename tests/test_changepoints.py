"""Change points: what is found on drawn curves, how exactly, and that our fast way gives ruptures' answer."""

import subprocess
import sys

import numpy as np
import pytest

from postmortem.curves import changepoints, order

LENGTH = 400
MARGIN = 8  # points by which a change may be found beside its place: 2 % of the curve


def pieces(rng, n=LENGTH):
    """A curve of two to four straight pieces with jumps or bends between them, and the places of the changes."""
    count = int(rng.integers(1, 4))
    changes = sorted((np.arange(1, count + 1) / (count + 1) + rng.uniform(-0.06, 0.06, count)) * n)
    changes = [int(change) for change in changes]
    curve, level = np.empty(n), rng.uniform(0, 3)
    slope = rng.choice([-1, 1]) * rng.uniform(0.5, 1.5)
    for start, end in zip([0, *changes], [*changes, n], strict=True):
        curve[start:end] = level + slope * np.arange(end - start) / n
        level = curve[end - 1] + rng.choice([0.0, -0.6, 0.6])
        slope = -slope * rng.uniform(0.8, 2.0)
    return curve + rng.normal(0, 0.03, n), changes


def f1(truth, found, margin=MARGIN):
    """F1 of found change points against the true ones, each true one found at most once, within a margin."""
    hits = sum(any(abs(t - f) <= margin for f in got) for want, got in zip(truth, found, strict=True) for t in want)
    precise = sum(any(abs(t - f) <= margin for t in want) for want, got in zip(truth, found, strict=True) for f in got)
    recall, precision = hits / max(1, sum(map(len, truth))), precise / max(1, sum(map(len, found)))
    return 2 * recall * precision / max(1e-9, recall + precision)


def test_slopes_find_the_changes_of_drawn_curves_better_than_plain_ruptures():
    import ruptures

    rng = np.random.default_rng(1)
    drawn = [pieces(rng) for _ in range(120)]
    truth = [changes for _, changes in drawn]
    ours = f1(truth, changepoints.slopes_all([curve for curve, _ in drawn]))
    plain = f1(
        truth, [ruptures.KernelCPD("linear", min_size=4).fit(curve).predict(pen=3 * np.log(LENGTH) * 0.03**2)[:-1] for curve, _ in drawn]
    )
    assert ours >= 0.95, ours
    assert ours - plain >= 0.3, (ours, plain)


def test_slopes_of_a_smooth_decay_are_one_piece():
    rng = np.random.default_rng(2)
    t = np.arange(2000) / 2000
    decays = [0.4 + 2 * np.exp(-rate * t) + rng.normal(0, noise, 2000) for rate in (3, 6, 9) for noise in (0.005, 0.03, 0.1)]
    assert sum(len(found) for found in changepoints.slopes_all(decays)) <= 1


def test_a_break_in_a_decay_is_found_where_it_is():
    rng = np.random.default_rng(3)
    for length, width in ((300, 3), (30_000, 300)):
        t = np.arange(length) / length
        curve = 0.4 + 2 * np.exp(-6 * t) + rng.normal(0, 0.02, length)
        curve[length // 2 :] -= 0.4
        found = changepoints.slopes(curve)
        assert len(found) == 1
        assert abs(found[0] - length // 2) <= width


def test_the_dynamic_programme_gives_the_partition_of_ruptures():
    import ruptures

    class LineCost(ruptures.base.BaseCost):
        model = "line"
        min_size = changepoints.MIN_SEGMENT

        def fit(self, signal):
            self.signal = signal.reshape(-1, 1)
            return self

        def error(self, start, end):
            y = self.signal[start:end, 0]
            x = np.arange(len(y))
            return float(np.sum((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2))

    rng = np.random.default_rng(4)
    lengths = (8, 20, 33, 48, 60)  # different lengths in one batch: padding must not change any answer
    curves = [pieces(rng, n)[0] / 0.03 for n in lengths]
    for curve, ours in zip(curves, changepoints._partition(curves), strict=True):
        engine = ruptures.Pelt(custom_cost=LineCost(), min_size=changepoints.MIN_SEGMENT, jump=1).fit(curve)
        assert ours == engine.predict(pen=changepoints.SLOPE_PENALTY * np.log(len(curve)))[:-1]


def test_levels_are_those_of_ruptures_without_its_last_index():
    rng = np.random.default_rng(5)
    curve = np.repeat([1.0, 3.0, 2.0], 60) + rng.normal(0, 0.1, 180)
    assert changepoints.levels(curve) == [60, 120]
    assert changepoints.levels(np.full(50, 2.0)) == []
    assert changepoints.levels(rng.normal(0, 1, 500)) == []
    assert changepoints.levels(np.arange(5.0)) == []


def test_levels_of_a_long_curve_stand_at_a_bucket_of_the_change():
    rng = np.random.default_rng(6)
    curve = np.repeat([1.0, 1.5], 50_000) + rng.normal(0, 0.1, 100_000)
    assert len(changepoints.levels(curve)) == 1
    assert abs(changepoints.levels(curve)[0] - 50_000) <= 200


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_points_that_are_no_numbers_carry_no_level_and_keep_their_index(bad):
    rng = np.random.default_rng(7)
    curve = np.concatenate([np.full(100, 2.0), np.full(100, 1.0)]) + rng.normal(0, 0.01, 200)
    curve[10:60:5] = bad
    assert changepoints.slopes(curve) == [100]
    curve[150:] = bad
    assert changepoints.slopes(curve) == [100]


@pytest.mark.parametrize("values", [[], [1.0], [np.nan], [np.nan] * 40, [1.0] * 40, [0.0, 1e308] * 20, [1e-320] * 20, list(range(7))])
def test_odd_curves_have_no_changes_and_raise_nothing(values):
    with np.errstate(all="ignore"):
        assert changepoints.slopes(np.array(values)) == []
        assert isinstance(changepoints.levels(np.array(values)), list)


def test_buckets_keep_the_extremes_and_the_places():
    values = np.arange(1000.0)
    values[500], values[700] = 1e6, np.nan
    reduced = changepoints.buckets(values, 100)
    assert len(reduced.middle) <= 100
    assert reduced.high.max() == 1e6
    assert reduced.middle.max() < 1000
    assert reduced.starts[0] == 0
    assert all(np.diff(reduced.starts) > 0)
    short = changepoints.buckets(values[:50], 100)
    assert short.width == 1
    assert list(short.middle) == list(range(50))


def test_noise_is_measured_whatever_the_trend():
    rng = np.random.default_rng(8)
    for trend in (np.zeros(4000), np.linspace(0, 50, 4000), 9 * np.exp(-np.arange(4000) / 500)):
        assert changepoints.noise_of(trend + rng.normal(0, 0.2, 4000)) == pytest.approx(0.2, rel=0.1)
    assert changepoints.noise_of(np.linspace(0, 1, 50)) < 1e-12
    assert changepoints.noise_of(np.array([1.0, 2.0])) == 0.0


def test_ruptures_is_imported_late_and_without_scipy():
    program = (
        "import sys\n"
        "from postmortem.curves import changepoints\n"
        "assert 'ruptures' not in sys.modules and 'scipy' not in sys.modules\n"
        "import numpy as np\n"
        "assert changepoints.levels(np.repeat([1.0, 2.0], 50)) == [50]\n"
        "assert 'ruptures' in sys.modules\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'scipy']\n"
        "import scipy.signal, ruptures\n"
        "assert scipy.signal.argrelmax(np.array([0, 1, 0]))[0].tolist() == [1]\n"
        "assert ruptures.KernelCPD('rbf', min_size=2).fit(np.repeat([1.0, 2.0], 20)).predict(n_bkps=1) == [20, 40]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_ruptures_works_where_scipy_is_there_already():
    program = (
        "import scipy.signal\n"
        "from postmortem.curves import changepoints\n"
        "import numpy as np\n"
        "assert changepoints.levels(np.repeat([1.0, 2.0], 50)) == [50]\n"
        "assert callable(scipy.signal.find_peaks)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------- medians and quantiles


@pytest.mark.parametrize("n", [1, 2, 3, 4, 19, 20, 255, 256])
def test_order_says_what_numpy_says(n: int) -> None:
    dice = np.random.default_rng(n)
    for scale in (1e-8, 1.0, 1e8):
        values, windows = dice.normal(size=n) * scale, dice.normal(size=(20, n)) * scale
        assert order.median(values) == np.median(values)
        assert (order.medians(windows) == np.median(windows, axis=1)).all()
        assert [order.quantile(values, share) for share in (0.05, 0.5, 0.95)] == np.quantile(values, (0.05, 0.5, 0.95)).tolist()
        assert order.inner_range(values) == np.ptp(np.quantile(values, (0.05, 0.95)))


def test_the_median_of_nothing_and_of_nan_is_nan() -> None:
    assert np.isnan(order.median(np.array([])))
    assert np.isnan(order.median(np.array([1.0, np.nan, 3.0])))
