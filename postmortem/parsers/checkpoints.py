"""Names the files that a training leaves behind and that hold no log: models, archives, arrays, images. They are never opened further."""

from __future__ import annotations

import re

from postmortem.model import Reading
from postmortem.parsers.base import LIKELY, NO, PLAUSIBLE, SURE, Request, SourceFile

NAME = "binary"
ABOUT = "Model files, checkpoints, archives, arrays, images and other binary files: recognised and listed with their size, never opened."

# Bytes that a file of this kind begins with -> what it is
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x93NUMPY", "NumPy array"),
    (b"\x89HDF\r\n\x1a\n", "HDF5 file"),
    (b"\x89PNG\r\n\x1a\n", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF8", "GIF image"),
    (b"BM", "bitmap image"),
    (b"II*\0", "TIFF image"),
    (b"MM\0*", "TIFF image"),
    (b"RIFF", "RIFF file (audio, video or WebP image)"),
    (b"OggS", "Ogg audio"),
    (b"fLaC", "FLAC audio"),
    (b"ID3", "MP3 audio"),
    (b"%PDF-", "PDF document"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ\0", "xz archive"),
    (b"\x28\xb5\x2f\xfd", "zstd archive"),
    (b"\x04\x22\x4d\x18", "lz4 archive"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (b"Rar!", "RAR archive"),
    (b"PAR1", "Parquet file"),
    (b"ARROW1", "Arrow file"),
    (b"FEA1", "Feather file"),
    (b"GGUF", "GGUF model"),
    (b"\x7fELF", "program or library"),
    (b"MZ", "Windows program"),
    (b"\xcf\xfa\xed\xfe", "program or library"),
    (b"MATLAB 5.0 MAT-file", "MATLAB file"),
    (b"CDF\x01", "NetCDF file"),
    (b"\0asm", "WebAssembly module"),
    (b"wOFF", "font"),
    (b"wOF2", "font"),
    (b"glTF", "3D model"),
    (b"LMDB", "LMDB database"),
)
_SHORT = {b"BM", b"MZ", b"ID3", b"BZh", b"GIF8"}  # magic numbers made of letters: a text may begin like that
_ZIP = b"PK\x03\x04"
_ZIP_KINDS = {
    ".npz": "NumPy archive",
    ".keras": "Keras model",
    ".xlsx": "spreadsheet",
    ".whl": "Python package",
} | dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".tar"), "PyTorch checkpoint")
_LFS = re.compile(rb"\Aversion https://git-lfs[^\n]*\noid [^\n]*\nsize (\d+)")
_PICKLE = re.compile(rb"\A\x80[\x02-\x05]")  # protocols 2 to 5
# Models and traces that are written as text: what they list (split_gain, loss_changes, durations) is no curve
_AS_TEXT = (
    (re.compile(rb"\Atree\r?\nversion=v\d"), "LightGBM model"),
    (re.compile(rb'\A\s*\{\s*"learner":\s*\{[^\0]*"gradient_booster"'), "XGBoost model"),
    (re.compile(rb'\A\s*\{[^\0]*"traceEvents"\s*:\s*\[|\A\s*\[\s*\{[^{}\0]*"ph"\s*:\s*"[A-Za-z]"'), "profiler trace"),
    (re.compile(rb'\A\s*\{"boosting_params":|\A\s*\{"features_info":[^\0]*"oblivious_trees"'), "CatBoost model"),
)
_SAFETENSORS = re.compile(rb"\A.{8}\{", re.S)

