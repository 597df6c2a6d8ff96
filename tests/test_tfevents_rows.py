"""Event files whose records repeat, or that are mostly pictures: the fast ways through a file against the plain reader."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from event_files import VERSION, WALL, event, five, plainly, points, read, record, scalar_bodies, simple, sized, source, tensor

from postmortem.parsers import _tfevents_chain as chains
from postmortem.parsers import _tfevents_frames as frames
from postmortem.parsers import _tfevents_table as tables
from postmortem.parsers import tfevents
from postmortem.parsers._tfevents_rows import Rows, _matches, repeated
from postmortem.parsers._tfevents_window import HEADER, Chunk, Window
from postmortem.parsers.base import Request


def regular(seed: int) -> list[bytes]:
    """What a training writes: the same few records step after step, sometimes with others in between."""
    dice = random.Random(seed)
    names = [f"{'abcdefgh'[number]}{'x' * dice.choice((0, 0, 9, 90))}" for number in range(dice.randrange(1, 8))]
    kinds = [dice.choice(("simple", "simple", "several", "blob", "timeless", "stepless", *scalar_bodies(1.0))) for _ in names]
    step, between = dice.choice((0, 100, 16_300, 2**21 - 90, 2**55 - 60)), dice.choice((0, 0, 0.02, 0.3))
    records = []
    for _ in range(dice.randrange(70, 350)):
        step += dice.choice((1, 1, 1, 7))
        for name, kind in zip(names, kinds, strict=True):
            value, wall = dice.choice((dice.gauss(0, 3), 0.0, float("nan"))), WALL + step % 1000 / 7
            if kind == "several":
                records.append(event(step, simple(name, value), simple(f"{name}/other", -value), wall=wall))
            elif kind == "blob":
                records.append(event(step, sized(0x0A, name.encode()) + sized(0x2A, dice.randbytes(300)), wall=wall))
            elif kind in ("simple", "timeless", "stepless"):
                records.append(event(0 if kind == "stepless" else step, simple(name, value), wall=None if kind == "timeless" else wall))
            else:
                records.append(event(step, tensor(name, scalar_bodies(value if value == value else 2.5)[kind]), wall=wall))
        if dice.random() < between:
            records.append(event(step, simple(dice.choice(("val/loss", "val/miou", names[0])), dice.random()), wall=WALL))
    return records


def damaged(records: list[bytes], dice: random.Random, share: float) -> bytes:
    """The records in a file, some of them with a wrong sum, broken inside a right sum, cut, or with bytes in front."""
    parts = [VERSION]
    for one in records:
        fate = dice.random() / share
        broken = bytearray(one)
        broken[dice.randrange(len(broken))] ^= 1 << dice.randrange(8)
        parts.append(
            record(bytes(broken)) if fate < 0.2
            else record(one)[:12] + bytes(broken) + record(one)[-4:] if fate < 0.5
            else record(one, spoil_data=1) if fate < 0.6
            else record(one, spoil_length=1) if fate < 0.7
            else record(one)[: dice.randrange(len(one))] if fate < 0.8
            else dice.randbytes(dice.randrange(99)) + record(one) if fate < 1
            else record(one)
        )  # fmt: skip
    return b"".join(parts)


@pytest.mark.parametrize("seed", range(30))
def test_repeating_records_are_read_as_the_plain_reader_reads_them(tmp_path: Path, seed: int) -> None:
    data = VERSION + b"".join(record(one) for one in regular(seed))
    reading = tfevents.read(source(tmp_path / "e.tfevents.1", data), Request())
    assert points(reading) == plainly(data)[0]
    assert reading.rejected == 0


@pytest.mark.parametrize("seed", range(30))
def test_repeating_records_with_damage(tmp_path: Path, seed: int) -> None:
    dice = random.Random(1000 + seed)
    data = damaged(regular(seed), dice, dice.choice((0.003, 0.03)))
    data = data[: dice.randrange(len(data) // 2, len(data))]
    reading = tfevents.read(source(tmp_path / "e.tfevents.1", data), Request())
    plain, dropped = plainly(data)
    assert points(reading) == plain
    assert sum(int(note.split(" ", 1)[0]) for note in reading.notes if " bad record" in note or "data CRC" in note) == dropped


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each table had."""
    seen: list[int] = []
    original = tables.read

    def spy(rows: Rows, tags: tables.Tags) -> tables.Table:
        seen.append(len(rows))
        return original(rows, tags)

    monkeypatch.setattr(tables, "read", spy)
    return seen


