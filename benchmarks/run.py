"""All benchmarks one after the other: ratios side by side in one run, as Markdown tables for benchmarks/README.md.

python benchmarks/run.py [NAME ...]     names are the files beside this one
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run each benchmark in a process of its own, so that one's memory is not the other's."""
    names = sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("run", "measure"))
    for name in names:
        print(f"\n## {name}\n", flush=True)
        subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
