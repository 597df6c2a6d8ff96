"""Opens an SQLite database of somebody else: read-only, without touching locks or files beside it, and not for long."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    import sqlite3

MAGIC = b"SQLite format 3\0"
SECONDS = 20.0  # of work by one statement: a hostile view could run for ever
ALSO = (UnicodeDecodeError, OverflowError)  # what Python's sqlite3 raises besides its own errors, for names and numbers out of damage
_OPS = 100_000  # SQLite instructions between two looks at the clock


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read. Raises sqlite3.Error."""
    import sqlite3

    # immutable: no lock is taken and no journal is looked at, so that the run directory stays as it is
    address = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    connection = sqlite3.connect(address, uri=True, isolation_level=None)
    try:
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        _guard(connection)
        yield connection
    finally:
        connection.close()


def _guard(connection: sqlite3.Connection) -> None:
    """No functions from the schema, no writing, and an end after some seconds."""
    for pragma in ("trusted_schema = off", "query_only = on", "cell_size_check = on", "mmap_size = 0"):
        connection.execute(f"pragma {pragma}")
    end = time.monotonic() + SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > end, _OPS)


def rows(connection: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> Iterator[tuple]:
    """(row number, columns) of a table; a column that it does not have is None. Row numbers are SQLite's rowid where it has one."""
    import sqlite3

    there = {row[1] for row in connection.execute(f"pragma table_info({table})")}
    if not there:
        return
    wanted = ", ".join(column if column in there else "null" for column in columns)
    try:
        # "not indexed": an index has all columns too, but not in the order in which the rows were written
        cursor = connection.execute(f"select rowid, {wanted} from {table} not indexed")
    except sqlite3.OperationalError:  # a view or a table without rowid
        numbers = count(1)
        yield from ((next(numbers), *row[1:]) for row in connection.execute(f"select null, {wanted} from {table}"))
        return
    yield from cursor  # row by row: what stands before a damaged page is not lost with it


def journal_beside(path: Path) -> str:
    """A note where a write-ahead log lies beside a database; "" where none does."""
    there = path.with_name(path.name + "-wal").exists()
    return "a write-ahead log lies beside the database: its newest rows are not in this reading" if there else ""