def test_rows_are_found_between_other_records(tmp_path: Path, rows_read: list[int]) -> None:
    """Two tags each step, a validation every seventh: all steps are rows of one table."""
    records = []
    for step in range(200, 500):
        records += [event(step, simple("loss", step / 7)), event(step, simple("train/lr", 1e-3))]
        records += [event(step, simple("validation/accuracy", 0.5))] if step % 7 == 0 else []
    data = VERSION + b"".join(map(record, records))
    reading = tfevents.read(source(tmp_path / "e.tfevents.1", data), Request())
    assert points(reading) == plainly(data)[0]
    assert rows_read == [300]


def test_tags_of_equal_length_are_told_apart(tmp_path: Path, rows_read: list[int]) -> None:
    """All records are equally long, so each is a row of its own: those of the second tag are read with a first row of their own."""
    dice = random.Random(3)
    records = [event(1000 + step, simple(dice.choice(("loss", "gain", "norm")), dice.random())) for step in range(900)]
    data = VERSION + b"".join(map(record, records))
    reading = tfevents.read(source(tmp_path / "e.tfevents.1", data), Request())
    assert points(reading) == plainly(data)[0] and len(reading.blocks) == 3
    assert len(rows_read) == 3 and rows_read[0] == 900 and sum(rows_read) > 1600


def test_a_wrong_sum_in_the_first_row_spoils_no_other(tmp_path: Path, rows_read: list[int]) -> None:
    records = [record(event(200 + step, simple("loss", step)), spoil_data=step in (0, 50)) for step in range(100)]
    reading = read(tmp_path, *records)
    assert reading.blocks[0].steps.tolist() == [200 + step for step in range(100) if step not in (0, 50)]
    assert reading.notes == ["2 record(s) with a wrong data CRC dropped (first: record 2)"]
    assert rows_read == [100]


def test_a_changed_tag_in_one_row_is_its_own_series(tmp_path: Path) -> None:
    records = [event(200 + step, simple("loss" if step != 70 else "lost", step)) for step in range(100)]
    reading = read(tmp_path, *map(record, records))
    assert [(block.raw_name, len(block.values)) for block in reading.blocks] == [("loss", 99), ("lost", 1)]
    assert reading.blocks[1].lines.tolist() == [72]


def test_a_step_that_runs_on_is_no_step_of_that_row(tmp_path: Path) -> None:
    """Inside a right sum, the last byte of one step says that the step goes on: a broken record, not a step."""
    records = [bytearray(event(200 + step, simple("loss", step))) for step in range(100)]
    records[60][11] |= 0x80
    reading = read(tmp_path, *(record(bytes(one)) for one in records))
    assert reading.blocks[0].steps.tolist() == [200 + step for step in range(100) if step != 60]
    assert reading.notes == ["1 bad record(s): no valid event inside a right CRC (first: record 62)"]


def test_pictures_beside_numbers_are_counted(tmp_path: Path, rows_read: list[int]) -> None:
    small = sized(0x0A, b"sample") + sized(0x22, bytes(50))
    reading = read(tmp_path, *(record(event(200 + step, simple("loss", step), small)) for step in range(100)))
    assert reading.rows == 100 and rows_read == [100]
    assert reading.notes == ["no numbers, skipped: 100 image"]


