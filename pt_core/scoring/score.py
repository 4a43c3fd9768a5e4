"""Score every row of an input in constant memory; what a killed call had finished is not done again."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.plugin import Predictor
from pt_core.child import report_progress
from pt_core.environment import core_code_digest, runtime_identity
from pt_core.errors import ConfigError, DataError
from pt_core.inference.postprocess import softmax
from pt_core.inference.predictor import batch_size, load_predictor
from pt_core.modeling.spec import ModelSpec
from pt_core.scoring.journal import Identity, Journal, folder_of, locked, remove
from pt_core.scoring.open_source import open_source
from pt_core.scoring.output import bad_rows_path, check_output, publish, refuse
from pt_core.scoring.parts import Stamp, score_table
from pt_core.scoring.requests import ScoreRequest, Scores, check_paths
from pt_core.scoring.source import Block, Source
from pt_core.scoring.values import NOT_FINITE, leave_out
from pt_core.scoring.writer import PartWriter

_MAX_BLOCK_ROWS = 2**14
_MAX_BLOCK_VALUES = 2**18
_REPORT_S = 0.2


def score(request: ScoreRequest) -> Scores:
    """Write the label and the probabilities of every row as one Parquet file.

    Answers are those of :func:`pt_core.inference.predict.predict`: the same rows make the same batches.

    Raises:
        DataError: the input cannot be read, changed meanwhile, or has rows that cannot be scored and are not to
            be skipped; all of those are in the side file that the message names.
        ConfigError: the output holds something else, or another process writes it.
        IntegrityError: the artifact's bytes are not what its manifest says.
    """
    started = time.monotonic()
    check_paths(Path(request.source), Path(request.output))
    source = open_source(Path(request.source), request.artifact.spec, id_column=request.id_column)
    stamp = source.stamp()
    identity = _identity(request, source)
    written = check_output(request, identity)
    if written is not None:
        _remove_left_over(folder_of(Path(request.output)))
        return _reply(request, written, num_resumed=written.num_rows + written.num_bad_rows, started=started)
    folder = folder_of(Path(request.output))
    with locked(folder):
        journal = Journal(folder, identity)
        num_resumed = journal.num_done
        _score_rest(request, source, journal)
        if source.stamp() != stamp:
            raise DataError(f"{request.source}: changed while it was scored; score it again")
        if request.bad_rows == "refuse" and journal.num_bad_rows:
            refuse(request, journal, source.blocks(start=journal.num_done, size=identity.block_size))
        written = publish(request, journal)
        remove(folder)
    return _reply(request, written, num_resumed=num_resumed, started=started)


def _remove_left_over(folder: Path) -> None:
    """Remove the parts of an output that is whole, where a kill left them; not those of who is at work."""
    if folder.exists():
        with contextlib.suppress(ConfigError), locked(folder):
            remove(folder)


def block_size(spec: ModelSpec) -> int:
    """Return how many rows are read at once, a multiple of :func:`batch_size`."""
    batch = batch_size(spec)
    rows = min(_MAX_BLOCK_ROWS, _MAX_BLOCK_VALUES // math.prod(spec.input_shape))
    return batch * max(1, rows // batch)


def _identity(request: ScoreRequest, source: Source) -> Identity:
    spec = request.artifact.spec
    return Identity(
        artifact_digest=request.artifact.digest,
        input_fingerprint=source.fingerprint(),
        id_column=request.id_column,
        batch_size=batch_size(spec),
        block_size=block_size(spec),
        code=core_code_digest(),
        runtime=runtime_identity(),
    )


def _score_rest(request: ScoreRequest, source: Source, journal: Journal) -> None:
    """Score what the journal lacks, up to the first block with a bad row if those are refused."""
    predictor = load_predictor(request.artifact)
    writer = PartWriter(journal, seconds=request.part_seconds)
    progress = _Progress(source.about_num_rows, writer.num_done)
    stops_early = request.bad_rows == "refuse"
    if not (stops_early and journal.num_bad_rows):
        for read in _ahead(source.blocks(start=journal.num_done, size=block_size(request.artifact.spec))):
            block, answers = answer(read, request.artifact, predictor)
            writer.add(block, answers)
            progress.report(writer.num_done)
            if stops_early and block.bad:
                break
    writer.close()
    progress.finish(writer.num_done)


def answer(block: Block, artifact: Artifact, predictor: Predictor) -> tuple[Block, pa.Table]:
    """Return the answers for the good rows, in batches that end where those of all rows would.

    A row for which the network's output is not finite has no answer: it is bad in the block that is returned.
    """
    size = batch_size(artifact.spec)
    counts = [int(block.good[start : start + size].sum()) for start in range(0, len(block.good), size)]
    cuts = np.cumsum([0, *counts])
    found = [
        predictor.logits(block.samples[start:stop])
        for start, stop in itertools.pairwise(cuts)
        if stop > start
    ]
    logits = np.concatenate([np.empty((0, len(artifact.labels)), np.float32), *found])
    finite = np.isfinite(logits).all(axis=1)
    block = leave_out(block, finite, reason=NOT_FINITE)
    answers = softmax(logits[finite])
    return block, score_table(block, answers, labels=artifact.labels, digest=artifact.digest)


def _ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """Yield blocks while the next one is being read."""
    with ThreadPoolExecutor(1) as reader:
        pending = reader.submit(next, blocks, None)
        while (block := pending.result()) is not None:
            pending = reader.submit(next, blocks, None)
            yield block


class _Progress:
    """Says how far it is, how fast it goes and how long it still takes."""

    def __init__(self, about_num_rows: int, num_done: int) -> None:
        self._total = about_num_rows
        self._first = num_done
        self._started = time.monotonic()
        self._next_s = 0.0
        self.report(num_done)

    def report(self, num_done: int) -> None:
        passed_s = time.monotonic() - self._started
        if passed_s < self._next_s:
            return
        self._next_s = passed_s + _REPORT_S
        total = max(self._total, num_done)
        report_progress(num_done, total, self._message(num_done, total, passed_s))

    def finish(self, num_done: int) -> None:
        rate = (num_done - self._first) / max(time.monotonic() - self._started, 1e-9)
        said = f", {rate:,.0f} rows/s" if rate else ""
        report_progress(num_done, max(num_done, 1), f"{num_done:,} rows{said}")

    def _message(self, num_done: int, total: int, passed_s: float) -> str:
        rate = (num_done - self._first) / max(passed_s, 1e-9)
        if not rate:
            return f"{num_done:,} of about {total:,} rows"
        left_s = round((total - num_done) / rate)
        return f"{num_done:,} rows, {rate:,.0f} rows/s, {left_s // 60}:{left_s % 60:02d} left"


def _reply(request: ScoreRequest, written: Stamp, *, num_resumed: int, started: float) -> Scores:
    seconds = time.monotonic() - started
    num_new = written.num_rows + written.num_bad_rows - num_resumed
    return Scores(
        output=request.output,
        bad_rows_file=str(bad_rows_path(Path(request.output))) if written.num_bad_rows else None,
        model=request.model or request.artifact.directory,
        bundle_digest=written.bundle_digest,
        format=request.artifact.format,
        labels=request.artifact.labels,
        num_rows=written.num_rows,
        num_bad_rows=written.num_bad_rows,
        num_resumed_rows=num_resumed,
        seconds=seconds,
        rows_per_second=num_new / seconds if num_new else None,
    )
