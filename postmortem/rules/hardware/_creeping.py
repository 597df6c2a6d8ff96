"""Does a time grow from step to step? Then something is kept and walked; a slow disk or loader has a level."""

import numpy as np

from postmortem.model import Curve

# Found on trainings of ours that kept a growing history, and held against steady, stepping and noisy loaders.
FEWEST = 20  # points; ten on each side
EDGE = 0.2  # share of the run at either end that is compared
TIMES = 4.0  # ratio of the end to the start; caches and memory pressure stay within a factor of two
STEADILY = 0.9  # rank correlation with the order of the steps; noise around two levels stays below 0.87


def creeping(curve: Curve) -> bool:
    """A time that grows all the way, to several times its start."""
    values = curve.values
    if len(values) < FEWEST or not (values > 0).all():
        return False
    margin = max(1, int(EDGE * len(values)))
    ranks = np.argsort(np.argsort(values))
    grown = np.median(values[-margin:]) >= TIMES * np.median(values[:margin])
    return bool(grown and np.corrcoef(ranks, np.arange(len(ranks)))[0, 1] >= STEADILY)
