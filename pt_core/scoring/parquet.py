"""Source: the rows of a Parquet file, read by pages and never held whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pt_core.bundle import hash_file
from pt_core.data.encode import encode_cells
from pt_core.errors import DataError
from pt_core.modeling.spec import ModelSpec
from pt_core.scoring.columns import choose_columns
from pt_core.scoring.regroup import regroup
from pt_core.scoring.source import Block, file_stamp
from pt_core.scoring.values import make_block, problems_of

_BUFFER_BYTES = 2**20


class ParquetSource:
    """The rows of a Parquet file: columns of numbers, or those that the network was trained on."""

    def __init__(self, path: Path, spec: ModelSpec, id_column: str | None) -> None:
        """Read the file's schema.

        Raises:
            DataError: it is no Parquet file, or does not have the columns that the network takes.
        """
        self._path = path
        self._spec = spec
        with self._file() as file:
            schema, metadata = file.schema_arrow, file.metadata
        self._group_sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._columns = choose_columns(schema.names, spec, id_column=id_column, where=path)
        if spec.table is None:
            self._check_types(schema)

    def _check_types(self, schema: pa.Schema) -> None:
        types = [schema.field(at).type for at in self._columns.features]
        odd = [
            f"{name}: {type_}, expected numbers"
            for name, type_ in zip(self._columns.names, types, strict=True)
            if not _is_number(type_)
        ]
        if odd:
            raise DataError(f"{self._path}: {len(odd)} columns are no numbers", details=odd)

    @property
    def about_num_rows(self) -> int:
        """How many rows it has."""
        return sum(self._group_sizes)

    def fingerprint(self) -> str:
        """Return the file's SHA-256."""
        return hash_file(self._path)

    def stamp(self) -> str:
        """Return the file's size and time."""
        return file_stamp(self._path)

    def blocks(self, *, start: int, size: int) -> Iterator[Block]:
        """Yield the rows; groups of rows before ``start`` are not read."""
        ends = list(itertools.accumulate(self._group_sizes))
        groups = [number for number, end in enumerate(ends) if end > start]
        if not groups:
            return
        skipped = start - (ends[groups[0]] - self._group_sizes[groups[0]])
        first = start
        with self._file() as file:
            # Exactly so many rows each, wherever a reader may end a batch.
            for table in regroup(_after(file.iter_batches(size, row_groups=groups), skipped), size):
                yield self._block(table, first)
                first += table.num_rows

    def _block(self, table: pa.Table, first: int) -> Block:
        samples, problems = self._numbers(table) if self._spec.table is None else self._encode(table)
        return make_block(
            samples.reshape(-1, *self._spec.input_shape),
            problems,
            inputs=[self._path.name] * len(samples),
            rows=range(first, first + len(samples)),
            ids=None if self._columns.id is None else table.column(self._columns.id).combine_chunks(),
        )

    def _encode(self, table: pa.Table) -> tuple[NDArray[np.float32], dict[int, str]]:
        """Return raw rows as they were encoded for the training, and what is wrong with them."""
        assert self._spec.table is not None
        columns = zip(self._columns.names, self._columns.features, strict=True)
        cells = {name: table.column(at).to_pylist() for name, at in columns}
        found = encode_cells(cells, self._spec.table, where=str(self._path))
        return found.samples, found.problems

    def _numbers(self, table: pa.Table) -> tuple[NDArray[np.float32], dict[int, str]]:
        """Return rows of numbers, and what is wrong with them."""
        values = np.column_stack([_numbers(table.column(at)) for at in self._columns.features])
        with np.errstate(over="ignore"):
            samples = values.astype(np.float32)
        return samples, problems_of(samples, self._spec, self._columns.names)

    @contextmanager
    def _file(self) -> Iterator[pq.ParquetFile]:
        try:
            # Read page by page: a whole group of rows may be the whole file.
            with pq.ParquetFile(self._path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self._path}: not a readable Parquet file: {error}") from error


def _after(batches: Iterator[pa.RecordBatch], skipped: int) -> Iterator[pa.Table]:
    """Yield the batches as tables, without the first ``skipped`` rows."""
    for batch in batches:
        if skipped < batch.num_rows:
            yield pa.Table.from_batches([batch.slice(skipped)])
        skipped = max(0, skipped - batch.num_rows)


def _is_number(found: pa.DataType) -> bool:
    types = pa.types
    is_one = types.is_integer(found) or types.is_floating(found) or types.is_decimal(found)
    return bool(is_one or types.is_boolean(found))


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return a column as float64, NaN where it is null."""
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    wide = pc.cast(column, pa.float64(), safe=False)
    return np.asarray(wide.to_numpy(), dtype=np.float64)
