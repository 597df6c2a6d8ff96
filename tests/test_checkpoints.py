"""Files that hold no log: recognised by their first bytes or their name, and never opened."""

from __future__ import annotations

import pickle
import random
import struct
from pathlib import Path

import pytest

from postmortem.model import Reading
from postmortem.parsers import aim, checkpoints
from postmortem.parsers.base import HEAD_BYTES, NO, SURE, Request, SourceFile


def source(name: str, data: bytes, size: int | None = None, folder: Path = Path("/nowhere")) -> SourceFile:
    """A file that does not even exist: these readers must not open it."""
    return SourceFile(folder / name, name, len(data) if size is None else size, data[:HEAD_BYTES])


def read(name: str, data: bytes, size: int | None = None) -> Reading:
    found = source(name, data, size)
    assert checkpoints.claims(found) > NO
    return checkpoints.read(found, Request())


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("model.pt", b"PK\x03\x04" + bytes(30), "PyTorch checkpoint"),
        ("old.pth", pickle.dumps({"a": 1}, 2), "PyTorch checkpoint (pickle)"),
        ("args.pkl", pickle.dumps([1], 4), "pickle"),
        ("model.safetensors", struct.pack("<Q", 2**62) + b"{}", "safetensors model"),
        ("m.gguf", b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60), "GGUF model"),
        ("m.parquet", b"PAR1" + b"\x15" * 2000, "Parquet file"),
        ("m.arrow", b"ARROW1\0\0" + b"\xff" * 50, "Arrow file"),
        ("m.feather", b"FEA1" + bytes(50), "Feather file"),
        ("weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5 file"),
        ("x.npy", b"\x93NUMPY\x01\0" + bytes(20), "NumPy array"),
        ("plot.png", b"\x89PNG\r\n\x1a\n" + bytes(20), "PNG image"),
        ("model.ckpt.data-00000-of-00001", b"\x01\0\xff" * 20, "TensorFlow checkpoint shard"),
        ("net.caffemodel", b"\x0a\x04\0\xff" * 20, "Caffe model"),
        ("strange", b"\0\x01\x02\xff" * 20, "binary file"),
    ],
)
def test_kinds(name: str, data: bytes, kind: str) -> None:
    reading = read(name, data, 123_456_789)
    assert reading.notes == [f"{kind}, 123.5 MB, not opened"]
    assert not reading.blocks and not reading.events and not reading.settings and reading.rejected == 0


def test_empty_and_pointer() -> None:
    assert read("last.ckpt", b"").notes == ["PyTorch checkpoint, empty (0 bytes): it was never written"]
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4200\n"
    assert read("model.bin", pointer).notes == ["Git LFS pointer: the binary file itself (4.2 kB) was not downloaded"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("train.log", b"BM25 index built\nMZ\n"),
        ("out.txt", "Verlust: 0,5 \u00e4\n".encode("latin-1")),
        ("wide.log", "epoch 1 loss 0.5\n".encode("utf-16")),
        ("wide.log", "epoch 1 loss 0.5\n".encode("utf-16-le")),
        ("data.json", b"{}"),
        ("empty.log", b""),
        ("words.bin", b"loss 0.5\n"),
    ],
)
def test_text_is_left_to_others(name: str, data: bytes) -> None:
    assert checkpoints.claims(source(name, data)) == NO


def test_any_bytes_are_borne() -> None:
    dice = random.Random(4)
    starts = [b"PK\x03\x04", b"\x80\x04", b"RIFF", b"version https://git-lfs", b"", b"SQLite format 3\0", b"\xff\xfe"]
    names = ["a.pt", "a.safetensors", "x", "a.log", "b.index", "seqs/chunks/a/000001.sst"]
    for _ in range(10_000):
        found = source(dice.choice(names), dice.choice(starts) + dice.randbytes(dice.randrange(300)))
        for parser in (checkpoints, aim):
            assert 0 <= parser.claims(found) <= 1
            assert parser.read(found, Request()).notes


def test_aim_repository_is_named(tmp_path: Path) -> None:
    (tmp_path / "run_metadata.sqlite").write_bytes(b"")
    names = ["meta/index/000012.sst", "seqs/chunks/abc/MANIFEST-000013", "meta/chunks/abc/OPTIONS-000007", "meta/index/CURRENT"]
    for name in names:
        assert aim.claims(source(name, b"# This is a RocksDB option file.\n")) == SURE
        assert aim.read(source(name, b"x"), Request()).notes[0].startswith("aim repository: not readable offline")
    assert aim.claims(source("run_metadata.sqlite", b"SQLite format 3\0")) == SURE
    assert aim.claims(source("VERSION", b"1.3", folder=tmp_path)) > NO
    assert aim.claims(source("VERSION", b"1.3")) == NO
    assert aim.claims(source("logs/CURRENT", b"x")) == NO
    assert aim.claims(source("meta/index/notes.txt", b"x")) == NO
