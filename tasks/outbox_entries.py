"""What a pipeline run writes to MLflow, as small records that can wait on disk and be sent again."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from pt_core.record import Record


class Opened(Record):
    """The first line of an outbox."""

    kind: Literal["opened"] = "opened"
    """What the line is."""
    tracking_uri: str
    """Address of the server that the entries are for, never with a password in it."""
    experiment: str
    """Name of the pipeline."""
    run_name: str
    """Name of the run."""


class OpenRun(Record):
    """Create a run: the parent of a pipeline run, or the child of a variant."""

    kind: Literal["open-run"] = "open-run"
    """What the line is."""
    id: str
    """Our own id; MLflow's is known only once it was created. It is a tag of the run, by which it is found again."""
    parent: str | None = None
    """The parent run; ``None`` for one that is none's child."""
    experiment: str = ""
    """Name of the experiment; of a child, where its parent's id tells it, nothing."""
    experiment_id: str = ""
    """Id of the experiment, where it is known."""
    artifact_location: str | None = None
    """Where a new experiment keeps its files; ``None`` lets the server decide."""
    name: str
    """Name of the run."""
    tags: dict[str, str]
    """What it is found by."""
    start_ms: int
    """When it began, in milliseconds since 1970."""


class Point(Record):
    """One point of a metric."""

    name: str
    """Name of the metric."""
    value: float
    """The number."""
    timestamp_ms: int
    """When it was found: part of what MLflow tells points apart by, so that a point sent twice is stored once."""
    step: int
    """The epoch, or the count of looks."""


class LogBatch(Record):
    """Log metrics, parameters and tags."""

    kind: Literal["log-batch"] = "log-batch"
    """What the line is."""
    id: str
    """Our own id."""
    run: str
    """The run, by our id or by MLflow's."""
    points: tuple[Point, ...] = ()
    """The metrics."""
    params: dict[str, str] = Field(default_factory=dict)
    """The parameters."""
    tags: dict[str, str] = Field(default_factory=dict)
    """The tags."""
    unless_step_of: str | None = None
    """Name of a metric: points at a step that another entry logged it at are left out."""
    model: str | None = None
    """The logged model that the points are bound to, by our id or by MLflow's."""
    dataset: tuple[str, str] | None = None
    """Name and digest of the dataset that the points are bound to."""


class LogInput(Record):
    """Say which dataset a run rests on."""

    kind: Literal["log-input"] = "log-input"
    """What the line is."""
    id: str
    """Our own id."""
    run: str
    """The run."""
    name: str
    """Name of the dataset."""
    digest: str
    """Its digest, as short as MLflow wants it."""
    source: str
    """Whole digests, as JSON."""
    profile: str
    """Sizes of its splits, as JSON."""
    context: str
    """What it is used for: train or test."""


class LogModel(Record):
    """Create a logged model that holds a bundle, byte for byte."""

    kind: Literal["log-model"] = "log-model"
    """What the line is."""
    id: str
    """Our own id; a tag of the model, by which it is found again."""
    run: str
    """The run that it comes from."""
    experiment_id: str = ""
    """Id of the experiment, where it is known."""
    name: str
    """Name of the model."""
    params: dict[str, str]
    """What it is."""
    tags: dict[str, str]
    """What it is found by."""
    bundle: str
    """Folder of the bundle in the store, where nothing ever changes."""


class LogFiles(Record):
    """Put the files of a folder among those of a run."""

    kind: Literal["log-files"] = "log-files"
    """What the line is."""
    id: str
    """Our own id."""
    run: str
    """The run."""
    folder: str
    """Where the files wait."""
    destination: str = ""
    """Their folder among the run's files; nothing is the root."""
    is_copy: bool = True
    """Whether the folder is the outbox's own, to be removed when it was sent."""


class LogRecord(Record):
    """Complete and sign the result of a run whose id nobody knew when it ended, and put it among the run's files."""

    kind: Literal["log-record"] = "log-record"
    """What the line is."""
    id: str
    """Our own id."""
    run: str
    """The run."""
    folder: str
    """The run's folder, with the result in it."""
    outbox: str
    """File of the outbox, which the warnings of the result name."""


class CloseRun(Record):
    """End a run."""

    kind: Literal["close-run"] = "close-run"
    """What the line is."""
    id: str
    """Our own id."""
    run: str
    """The run."""
    status: Literal["FINISHED", "FAILED", "KILLED"]
    """How it ended."""
    end_ms: int
    """When it ended, in milliseconds since 1970."""


class Done(Record):
    """MLflow has taken an entry."""

    kind: Literal["done"] = "done"
    """What the line is."""
    id: str
    """The entry."""
    run_id: str = ""
    """MLflow's id of the run that was created."""
    experiment_id: str = ""
    """Id of its experiment."""
    model_id: str = ""
    """MLflow's id of the logged model that was created."""
    again: bool = False
    """Whether it was sent more than once, so that the server may still create what nobody waits for any more."""


class Refused(Record):
    """MLflow will never take an entry."""

    kind: Literal["refused"] = "refused"
    """What the line is."""
    id: str
    """The entry."""
    reason: str
    """What MLflow said."""


Entry = OpenRun | LogBatch | LogInput | LogModel | LogFiles | LogRecord | CloseRun
"""Something to send."""
Line = Opened | Entry | Done | Refused
"""Something in an outbox."""

LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])

_LOCAL = "local-"


def new_id() -> str:
    """Return an id of our own."""
    return f"{_LOCAL}{uuid.uuid4().hex}"


def is_local(reference: str) -> bool:
    """Return whether an id is one of ours."""
    return reference.startswith(_LOCAL)
