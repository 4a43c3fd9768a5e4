"""Write a pipeline run into MLflow: into a database at once, to a server through the run's outbox."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.bundle import open_bundle
from pt_core.data.dataset import Dataset
from pt_core.decision.compare import comparison_rows
from pt_core.decision.result import RunResult, VariantResult
from pt_core.decision.tables import to_csv
from pt_core.errors import ConfigError
from pt_core.keys import DEFAULT_HOME, HOME_VARIABLE
from tasks import tracking_entries as build
from tasks import tracking_fields as fields
from tasks.dashboard import TrackedRun, VariantTracking, without_secrets
from tasks.mlflow_settings import check_uri
from tasks.outbox import FOLDER, open_outbox, patience_s
from tasks.outbox_direct import send_directly
from tasks.outbox_entries import CloseRun, Done, Entry, LogFiles, LogRecord, Opened, is_local, new_id
from tasks.outbox_refusal import describe, lacks_credentials
from tasks.outbox_run import Outbox

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

logger = logging.getLogger(__name__)

_open: dict[str, Outbox] = {}
"""The outboxes that this process is the owner of, by their files."""


class Flushed(NamedTuple):
    """What is known of a run when all was sent that can be sent."""

    run: TrackedRun
    """The run, with MLflow's ids where they are known."""
    children: tuple[VariantTracking, ...]
    """Its variants whose ids are known."""
    warnings: tuple[str, ...]
    """What waits on, in one sentence; nothing where MLflow has it all."""


