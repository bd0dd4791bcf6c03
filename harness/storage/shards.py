"""A shard's file: the rows of some samples of one job, with a header that names the samples and what made the rows.

It is named by the SHA-256 of its bytes. So a file that was cut or altered no longer matches its name, two different
files with the same samples never overwrite each other, and shards may be copied from one run's folder to another's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from harness.storage.rows import table
from harness.structures import Record

_SAMPLES, _PARTS, _CODE, _GIVEN_UP = b"harness.samples", b"harness.parts", b"harness.code", b"harness.given_up"
_WORDS = b"harness.words"


@dataclass(frozen=True)
class Header:
    """The header of a shard.

    Attributes:
        samples: The ids of the samples that it is complete for. A sample without instances has no row, but is named.
        parts: The fingerprints of everything that made its rows: the `parts` of its `JobFacts`.
        code: The hashes of the plugins' code that made its rows; empty if they were not noted.
        given_up: Whether its rows are failed ones of an image on which workers died. The next start tries it again.
        words: Sample -> two numbers about the words of its prompts: how many the method does not know, and how many it
            reads. Empty for a method without a vocabulary of its own.
    """

    samples: tuple[str, ...]
    parts: Mapping[str, str]
    code: Mapping[str, str] = field(default_factory=dict)
    given_up: bool = False
    words: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def made_by(self, parts: Mapping[str, str]) -> bool:
        """Whether its rows were made by these parts."""
        return not changed(self.parts, parts)

    def edited(self, code: Mapping[str, str]) -> list[str]:
        """The plugins that were edited between its rows and this code."""
        return [plugin for plugin in changed(self.code, code) if plugin in self.code]


def changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The parts that are not as they were."""
    return [part for part, value in now.items() if then.get(part) != value]


def packed(rows: pa.Table, header: Header) -> pa.Buffer:
    """The bytes of a shard's file."""
    parts, code = json.dumps(dict(header.parts)), json.dumps(dict(header.code))
    said: dict[bytes, str | bytes] = {_SAMPLES: json.dumps(header.samples), _PARTS: parts, _CODE: code}
    if header.words:
        said[_WORDS] = json.dumps(dict(header.words))
    return parquet(rows.replace_schema_metadata(said | ({_GIVEN_UP: b"true"} if header.given_up else {})))


def shard(records: Sequence[Record], metrics: Sequence[str], header: Header) -> pa.Buffer:
    """The bytes of a finished shard's file."""
    return packed(table(records, metrics), header)


def parquet(rows: pa.Table) -> pa.Buffer:
    """A table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    return sink.getvalue()


def name_of(content: bytes | pa.Buffer) -> str:
    """The name of a shard's file."""
    # 128 of the 256 bits: two shards would share a name by chance after some 10^19 of them, and the name stays
    # legible.
    return f"{hashlib.sha256(content).hexdigest()[:32]}.parquet"


def is_name(file: str) -> bool:
    """Whether a file is named like a shard; any other file in the folder is left alone."""
    return re.fullmatch(r"[0-9a-f]{32}\.parquet", file) is not None


def header_of(file: Any) -> Header:
    """Read the header of a shard's file.

    Args:
        file: Anything that pyarrow reads Parquet from.

    Raises:
        ValueError: It is no whole shard.
    """
    try:
        # Parquet keeps its schema at the file's end. A file that was cut off has none, so this alone tells a whole
        # shard from a part, and the rows need not be read.
        said = pq.read_schema(file).metadata
        samples, parts, code = (
            json.loads(said[_SAMPLES]),
            json.loads(said[_PARTS]),
            json.loads(said.get(_CODE, b"{}")),
        )
        return Header(tuple(samples), parts, code, _GIVEN_UP in said, json.loads(said.get(_WORDS, b"{}")))
    except (pa.ArrowException, KeyError, TypeError, OSError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The disk failed; the file may be whole.
        raise ValueError(f"no shard: {' '.join(str(error).split())}") from error


def rows_of(content: bytes, columns: pa.Schema | None = None) -> pa.Table:
    """All rows of a shard's file.

    Args:
        content: The file's bytes.
        columns: The columns to read, all by default; one that the file does not have is null, and `draw` is 0.

    Raises:
        ValueError: They cannot be read.
    """
    try:
        # Threads of Arrow's keep memory for themselves.
        rows = pq.read_table(pa.BufferReader(content), schema=columns, use_threads=False)
        if columns is not None and "draw" in columns.names:  # Early shards lack the column: they have one draw each.
            at = columns.get_field_index("draw")
            rows = rows.set_column(at, columns.field(at), pyarrow.compute.fill_null(rows["draw"], 0))
        return rows.replace_schema_metadata()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def of_samples(rows: pa.Table, samples: set[str]) -> pa.Table:
    """The rows of some samples."""
    return rows.filter(pa.compute.is_in(rows["image_id"], pa.array(sorted(samples), pa.string())))