# Names that say what a file is, where its first bytes do not
_NAMED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.I), kind)
    for pattern, kind in (
        (r"\.safetensors$", "safetensors model"),
        (r"\.gguf$", "GGUF model"),
        (r"\.onnx$", "ONNX model"),
        (r"\.(pt|pth|ckpt|pth\.tar)$", "PyTorch checkpoint"),
        (r"\.(pkl|pickle|joblib|dill)$", "pickle"),
        (r"\.data-\d+-of-\d+$", "TensorFlow checkpoint shard"),
        (r"\.ckpt(-\d+)?\.(index|meta)$|\.index$", "TensorFlow checkpoint index"),
        (r"(^|/)(saved_model|keras_metadata)\.pb$|\.pb$", "TensorFlow graph"),
        (r"\.(caffemodel|solverstate)$", "Caffe model"),
        (r"\.(pdparams|pdopt|pdmodel|pdiparams)$", "PaddlePaddle checkpoint"),
        (r"\.params$", "MXNet parameters"),
        (r"\.(tfrecords?|tfrec)(-\d+-of-\d+)?$", "TFRecord data set"),
        (r"\.(h5|hdf5)$", "HDF5 file"),
        (r"\.(npy|npz)$", "NumPy array"),
        (r"\.(parquet|arrow|feather)$", "columnar data"),
        (r"\.(mdb|lmdb|ldb|sst|rec|idx|bin|dat|distcp|t7|net|model|engine|plan|trt|tflite|mar|pyc|pyo|so|dll|o|a)$", "binary file"),
        (r"\.(mp4|avi|mov|mkv|webm|wav|mp3|ogg|flac)$", "video or audio"),
        (r"\.(png|jpe?g|gif|bmp|tiff?|webp|ico|svgz)$", "image"),
        (r"\.(zip|tar|tgz|gz|bz2|xz|zst|lz4|7z|rar)$", "archive"),
        (r"\.nsys-rep$|\.qdrep$|\.ncu-rep$", "NVIDIA profile"),
    )
)


def claims(source: SourceFile) -> float:
    """Sure of a magic number, likely where the content is binary and the name says what it is, plausible for any other binary file."""
    head = source.head
    if _LFS.match(head):
        return PLAUSIBLE
    if _PICKLE.match(head) and b"pg_config" in head:
        return LIKELY  # most likely a flight recorder's dump, which `error_files` reads
    if (found := _magic(source)) is not None:
        return LIKELY if found[0] in _SHORT or found[0] == _ZIP else SURE  # a zip may be somebody's own format
    if not _binary(head):
        return LIKELY if not head and _named(source) else NO
    return LIKELY if _named(source) else 0.3  # anybody who knows this kind of file knows better


def read(source: SourceFile, request: Request) -> Reading:
    """A note of what the file is and how large. Nothing in it is opened: a model file can run code when it is loaded."""
    reading = Reading(source.name, NAME)
    if pointer := _LFS.match(source.head):
        kind = _named(source) or "file"
        reading.notes.append(f"Git LFS pointer: the {kind} itself ({_size(int(pointer[1][:18]))}) was not downloaded")
        return reading
    found = _magic(source)
    kind = found[1] if found else _named(source) or "binary file"
    reading.notes.append(f"{kind}, {_size(source.size)}, not opened" if source.size else f"{kind}, empty (0 bytes): it was never written")
    return reading


def _magic(source: SourceFile) -> tuple[bytes, str] | None:
    head = source.head
    if head.startswith(_ZIP):
        return _ZIP, _ZIP_KINDS.get(source.suffix, "zip archive")
    if head[257:262] == b"ustar":
        return b"ustar", "tar archive"
    if _PICKLE.match(head):
        return b"\x80", "PyTorch checkpoint (pickle)" if source.suffix in (".pt", ".pth", ".ckpt", ".bin", ".tar") else "pickle"
    if kind := written_as_text(head):
        return b"{", kind
    if source.suffix == ".safetensors" and _SAFETENSORS.match(head):
        return b"{", "safetensors model"
    for magic, kind in _MAGIC:
        if head.startswith(magic) and (magic not in _SHORT or _binary(head)):
            return magic, kind
    return None


def written_as_text(head: bytes) -> str:
    """What a file is that looks like a document of numbers and is a model or a trace; "" for any other."""
    return next((kind for pattern, kind in _AS_TEXT if pattern.match(head)), "")


def _named(source: SourceFile) -> str:
    return next((kind for pattern, kind in _NAMED if pattern.search(source.name)), "")


def _binary(head: bytes) -> bool:
    """Whether bytes are no text in any usual encoding: NUL bytes that are not those of UTF-16 or UTF-32."""
    piece = head[:4096]
    if piece.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    nuls = piece.count(0)
    if not nuls:
        return False
    # UTF-16 text without a mark: (nearly) every second byte of western text is NUL, always the same one
    even, odd = piece[0::2].count(0), piece[1::2].count(0)
    return not (max(even, odd) > 0.8 * len(piece) / 2 and min(even, odd) < 0.05 * len(piece) / 2)


def _size(size: int) -> str:
    """A size in words: "123.4 MB"."""
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"
