"""Times our TensorBoard reader beside TensorBoard's own two, on event files that this script makes itself.

    python benchmarks/tfevents.py [--events 1000000] [--repeat 3] [--keep DIR]

Every reader is a process of its own, from its start to having all scalars (ours: as the unified Polars frame), and gives the number
of scalars it found. Printed are CPU seconds, wall seconds and peak memory, each the best of the repeats, the CPU seconds of the bare
start (Python and the modules of the reader, nothing read), then CPU time, CPU time without the start, and wall time as multiples of
ours. The readers take turns, so that a busy machine is busy for all. Python may keep compiled modules, as for everybody who installs
with pip; each reader has run once before it is measured.

torch      20 tags, one simple_value an event (torch.utils.tensorboard)
tf2        20 tags, one tensor an event with the plugin's metadata (tf.summary.scalar)
irregular  200 tags, a random tenth of them each step: no period to predict
blobs      a fifth of the events; between them histograms of 3 kB and images of 150 to 330 kB
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

GROUPS = ("train", "val", "perf", "optim")
NAMES = ("loss", "grad_norm", "accuracy", "tokens_per_second", "aux_loss")
TAGS = [f"{group}/{name}" for group in GROUPS for name in NAMES]
START = 1_700_000_000.0
SCALARS_METADATA = b"\x4a\x0d\x0a\x09\x0a\x07scalars\x20\x01"


# ---------------------------------------------------------------------- making the files


def varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def sized(key: int, data: bytes) -> bytes:
    """A length-delimited field with its key byte."""
    return bytes([key]) + varint(len(data)) + data


def event(step: int, wall: float, value: bytes) -> bytes:
    """An event with one summary value (given without its own frame)."""
    return b"\x09" + struct.pack("<d", wall) + b"\x10" + varint(step) + sized(0x2A, sized(0x0A, value))


def framed(data: bytes) -> bytes:
    from postmortem.parsers._crc32c import crc32c, mask, masked_length

    return struct.pack("<QI", len(data), masked_length(len(data))) + data + struct.pack("<I", mask(crc32c(data)))


def simple(tag: str, number: float) -> bytes:
    return sized(0x0A, tag.encode()) + b"\x15" + struct.pack("<f", number)


def tensor(tag: str, number: float) -> bytes:
    return sized(0x0A, tag.encode()) + sized(0x42, b"\x08\x01\x12\x00\x22\x04" + struct.pack("<f", number)) + SCALARS_METADATA


def regular(events: int, value) -> Iterator[bytes]:  # type: ignore[no-untyped-def]
    dice, wall = random.Random(1), START
    for step in range(events // len(TAGS)):
        wall += dice.gammavariate(4, 0.05)
        for place, tag in enumerate(TAGS):
            yield event(step, wall + place * 1e-5, value(tag, 2.5 * 0.9999**step + dice.random() / 10))


def irregular(events: int) -> Iterator[bytes]:
    dice, wall, step, made = random.Random(2), START, 0, 0
    tags = [f"group{dice.randrange(9)}/{'abcdefghij'[: dice.randrange(2, 10)] * dice.randrange(1, 6)}_{number}" for number in range(200)]
    while made < events:
        step, wall = step + dice.randrange(1, 20), wall + dice.gammavariate(4, 0.05)
        for tag in (tag for tag in tags if dice.random() < 0.1):
            yield event(step, wall, simple(tag, dice.gauss(0, 1)))
            made += 1


def blobs(events: int) -> Iterator[bytes]:
    dice, noise = random.Random(3), random.Random(4).randbytes(1 << 20)
    for number, data in enumerate(regular(events // 5, simple)):
        yield data
        step = number // len(TAGS)
        if number % len(TAGS) == 0 and step % 20 == 0:
            for layer in range(30):
                histogram = sized(0x32, noise[layer : layer + 1600]) + sized(0x3A, noise[layer + 5000 : layer + 6600])
                yield event(step, START + step, sized(0x0A, f"weights/layer{layer}".encode()) + sized(0x2A, histogram))
        if number % len(TAGS) == 0 and step % 10 == 0:
            image = b"\x08\x80\x02\x10\x80\x02\x18\x03" + sized(0x22, noise[: dice.randrange(150_000, 330_000)])
            yield event(step, START + step, sized(0x0A, b"samples/image") + sized(0x22, image))


def make(folder: Path, events: int) -> list[Path]:
    kinds = {"torch": regular(events, simple), "tf2": regular(events, tensor), "irregular": irregular(events), "blobs": blobs(events)}
    files = []
    for name, records in kinds.items():
        path = folder / name / "events.out.tfevents.1700000000.host.1.0"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with open(path, "wb") as file:
                file.write(framed(b"\x09" + struct.pack("<d", START) + b"\x1a\x0dbrain.Event:2"))
                file.writelines(framed(record) for record in records)
        files.append(path)
    return files


# ---------------------------------------------------------------------- the readers; each runs in a process of its own


def ours(path: Path) -> int:
    from postmortem.frame import assemble
    from postmortem.parsers import tfevents
    from postmortem.parsers.base import HEAD_BYTES, Request, SourceFile

    with open(path, "rb") as file:
        source = SourceFile(path, path.name, path.stat().st_size, file.read(HEAD_BYTES))
    return len(assemble([tfevents.read(source, Request())]))


def parsed_only(path: Path) -> int:
    """Our reader without the Polars frame: what reading alone costs."""
    from postmortem.parsers import tfevents
    from postmortem.parsers.base import Request, SourceFile

    return tfevents.read(SourceFile(path, path.name, path.stat().st_size, b""), Request()).rows


def accumulator(path: Path) -> int:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(path.parent), size_guidance={"scalars": 0, "tensors": 0, "images": 1, "histograms": 1})
    reader.Reload()
    found = reader.Tags()
    return sum(len(reader.Scalars(tag)) for tag in found["scalars"]) + sum(len(reader.Tensors(tag)) for tag in found["tensors"])


def rustboard(path: Path) -> int:
    """TensorBoard's data server in Rust, asked through its own client: compare the wall time, the server's CPU time is not in it."""
    from tensorboard.context import RequestContext
    from tensorboard.data import server_ingester
    from tensorboard.util import grpc_util

    # an interval of 0 loads once; one sample limit of a billion keeps every point
    server = server_ingester.SubprocessServerDataIngester(
        server_binary=server_ingester.get_server_binary(),
        logdir=str(path.parent),
        reload_interval=0,
        channel_creds_type=grpc_util.ChannelCredsType.LOCAL,
        samples_per_plugin={"scalars": 10**9},
    )
    server.start()
    provider, context, seen = server.data_provider, RequestContext(), -1
    while True:  # the server loads in the background: ask until the number of points stays the same
        found = provider.read_scalars(context, experiment_id="", plugin_name="scalars", downsample=10**9)
        points = sum(len(series) for tags in found.values() for series in tags.values())
        if points and points == seen:
            return points
        seen = points
        time.sleep(0.05)


# What each reader imports: the rest of its time is reading
STARTS = {
    "ours": ("polars", "postmortem.frame", "postmortem.parsers.tfevents"),
    "ours (no frame)": ("postmortem.parsers.tfevents",),
    "EventAccumulator": ("tensorboard.backend.event_processing.event_accumulator",),
    "RustBoard": ("tensorboard.context", "tensorboard.data.server_ingester", "tensorboard.util.grpc_util"),
}
READERS = {"ours": ours, "ours (no frame)": parsed_only, "EventAccumulator": accumulator, "RustBoard": rustboard}


def child(reader: str, path: str) -> None:
    """Run a reader on a file, or only start it where there is none, and print what that took."""
    for module in STARTS[reader]:
        importlib.import_module(module)
    points = READERS[reader](Path(path)) if path else 0
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        json.dumps(
            {"points": points, "cpu": own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime, "mb": own.ru_maxrss / 1024}
        )
    )


def measure(reader: str, path: Path | str) -> dict | None:
    """One run in a process of its own: points, cpu, wall, mb; None where the reader is not installed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, "--child", reader, str(path)], capture_output=True, text=True)
    wall = time.perf_counter() - start
    if done.returncode:
        print(f"  {reader}: not available ({done.stderr.strip().splitlines()[-1][:100] if done.stderr.strip() else 'no reason given'})")
        return None
    return json.loads(done.stdout.splitlines()[-1]) | {"wall": wall}


