"""Times our CSV reader beside pandas on a sparse table that this script makes itself, as Lightning's CSVLogger leaves one.

    python benchmarks/tables.py [--mb 512] [--repeat 3]

Each reader is a process of its own, from its start to having every filled cell as a number with its step: ours as blocks, pandas as a
melted frame without the empty cells. The readers take turns. Printed are the medians of wall seconds and the peak memory, then the
ratios. (The file is not called csv.py: a script's folder comes first on the import path, and every reader imports the real csv.)
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = ["train_loss_step", "train_acc_step", "lr", "grad_norm"]
EPOCH = ["train_loss_epoch", "val_loss", "val_acc", *(f"val/class_{k}_f1" for k in range(12))]
PROBES = [f"grad_norm/layer{k}" for k in range(9)]
BLOCK = 100_000  # rows made at a time

READERS = {
    "postmortem": """
import sys, pathlib
from postmortem.parsers import base, delimited
path = pathlib.Path(sys.argv[1])
head = path.open("rb").read(base.HEAD_BYTES)
reading = delimited.read(base.SourceFile(path, path.name, path.stat().st_size, head), base.Request())
print(reading.rows, reading.notes)
""",
    "pandas": """
import sys
import pandas
table = pandas.read_csv(sys.argv[1])
print(len(table.melt(id_vars=["epoch", "step"]).dropna()))
""",
}


def make(path: Path, megabytes: int) -> int:
    """Write the table; the number of its rows. Every 50th row is a validation row, every 10th one holds the layer norms."""
    import numpy as np

    rng = np.random.default_rng(7)
    names = ["epoch", "step", *TRAIN, *EPOCH, *PROBES]
    rows = 0
    with path.open("w", encoding="ascii") as file:
        file.write(",".join(names) + "\n")
        while file.tell() < megabytes << 20:
            values = rng.normal(1.0, 0.3, (BLOCK, max(len(TRAIN) + len(PROBES), len(EPOCH))))
            for step, row in enumerate(values.tolist(), rows):
                cells = [""] * (len(names) - 2)
                if step % 50 == 49:
                    cells[len(TRAIN) : len(TRAIN) + len(EPOCH)] = map(repr, row[: len(EPOCH)])
                else:
                    cells[: len(TRAIN)] = map(repr, row[: len(TRAIN)])
                    if step % 10 == 0:
                        cells[len(TRAIN) + len(EPOCH) :] = map(repr, row[len(TRAIN) : len(TRAIN) + len(PROBES)])
                file.write(f"{step // 1000},{step},{','.join(cells)}\n")
            rows += BLOCK
    return rows


def measure(code: str, path: Path) -> tuple[float, float, str]:
    """(wall seconds, peak memory in MB, what it printed) of one reader."""
    # ru_maxrss of all children is a maximum over them, so each reader runs under a parent of its own that has no other child.
    wrapped = [sys.executable, "-c", _PARENT, code, str(path)]
    start = time.perf_counter()
    done = subprocess.run(wrapped, capture_output=True, text=True, check=True)
    wall = time.perf_counter() - start
    said, _, peak = done.stdout.strip().rpartition("\n")
    return wall, float(peak) / 1024, said


_PARENT = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], sys.argv[2]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def main() -> None:
    """Make the file, let the readers take turns, print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mb", type=int, default=512)
    options.add_argument("--repeat", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.csv"
        rows = make(path, chosen.mb)
        print(f"{path.stat().st_size / 1e6:.0f} MB, {rows:,} rows")
        found: dict[str, list[tuple[float, float, str]]] = {name: [] for name in READERS}
        for _ in range(chosen.repeat):
            for name, code in READERS.items():
                found[name].append(measure(code, path))
    wall = {name: statistics.median(run[0] for run in runs) for name, runs in found.items()}
    peak = {name: statistics.median(run[1] for run in runs) for name, runs in found.items()}
    print("\n| reader | wall s | peak MB | cells |\n|---|---|---|---|")
    for name, runs in found.items():
        print(f"| {name} | {wall[name]:.2f} | {peak[name]:.0f} | {runs[0][2]} |")
    print("\n| ratio | is | target |\n|---|---|---|")
    print(f"| pandas / postmortem, wall | {wall['pandas'] / wall['postmortem']:.1f} | >= 5 |")
    print(f"| postmortem / pandas, memory | {peak['postmortem'] / peak['pandas']:.3f} | <= 0.15 |")


if __name__ == "__main__":
    main()
