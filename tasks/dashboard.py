"""Where a tracked run is found again: MLflow deep links, and the command that opens the dashboard."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from pt_core.decision.result import Link
from pt_core.record import Record

DEFAULT_PORT = 5000

# MLflow opens in its GenAI mode, which hides training runs, unless the link says otherwise.
_WORKFLOW = {"workflowType": "machine_learning"}


class TrackedRun(Record):
    """A run in MLflow, by its ids."""

    tracking_uri: str
    """The store: sqlite:////absolute/path or http(s)://host, never with a password in it."""
    experiment_id: str
    """Id of the pipeline's experiment."""
    run_id: str
    """Id of the run; nothing while MLflow has not answered since it began."""
    local_id: str = ""
    """Our own id of a run that is written through an outbox."""
    outbox: str = ""
    """File of the outbox."""


class VariantTracking(Record):
    """A variant's child run and its logged model."""

    run_id: str
    """Id of the child run."""
    model_id: str | None
    """Id of the logged model; ``None`` for a variant that was not built."""


def links(
    run: TrackedRun, *, children: Sequence[VariantTracking] = (), dashboard: str | None = None
) -> tuple[Link, ...]:
    """Return the pages of a run, to be opened while :func:`dashboard_command` runs.

    Args:
        run: the parent run.
        children: its variants; with two or more that were built there is a link that compares their pictures.
        dashboard: address of the dashboard; ``None`` takes the tracking server itself, or the default
            local address for a database.
    """
    is_server = run.tracking_uri.startswith(("http://", "https://"))
    base = dashboard or (run.tracking_uri if is_server else f"http://127.0.0.1:{DEFAULT_PORT}")
    pages = f"{without_secrets(base).rstrip('/')}/#"
    if not run.run_id:
        # MLflow was away all the time; the run is there when its outbox was sent.
        return (Link(name="MLflow experiments", url=f"{pages}/experiments?{urlencode(_WORKFLOW)}"),)
    experiment = f"{pages}/experiments/{quote(run.experiment_id)}"
    # Nested runs stay hidden in the list unless it is sorted by a metric.
    by_accuracy = {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{run.run_id}'",
        "orderByKey": "metrics.`accuracy/accuracy`",
        "orderByAsc": "false",
        "compareRunsMode": "CHART",
        **_WORKFLOW,
    }
    over_time = {
        "searchFilter": "tags.role = 'pipeline'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": "true",
        "compareRunsMode": "CHART",
        **_WORKFLOW,
    }
    found = [
        Link(name="Variants side by side", url=f"{experiment}/models?{urlencode(_WORKFLOW)}"),
        Link(
            name="Charts of the variants", url=f"{experiment}/runs?{urlencode(by_accuracy, quote_via=quote)}"
        ),
        Link(name="Runs over time", url=f"{experiment}/runs?{urlencode(over_time, quote_via=quote)}"),
        Link(name="This run", url=f"{experiment}/runs/{quote(run.run_id)}?{urlencode(_WORKFLOW)}"),
    ]
    built = [child.run_id for child in children if child.model_id]
    if len(built) > 1:
        chosen = {"runs": json.dumps(built), "experiments": json.dumps([run.experiment_id]), **_WORKFLOW}
        query = urlencode(chosen, quote_via=quote)
        found.append(Link(name="Pictures side by side", url=f"{pages}/compare-runs?{query}"))
    return tuple(found)


def dashboard_command(tracking_uri: str, *, port: int = DEFAULT_PORT) -> str:
    """Return the shell command that opens the dashboard on a database, on this machine only.

    One worker without the job runner: MLflow's default starts 15 processes and takes 2.4 GiB.
    """
    server = f"mlflow server --backend-store-uri {shlex.quote(without_secrets(tracking_uri))}"
    return f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {server} --host 127.0.0.1 --port {port} --workers 1"


def without_secrets(text: str) -> str:
    """Return the text with the ``user:password@`` of every address in it taken out."""
    return re.sub(r"(\w+://)[^/@\s]+@", r"\1", text)
