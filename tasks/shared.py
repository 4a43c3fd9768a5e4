"""What of a run goes into MLflow's artifact store, so that a machine that shares no disk with this one can go on from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from pt_core.bundle import Bundle, seal, staging
from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError
from pt_core.evaluation.report import EvaluationReport
from pt_core.keys import Keys
from pt_core.record import Record
from pt_core.signing import sign

RESULT = "run.json"
"""The whole RunResult of a run, in its folder and in its record."""
RECORD, CHECKPOINT, DATASET = "record", "checkpoint", "dataset"
"""Folders among the files of the parent run."""
EVALUATIONS = "evaluations"
"""Folder of the evaluations, each under its digest."""
MAX_SHARED_VARIABLE = "PT_PIPELINE_MAX_SHARED_MIB"
"""Environment variable: the largest dataset, and the largest evaluation, that goes along, in MiB."""
DEFAULT_MAX_SHARED_MIB = 64


class RunRecordInfo(Record):
    """What the manifest of a run's record says: the signature binds the result to the run that it was logged under."""

    run_name: str
    """Name of the run."""
    mlflow_run_id: str
    """Id of its parent run in MLflow."""
    checkpoint_digest: str = ""
    """Digest of the checkpoint that it made or started from; none in records of earlier versions."""


class RunRecord(RunRecordInfo, Bundle):
    """The record of a run on disk, with ``run.json`` in it, or of a training alone with no file."""


class Shared(NamedTuple):
    """One bundle that goes along."""

    name: str
    """Its folder among the files of the parent run."""
    bundle: Bundle
    """What and where it is."""


def max_shared_bytes() -> int:
    """Return the size up to which a dataset or an evaluation goes along.

    Raises:
        ConfigError: the environment variable holds no number.
    """
    given = os.environ.get(MAX_SHARED_VARIABLE, "")
    try:
        mib = float(given) if given else DEFAULT_MAX_SHARED_MIB
    except ValueError:
        mib = -1.0
    if not 0 <= mib < 2**40:
        raise ConfigError(f"{MAX_SHARED_VARIABLE}: {given!r}: expected a number of MiB, 0 or more")
    return int(mib * 2**20)


def evaluation_folder(digest: str) -> str:
    """Return the folder of an evaluation among the files of the parent run."""
    return f"{EVALUATIONS}/{digest[:12]}"


def seal_record(result: RunResult, folder: Path, keys: Keys) -> Bundle:
    """Write what a run found into a signed bundle in its folder: whoever trusts the key can go on from it elsewhere."""
    assert result.mlflow_run_id is not None
    info = RunRecordInfo(
        run_name=result.run_name,
        mlflow_run_id=result.mlflow_run_id,
        checkpoint_digest=result.checkpoint.digest,
    )
    with staging(folder) as scratch:
        (scratch / RESULT).write_text(result.model_dump_json(indent=2))
        return _seal(scratch, info, keys)


def seal_training(info: RunRecordInfo, folder: Path, keys: Keys) -> Bundle:
    """Write which checkpoint a training alone made into a signed bundle in a folder."""
    with staging(folder) as scratch:
        return _seal(scratch, info, keys)


def _seal(scratch: Path, info: RunRecordInfo, keys: Keys) -> Bundle:
    return seal(scratch, name=RECORD, kind="run", info=info, sign=lambda directory: sign(directory, keys))


def evaluations_of(result: RunResult) -> list[EvaluationReport]:
    """Return every evaluation of a run, the champion's last."""
    found = [variant.evaluation for variant in result.variants]
    found += [result.champion.evaluation] if result.champion else []
    return [one for one in found if one is not None]


def shared(result: RunResult) -> list[Shared]:
    """Return what goes along with a run besides its artifacts, which are logged models."""
    return [
        Shared(CHECKPOINT, result.checkpoint),
        Shared(DATASET, result.dataset),
        *(Shared(evaluation_folder(one.digest), one) for one in evaluations_of(result)),
    ]
