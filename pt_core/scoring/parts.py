"""The Parquet of scores: tables of answers, parts of them, and one file made of all parts."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pt_core.files import write_bytes_atomically
from pt_core.record import Record
from pt_core.scoring.regroup import regroup
from pt_core.scoring.requests import BadRow
from pt_core.scoring.source import Block

METADATA = b"pt_pipeline.scores"
"""Key in an output's metadata, of a :class:`Stamp` as JSON."""
_GROUP_VALUES = 2**20
_GROUP_ROWS = 2**16


class Stamp(Record):
    """What an output says about itself."""

    identity: str
    """Digest of what its answers depend on."""
    bundle_digest: str
    """Digest of the artifact that answered."""
    num_rows: int
    """Rows that were scored."""
    num_bad_rows: int
    """Rows that were left out."""


def score_table(
    block: Block, probabilities: NDArray[np.float64], *, labels: Sequence[str], digest: str
) -> pa.Table:
    """Return the answers for the good rows of a block; columns as the command's help lists them.

    Args:
        block: the rows.
        probabilities: (num_good, num_classes), each row summing to 1.
        labels: name of each class.
        digest: of the artifact that answered.
    """
    best = probabilities.argmax(axis=1)
    named = pa.DictionaryArray.from_arrays(pa.array(best, pa.int32()), pa.array(labels, pa.string()))
    columns = {
        "input": pa.array(block.inputs, pa.string()).filter(pa.array(block.good)),
        "row": pa.array(np.asarray(block.rows, dtype=np.int64)[block.good]),
        **({} if block.ids is None else {"id": block.ids.filter(pa.array(block.good))}),
        "label": named.cast(pa.string()),
        "probability": pa.array(probabilities[np.arange(len(best)), best]),
        **{f"probability_{label}": pa.array(probabilities[:, at]) for at, label in enumerate(labels)},
        "bundle_digest": pa.repeat(pa.scalar(digest), len(best)),
    }
    return pa.table(columns)


def bad_lines(rows: Iterable[BadRow]) -> str:
    """Return rows that cannot be scored as lines of CSV: input, row, reason."""
    text = io.StringIO()
    csv.writer(text).writerows((row.input, row.row, row.reason) for row in rows)
    return text.getvalue()


def write_part(path: Path, tables: Sequence[pa.Table]) -> None:
    """Write tables as one durable file; it exists whole or not at all."""
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables(tables), buffer)
    write_bytes_atomically(path, buffer.getvalue())


def assemble(output: Path, parts: Sequence[Path], stamp: Stamp) -> None:
    """Write all parts as one durable file, which takes its name only when it is whole.

    Its groups of rows are of one size wherever the parts were cut, so that an output that was
    interrupted has the bytes of one that was not.
    """
    schema = pq.read_schema(parts[0]).with_metadata({METADATA: stamp.to_json().encode()})
    rows = max(1, min(_GROUP_ROWS, _GROUP_VALUES // len(schema)))
    with (
        published(output) as partial,
        pq.ParquetWriter(partial, schema, write_page_checksum=True) as writer,
    ):
        for table in regroup((pq.read_table(part) for part in parts), rows):
            writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=rows)


def read_stamp(output: Path) -> Stamp | None:
    """Return what an output says about itself, ``None`` where it is not a whole one of this version, all of it read."""
    try:
        with pq.ParquetFile(output, page_checksum_verification=True) as file:
            stamp = Stamp.from_json((file.schema_arrow.metadata or {})[METADATA])
            num_rows = sum(batch.num_rows for batch in file.iter_batches())
            return stamp if num_rows == stamp.num_rows else None
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None


@contextmanager
def published(output: Path) -> Iterator[Path]:
    """Yield a path to write to; afterwards it is flushed to disk and takes the output's name."""
    partial = output.with_name(f".{output.name}.partial")
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(output)
        parent = os.open(output.parent, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    finally:
        partial.unlink(missing_ok=True)