def test_pictures_between_the_tags_of_a_step(tmp_path: Path, rows_read: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture is stepped over, so the records around it lie side by side in memory; they are no row all the same."""
    monkeypatch.setattr(frames.RecordFile.chunks, "__defaults__", (30_000,))
    records = []
    for step in range(200, 400):
        records += [picture(40_000)] * (step % 50 == 25) + [event(step, simple("loss", step))]
        records += [picture(40_000)] * (step % 50 == 0) + [event(step, simple("train/lr", 1e-3))]
    data = VERSION + b"".join(map(record, records))
    reading = tfevents.read(source(tmp_path / "e.tfevents.1", data), Request())
    assert points(reading) == plainly(data)[0]
    assert rows_read and "no numbers, skipped: 8 image" in reading.notes


def test_settings_keep_the_order_of_the_file(tmp_path: Path, rows_read: list[int]) -> None:
    def told(number: int) -> bytes:
        return record(event(number, tensor("args", b"\x08\x07" + sized(0x42, b'{"seed": %d}' % number), b"text")))

    records = [told(200)] + [record(event(200 + step, simple("loss", step))) + told(201 + step) for step in range(80)] + [told(500)]
    found = [(setting.key, setting.value) for setting in read(tmp_path, *records).settings]
    assert found == [("seed", number) for number in (*range(200, 281), 500)] and rows_read == [80]


# ---------------------------------------------------------------------- finding rows


def chunk_of(lengths: list[int], gap_at: int = -1) -> Chunk:
    """Records of these lengths, zeros all; in front of one of them a byte that belongs to no record."""
    sizes = np.array(lengths) + 16
    starts = np.cumsum(sizes) - sizes + HEADER.size + (np.arange(len(sizes)) >= gap_at if gap_at >= 0 else 0)
    return Chunk(Window(int(sizes.sum()) + 1), starts, np.array(lengths), np.arange(1, len(lengths) + 1))


def test_a_row_has_no_gap() -> None:
    """A row begins anywhere in the pattern, so up to one row stands at either end of a piece in single records."""
    for gap_at, least in ((-1, 99), (151, 97)):
        chunk = chunk_of([40, 50, 60] * 100, gap_at)
        (rows,), rest = repeated(chunk)
        assert len(rows) >= least and 3 * len(rows) + rest.count == 300
        assert rows.records().starts.tolist() == chunk.starts[rows.records().lines - 1].tolist()
        assert sorted([*rows.records().lines.tolist(), *rest.lines.tolist()]) == list(range(1, 301))


def test_several_patterns_are_found_and_few_rows_are_left_alone() -> None:
    found, rest = repeated(chunk_of([40, 50] * 90 + [7] + [70, 80, 90] * 80))
    assert [len(rows.lengths) for rows in found] == [2, 3] and len(found[0]) >= 89 and len(found[1]) >= 79
    assert 7 in rest.lengths.tolist() and rest.count <= 1 + 2 + 3
    found, rest = repeated(chunk_of([*range(100, 150), *[9] * 30, *[40, 50] * 280]))  # where it is looked first, few repeat
    assert [rows.lengths.size for rows in found] == [2] and rest.count <= 82
    found, rest = repeated(chunk_of([40, 50] * 20))
    assert found == [] and rest.count == 40


def test_rows_do_not_overlap() -> None:
    assert _matches(chunk_of([1, 2, 1, 2, 1, 2, 1]), np.array([1, 2, 1])).tolist() == [0, 4]


# ---------------------------------------------------------------------- headers without a period


@pytest.mark.parametrize("seed", range(4))
def test_records_without_a_period(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of records in no order are found by their headers; a tag that holds a whole record is no record."""
    sifted: list[int] = []
    original = chains._sift
    monkeypatch.setattr(chains, "_sift", lambda *given: sifted.append(len(found := original(*given))) or found)
    dice = random.Random(seed)
    tags = ["".join(dice.choices("abcdefg/", k=dice.randrange(1, 60))).encode() for _ in range(90)]
    tags.append(b"x" + record(b"a record in a tag") * 2)
    shares = [1.0] * 90 + [0.0, 0.3, 0.3, 20][seed : seed + 1]
    records = [event(step, simple(dice.choices(tags, shares)[0], dice.random()), wall=WALL + step) for step in range(3000)]
    data = VERSION + b"".join(map(record, records))
    if seed == 2:
        data = data[:60_000] + b"\0" * 100 + data[60_001:]
    reading = tfevents.read(source(tmp_path / "e.tfevents.1", data), Request())
    assert points(reading) == plainly(data)[0]
    assert sum(sifted) > (500 if seed != 3 else 0)


# ---------------------------------------------------------------------- large records


def picture(size: int, key: int = 0x22) -> bytes:
    """An event with one image (or another blob) of so many bytes."""
    return event(1, sized(0x0A, b"sample") + sized(key, bytes(range(256)) * (size // 256)))


@pytest.mark.parametrize("capacity", [50_000, 300_000, 4 << 20])
def test_pictures_are_stepped_over(tmp_path: Path, capacity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers between pictures keep the numbers of their records; damage behind pictures is found at its place."""
    monkeypatch.setattr(frames.RecordFile.chunks, "__defaults__", (capacity,))
    dice, records, kinds = random.Random(capacity), [], Counter[int]()
    for step in range(300):
        records += [record(event(step, simple("loss", step)))] * dice.randrange(1, 5)
        if step % 3 == 0:
            size, key = dice.choice((900, 40_000, 90_000, 200_000)), dice.choice((0x22, 0x2A))
            records.append(record(picture(size, key)))
            kinds[key] += 1
    records.insert(dice.randrange(600), b"\0" * 77)
    records.insert(500, dice.randbytes(50))
    data = VERSION + b"".join(records)
    reading = tfevents.read(source(tmp_path / "e.tfevents.1", data[:-9]), Request())
    assert points(reading) == plainly(data[:-9])[0]
    assert f"no numbers, skipped: {kinds[0x2A]} histogram, {kinds[0x22]} image" in reading.notes
    garbage = len(VERSION) + sum(map(len, records[:500]))
    assert any(note.startswith("damaged: 50 bytes in 1 place(s)") and f"first at byte {garbage}," in note for note in reading.notes)
    assert any(note.startswith("77 zero bytes before record") for note in reading.notes)
    assert any(note.startswith(f"truncated: cut at byte {len(data) - 9}, inside record") for note in reading.notes)


@pytest.mark.parametrize("cut", [1, 30, 20_000, 99_000])
def test_a_cut_inside_a_picture_is_told(tmp_path: Path, cut: int) -> None:
    data = record(picture(100_000))
    reading = read(tmp_path, *five(), record(picture(70_000)), data[:-cut])
    start = (tmp_path / reading.file).stat().st_size - len(data) + cut
    assert reading.rows == 5 and reading.rejected == 1
    assert f"truncated: cut at byte {start + len(data) - cut}, inside record 8 that begins at byte {start}" in reading.notes


def test_pictures_alone_fill_windows(tmp_path: Path) -> None:
    """More than a window of large records: one picture each, which are stepped over, and two each, which are not."""
    two = event(1, *(sized(0x0A, b"sample") + sized(0x22, bytes(45_000)) for _ in range(2)))
    alone = read(tmp_path, *five(), record(picture(90_000)) * 100, five()[4])
    assert alone.rows == 6 and alone.notes == ["no numbers, skipped: 100 image"]
    both = read(tmp_path, *five(), record(two) * 100, five()[4])
    assert both.rows == 6 and both.notes == ["no numbers, skipped: 200 image"]


def test_a_long_text_is_no_picture(tmp_path: Path) -> None:
    words = b'{"note": "%s", "lr": 0.5}' % (b"long " * 20_000)
    text = event(0, tensor("args", b"\x08\x07" + sized(0x42, words), b"text"))
    reading = read(tmp_path, record(picture(5 << 20)), record(text))
    assert "no numbers, skipped: 1 image, 1 text" in reading.notes
    assert {setting.key: setting.value for setting in reading.settings}["lr"] == 0.5


def test_numbers_in_a_large_record_are_read(tmp_path: Path) -> None:
    """A picture with a number beside it, before it or behind it, is no picture alone, however large."""
    loss = simple("loss", 0.25)
    for size in (90_000, 5 << 20):
        large = sized(0x0A, b"sample") + sized(0x22, bytes(size))
        for values in ((large, loss), (loss, large)):
            reading = read(tmp_path, *five(), record(event(7, *values)))
            assert points(reading)["loss#0"] == [(7, 7, int(WALL * 1e6), "0.25")]
            assert reading.notes == ["no numbers, skipped: 1 image"]