def start_run(
    tracking_uri: str,
    *,
    experiment: str,
    run_name: str,
    artifact_root: str,
    tags: Mapping[str, str],
    home: Path | None = None,
) -> TrackedRun:
    """Start the parent run of a pipeline run, in the experiment of its name, which is made if needed.

    Args:
        tracking_uri: sqlite:////absolute/path or http(s)://host. A server may be away: the run is created when it is
            back, and has no id until then.
        experiment: name of the pipeline.
        run_name: name of the run.
        artifact_root: folder for files, used with a database only; a server decides itself.
        tags: what to find the run by; passwords in addresses are taken out.
        home: where the outbox is kept; this process's home if left out.

    Raises:
        ConfigError: the address is of another kind, or holds a password, or the server wants to know who asks.
    """
    check_uri(tracking_uri)
    is_server = tracking_uri.startswith("http")
    entry = build.parent_run(
        run_name, experiment=experiment, artifact_root=None if is_server else artifact_root, tags=tags
    )
    run = TrackedRun(tracking_uri=tracking_uri, experiment_id="", run_id="")
    if not is_server:
        done = send_directly(tracking_uri, [entry])[entry.id]
        return run.model_copy(update={"run_id": done.run_id, "experiment_id": done.experiment_id})
    # A wrong number is told now and not when the run has ended.
    patience_s()
    opened = Opened(tracking_uri=tracking_uri, experiment=experiment, run_name=run_name)
    outbox = open_outbox((home or _home()) / FOLDER, opened)
    _open[str(outbox.path)] = outbox
    outbox.append(entry)
    outbox.wait()
    if outbox.problem and lacks_credentials(outbox.problem):
        _forget(outbox)
        raise ConfigError(
            f"MLFLOW_TRACKING_URI: {without_secrets(tracking_uri)} refuses who asks: {describe(outbox.problem)}; set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    return known(run.model_copy(update={"local_id": entry.id, "outbox": str(outbox.path)}))


def _forget(outbox: Outbox) -> None:
    """Give an outbox up: nothing of it was sent."""
    del _open[str(outbox.path)]
    outbox.path.unlink()
    outbox.close()


def known(run: TrackedRun) -> TrackedRun:
    """Return a run with MLflow's ids, if it began while MLflow was away and they are known by now."""
    outbox = _open.get(run.outbox)
    done = outbox.known.get(run.local_id) if outbox else None
    return (
        run.model_copy(update={"run_id": done.run_id, "experiment_id": done.experiment_id}) if done else run
    )


def log_checkpoint(run: TrackedRun, checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Log what was trained on what: parameters, every epoch's metrics, the dataset, digests as tags.

    Of a training that started from a checkpoint, every tensor that was or was not loaded is in ``warm_start.json``.
    """
    reference = _reference(run)
    entries: list[Entry] = [
        build.training(reference, checkpoint, dataset),
        build.dataset_input(reference, dataset, context="train"),
    ]
    if checkpoint.warm_start:
        files = {"warm_start.json": checkpoint.warm_start.to_json().encode()}
        entries.append(build.files(reference, files, folder=_waiting_room(run)))
    _deliver(run, *entries)


def log_figures(run: TrackedRun, figures: Mapping[int, Mapping[str, float]]) -> None:
    """Log the figures of some steps, by the step, while the run goes on; waits for no server."""
    _deliver(run, build.figures(_reference(run), figures), waits=False)


def log_variant(
    run: TrackedRun, variant: VariantResult, dataset: Dataset, *, pictures: Mapping[str, bytes]
) -> VariantTracking:
    """Log one variant as a child run and, if it was built, as a logged model with the bundle's files.

    Args:
        run: the parent run.
        variant: what was found.
        dataset: what it was measured on; every metric is bound to it.
        pictures: file name to bytes; the names are the same for every variant and without a folder,
            because MLflow compares only files at the root.

    Raises:
        IntegrityError: the artifact's files are missing or damaged.
    """
    if variant.artifact:
        open_bundle(Path(variant.artifact.directory), kind="artifact")
    child, model, entries = build.variant_run(
        variant,
        dataset,
        parent=_reference(run),
        experiment_id=run.experiment_id,
        pictures=pictures,
        folder=_waiting_room(run),
    )
    done = _deliver(run, *entries)
    return _known_variant(VariantTracking(run_id=child.id, model_id=model.id if model else None), done)


def log_result(run: TrackedRun, result: RunResult, files: Sequence[Path]) -> None:
    """Log the outcome on the parent run: comparison table, the given files at the root, the winner's metrics."""
    rows = comparison_rows(result)
    tables = {
        "comparison.json": fields.split_json(rows).encode(),
        "comparison.csv": to_csv(rows).encode(),
    }
    winner = next((variant for variant in result.variants if variant.name == result.winner), None)
    tags = {
        "winner": result.winner or "none",
        "champion": result.champion.name.removeprefix("champion ") if result.champion else "none",
        "verdict": "pass" if winner else "fail",
        fields.SETTLED: str(fields.is_settled(result)).lower(),
        "mlflow.note.content": result.sentence,
        # The tag by which MLflow finds tables to load and to show in its evaluation tab.
        "mlflow.loggedArtifacts": json.dumps([{"path": "comparison.json", "type": "table"}]),
    }
    figures = fields.variant_metrics(winner) if winner else {}
    contents = {**tables, **{path.name: path.read_bytes() for path in files}}
    _deliver(
        run,
        build.files(_reference(run), contents, folder=_waiting_room(run)),
        build.figures(_reference(run), {0: figures}, tags=tags),
    )


def log_bundle(run: TrackedRun, directory: str, name: str) -> None:
    """Keep a bundle among the files of a run, byte for byte, so that a machine without this disk can fetch it.

    Args:
        run: the run.
        directory: the bundle; its files stay where they are, and are never written again.
        name: its folder among the run's files.

    Raises:
        IntegrityError: its files are missing or damaged.
    """
    open_bundle(Path(directory))
    entry = LogFiles(id=new_id(), run=_reference(run), folder=directory, destination=name, is_copy=False)
    _deliver(run, entry)


def log_record_later(run: TrackedRun, folder: str) -> None:
    """Sign the result in a run's folder, and keep it among the files of the run, as soon as the run has an id."""
    _deliver(run, LogRecord(id=new_id(), run=_reference(run), folder=folder, outbox=run.outbox))


def flush(run: TrackedRun, children: Sequence[VariantTracking] = ()) -> Flushed:
    """Wait until MLflow has what was logged, with patience for a server that is away; return what is known then."""
    outbox = _open.get(run.outbox)
    if outbox is None:
        return Flushed(run, tuple(children), ())
    warnings = () if outbox.drain(patience_s()) else (_waits(outbox),)
    found = [_known_variant(child, outbox.known) for child in children]
    complete = tuple(
        child for child in found if not is_local(child.run_id) and not is_local(child.model_id or "")
    )
    return Flushed(known(run), complete, warnings)


def finish_run(run: TrackedRun, status: RunStatus) -> TrackedRun:
    """Close the parent run, so that it does not stay RUNNING for ever; return it with the ids that are known now."""
    closing = CloseRun(id=new_id(), run=_reference(run), status=status, end_ms=build.now_ms())
    outbox = _open.get(run.outbox)
    if outbox is None:
        _deliver(run, closing)
        return run
    try:
        outbox.append(closing)
        run, _, warnings = flush(run)
        for sentence in warnings:
            logger.warning("%s", sentence)
    finally:
        outbox.close()
        del _open[run.outbox]
    return run


def _waits(outbox: Outbox) -> str:
    return (
        f"MLflow at {without_secrets(outbox.tracking_uri)} {outbox.why}: {outbox.num_left} entries of this run wait "
        f"in {outbox.path}; the next run sends them, or pt-pipeline maintenance"
    )


def _deliver(run: TrackedRun, *entries: Entry, waits: bool = True) -> Mapping[str, Done]:
    """Send entries, or hand them to the outbox; return what is known to have become of entries."""
    outbox = _open.get(run.outbox)
    if outbox is None:
        return send_directly(run.tracking_uri, entries)
    outbox.append(*entries)
    if waits:
        outbox.wait()
    return outbox.known


def _reference(run: TrackedRun) -> str:
    return run.local_id if run.outbox in _open else run.run_id


def _known_variant(child: VariantTracking, done: Mapping[str, Done]) -> VariantTracking:
    run, model = done.get(child.run_id), done.get(child.model_id or "")
    return VariantTracking(
        run_id=run.run_id if run else child.run_id, model_id=model.model_id if model else child.model_id
    )


def _waiting_room(run: TrackedRun) -> Path:
    """Return a folder for files until they are sent."""
    outbox = _open.get(run.outbox)
    return outbox.files / uuid.uuid4().hex if outbox else Path(tempfile.mkdtemp(prefix="pt-mlflow-"))


def _home() -> Path:
    return Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).resolve()