def best(runs: list[dict]) -> dict:
    """The smallest of each figure."""
    return {name: min(run[name] for run in runs) for name in runs[0]}


def compare(path: Path, readers: list[str], repeat: int) -> None:
    """Measure the readers in turns on one file and print a line for each."""
    runs: dict[str, list[dict]] = {reader: [] for reader in readers}
    starts: dict[str, list[dict]] = {reader: [] for reader in readers}
    for _ in range(repeat):
        for reader in readers:
            for rows, what in ((starts, ""), (runs, str(path))):
                if (row := measure(reader, what)) is not None:
                    rows[reader].append(row)
    rows = {reader: best(runs[reader]) | {"start": best(starts[reader])["cpu"]} for reader in readers if runs[reader]}
    own = rows.get("ours")
    for reader, row in rows.items():
        times = ""
        if own:
            without = (row["cpu"] - row["start"]) / (own["cpu"] - own["start"])
            times = f" {row['cpu'] / own['cpu']:7.1f} {without:8.1f} {row['wall'] / own['wall']:7.2f}"
        print(
            f"{path.parent.name:10} {path.stat().st_size / 1e6:6.0f} {reader:18} {row['points']:9} {row['cpu']:7.2f} {row['start']:7.2f} "
            f"{row['wall']:7.2f} {row['mb']:8.0f}{times}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--keep", help="make the files here and leave them")
    parser.add_argument("--files", help="only these of torch, tf2, irregular, blobs")
    parser.add_argument("--readers", default=",".join(READERS))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    readers = given.readers.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(temporary) / "compiled")
        small = next(path for path in make(Path(temporary) / "small", 1000) if path.parent.name == "torch")
        readers = [reader for reader in readers if measure(reader, small)]
        print(
            f"{'file':10} {'MB':>6} {'reader':18} {'points':>9} {'CPU s':>7} {'start':>7} {'wall s':>7} {'peak MB':>8} "
            f"{'CPU x':>7} {'no start':>8} {'wall x':>7}"
        )
        for path in make(Path(given.keep or temporary), given.events):
            if not given.files or path.parent.name in given.files.split(","):
                compare(path, readers, given.repeat)


if __name__ == "__main__":
    main()
