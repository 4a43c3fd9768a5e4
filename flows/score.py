"""Scoring as a Prefect flow: a folder of images or a table in, one Parquet file of answers out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.config import LimitsConfig
from flows.ending import ending
from flows.home import Home, activate
from flows.serving import open_model
from flows.store_lock import store_in_use
from pt_core.isolation import stop_all
from pt_core.limits import Limits
from pt_core.scoring.requests import BadRowPolicy, ScoreRequest, Scores
from tasks.score import score as score_task


@flow(name="score")
def score(
    model: str,
    source: str,
    output: str,
    bad_rows: BadRowPolicy = "refuse",
    id_column: str | None = None,
    overwrite: bool = False,
    timeout_s: float = 86_400,
    memory_gib: float | None = None,
    trust_unsigned: tuple[str, ...] = (),
) -> Scores | State[Any]:
    """Answer for every row of an input: its label, the probability of each class, and the digest of what answered.

    A call that was interrupted is repeated with the same parameters and goes on where it was. It fails with a sentence
    where the model, the input or the output is refused, or the process ended early.

    Args:
        model: models:/NAME@champion, models:/NAME/3, or the folder of a release or an artifact.
        source: a folder of images, or a .csv, .parquet or .npy file.
        output: the .parquet file to write.
        bad_rows: refuse an input with rows that cannot be scored, or skip them into a side file.
        id_column: column of a table that names its rows: copied to the output, no input of the network.
        overwrite: whether an output of something else is replaced.
        timeout_s: seconds after which it is stopped.
        memory_gib: memory above which it is stopped, in GiB; null is nine tenths of what this machine has.
        trust_unsigned: names or digests of bundles to load though no trusted key signed them.
    """
    return ending(
        lambda: scored(
            activate(None),
            model,
            source,
            output,
            bad_rows=bad_rows,
            id_column=id_column,
            overwrite=overwrite,
            limits=LimitsConfig(step_timeout_s=timeout_s, step_memory_gib=memory_gib).for_step(),
            trust_unsigned=trust_unsigned,
        )
    )


def scored(
    home: Home,
    model: str,
    source: str,
    output: str,
    *,
    bad_rows: BadRowPolicy,
    id_column: str | None,
    overwrite: bool,
    limits: Limits,
    trust_unsigned: tuple[str, ...],
) -> Scores:
    """Answer as the flow does, in a home and within limits.

    Raises:
        PtCoreError: the model, the input or the output is refused, or the process ended early.
    """
    # The model is not removed while it answers.
    with store_in_use(home):
        served = open_model(model, home, trust=home.trust(trust_unsigned))
        request = ScoreRequest(
            artifact=served.artifact,
            model=served.name,
            source=str(Path(source).absolute()),
            output=str(Path(output).absolute()),
            bad_rows=bad_rows,
            id_column=id_column,
            overwrite=overwrite,
        )
        try:
            return score_task(request, limits)
        except BaseException:
            # The thread that waits for a child never sees an interrupt: without this the child would work on.
            stop_all()
            raise
