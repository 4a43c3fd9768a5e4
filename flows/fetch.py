"""Bring a finished run, or a checkpoint, from MLflow's artifact store into this home, which shares no disk with its maker."""

from __future__ import annotations

import logging
import re
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from flows.home import FETCHED, Home
from flows.rebase import rebased
from flows.store_lock import store_in_use
from pt_core.artifacts.artifact import open_artifact
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.artifacts.guard import signed_or_named, vouch, vouch_for_checkpoint
from pt_core.bundle import Bundle, BundleKind, is_intact, open_bundle, read_info, staging
from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError, IntegrityError
from pt_core.files import write_text_atomically
from pt_core.keys import Trust
from pt_core.manifest import Manifest, first_problem, is_digest
from pt_core.signing import check_signature
from tasks.dashboard import without_secrets
from tasks.fetched import Vouch, fetch_bundle, fetch_listed, fetch_manifest
from tasks.shared import (
    CHECKPOINT,
    DATASET,
    RECORD,
    RESULT,
    RunRecord,
    evaluation_folder,
    evaluations_of,
)
from tasks.stored import StoredRun, find_run, list_files, model_files

logger = logging.getLogger(__name__)

_CHECKPOINT_URI = re.compile(r"runs:/(?P<run>[^/]+)/" + CHECKPOINT)
_REQUIRED = ("checkpoint", "artifact")
"""What every run keeps in MLflow, however large."""
_MAX_RESULT_BYTES = 64 * 2**20
"""Bound on a result, which is fetched before its signature can be looked at."""


def fetch_run(home: Home, name: str) -> RunResult:
    """Return a finished run by its name or its MLflow id, its record and all its bundles being in this home afterwards.

    The record is signed, and names the digest of every bundle; each is verified before it gets its final name. A run
    that the home has is left as it is, but for bundles that are gone. A dataset too large to go along stays away.

    Raises:
        ConfigError: MLflow has no such run, or the run did not end with a record.
        IntegrityError: MLflow holds other bytes than the run left, or nobody who is trusted here signed them.
        StepFailed: MLflow did not answer.
    """
    stored = find_run(home.tracking_uri, name)
    # Until the run is listed here, nothing says that its bundles are in use.
    with store_in_use(home):
        return _fetch_run(home, stored)


def _fetch_run(home: Home, stored: StoredRun) -> RunResult:
    folder = home.runs / stored.name
    is_here = (folder / RESULT).is_file()
    found = _read_own(folder / RESULT, stored) if is_here else _fetch_record(home, stored)[1]
    if found is None:
        raise ConfigError(
            f"{stored.name}: is a training alone; its checkpoint is runs:/{stored.name}/{CHECKPOINT}"
        )
    result = rebased(found, home)
    _bring(home, stored, result)
    if not (folder / RESULT).is_file():
        # The last: a run that is listed here is whole.
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FETCHED).touch()
        write_text_atomically(folder / RESULT, result.model_dump_json(indent=2))
        logger.info(
            "fetched the run %s from the MLflow at %s", stored.name, without_secrets(home.tracking_uri)
        )
    return result


def missing_bundles(result: RunResult) -> list[str]:
    """Return the bundles of a run that are gone from this home, or damaged, by the folders that they should have."""
    return [
        bundle.directory
        for bundle in _bundles(result)
        if not is_intact(Path(bundle.directory), bundle.digest)
    ]


def fetch_checkpoint(home: Home, named: str) -> Checkpoint:
    """Return the checkpoint of a run, named ``runs:/RUN/checkpoint``, in this home.

    Raises:
        ConfigError: MLflow has no such run, or the run kept no checkpoint there.
        IntegrityError: it holds another one than the run made, or nobody who is trusted here signed it.
        StepFailed: MLflow did not answer.
    """
    parts = _CHECKPOINT_URI.fullmatch(named)
    if parts is None:
        raise ConfigError(f"{named}: expected runs:/RUN/checkpoint, with the name or the MLflow id of a run")
    stored = find_run(home.tracking_uri, parts["run"])
    # MLflow's tags name one too, which whoever may write there changes to that of another run.
    digest = _fetch_record(home, stored)[0].checkpoint_digest
    if not is_digest(digest):
        raise ConfigError(
            f"{stored.name}: its record names no checkpoint, an earlier version made it; train again"
        )
    source = _kept(home, stored, CHECKPOINT)
    bundle = fetch_bundle(
        home.tracking_uri,
        source,
        store=Path(home.store),
        name=f"{CHECKPOINT}-{digest[:12]}",
        kind="checkpoint",
        digest=digest,
        vouch=partial(_signed, trust=home.trust()),
    )
    return _as_checkpoint(Path(bundle.directory))


def _fetch_record(home: Home, stored: StoredRun) -> tuple[RunRecord, RunResult | None]:
    """Return what a run found, as it was signed: nothing of it is read before its bytes and its signature are.

    A training alone has no result.
    """
    source = _kept(home, stored, RECORD)
    with staging(Path(home.store)) as scratch:
        folder = scratch / RECORD
        folder.mkdir()
        manifest, _ = fetch_manifest(home.tracking_uri, source, folder)
        _check_record(manifest, source)
        bundle = fetch_listed(home.tracking_uri, source, manifest, folder)
        _check_signature(folder, stored, trusted=Path(home.keys.trusted))
        record = read_info(bundle, manifest, RunRecord)
        result = _read(folder / RESULT) if manifest.files else None
    bound = (record.run_name, record.mlflow_run_id)
    told = (result.run_name, result.mlflow_run_id) if result else bound
    if bound != told or bound != (stored.name, stored.run_id):
        raise IntegrityError(
            f"{without_secrets(source)}: is the record of the run {record.run_name} ({record.mlflow_run_id}), expected "
            f"that of {stored.name} ({stored.run_id}); another one took its place"
        )
    return record, result


def _check_record(manifest: Manifest, source: str) -> None:
    """Refuse what a record cannot hold while only its manifest is here, which nobody answers for yet."""
    if manifest.kind != "run":
        raise IntegrityError(
            f"{without_secrets(source)}: holds a bundle of kind {manifest.kind}, expected run"
        )
    if {entry.path for entry in manifest.files} - {RESULT} or len(manifest.files) > 1:
        raise IntegrityError(
            f"{without_secrets(source)}: lists {len(manifest.files)} files, expected {RESULT} at most"
        )
    size = sum(entry.size_bytes for entry in manifest.files)
    if size > _MAX_RESULT_BYTES:
        raise IntegrityError(
            f"{without_secrets(source)}: {RESULT} is of {size} bytes, expected at most {_MAX_RESULT_BYTES}"
        )


def _check_signature(folder: Path, stored: StoredRun, *, trusted: Path) -> None:
    try:
        check_signature(folder, trusted)
    except IntegrityError as error:
        raise error.with_message(
            f"{stored.name}: its record in MLflow is signed by nobody who is trusted here: {error.message}"
        ) from error


def _read_own(path: Path, stored: StoredRun) -> RunResult:
    """Return the result of a run that is here, which is what MLflow's run of its name and its id left."""
    result = _read(path)
    if (result.run_name, result.mlflow_run_id) != (stored.name, stored.run_id):
        raise IntegrityError(
            f"{path}: is the run {result.run_name} (MLflow's {result.mlflow_run_id}), expected {stored.name} "
            f"({stored.run_id}); MLflow has another run under its name: give the id of the run that you mean"
        )
    return result


def _read(path: Path) -> RunResult:
    try:
        return RunResult.from_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else error.strerror
        raise IntegrityError(f"{path}: not a result that this version reads: {problem}") from error


def _kept(home: Home, stored: StoredRun, name: str) -> str:
    """Return where MLflow keeps a folder of a run's files.

    Raises:
        ConfigError: it keeps none of that name.
    """
    source = f"{stored.artifact_uri}/{name}"
    if not list_files(home.tracking_uri, source):
        raise ConfigError(
            f"{stored.name}: keeps no {name} in the MLflow at {without_secrets(home.tracking_uri)}; it is "
            f"{stored.status}, was logged by an earlier version, or the {name} was too large to go along"
        )
    return source


def _bring(home: Home, stored: StoredRun, result: RunResult) -> None:
    """Fetch the bundles of a run that are not here; what was too large to go along is left out, and said."""
    trust, files = home.trust(), stored.artifact_uri
    _fetch(
        home,
        f"{files}/{CHECKPOINT}",
        result.checkpoint,
        "checkpoint",
        partial(_vouch_checkpoint, trust=trust),
    )
    for artifact in (variant.artifact for variant in result.variants if variant.artifact):
        if not is_intact(Path(artifact.directory), artifact.digest):
            source = model_files(home.tracking_uri, stored, artifact_digest=artifact.digest)
            _fetch(home, source, artifact, "artifact", partial(_vouch_artifact, trust=trust))
    for evaluation in evaluations_of(result):
        _fetch(home, f"{files}/{evaluation_folder(evaluation.digest)}", evaluation, "evaluation")
    _fetch(home, f"{files}/{DATASET}", result.dataset, "dataset")


def _fetch(home: Home, source: str, bundle: Bundle, kind: BundleKind, vouch: Vouch | None = None) -> None:
    wanted = Path(bundle.directory)
    if is_intact(wanted, bundle.digest) or not (kind in _REQUIRED or list_files(home.tracking_uri, source)):
        if not wanted.is_dir():
            logger.info("%s: too large to have been kept in MLflow; it stays away", wanted.name)
        return
    fetch_bundle(
        home.tracking_uri,
        source,
        store=Path(home.store),
        name=wanted.name,
        kind=kind,
        digest=bundle.digest,
        vouch=vouch,
    )


def _bundles(result: RunResult) -> list[Bundle]:
    artifacts = [variant.artifact for variant in result.variants if variant.artifact]
    return [result.checkpoint, result.dataset, *artifacts, *evaluations_of(result)]


def _as_checkpoint(directory: Path) -> Checkpoint:
    bundle, manifest = open_bundle(directory, kind="checkpoint")
    return read_info(bundle, manifest, Checkpoint)


def _vouch_artifact(directory: Path, *, trust: Trust) -> None:
    vouch(open_artifact(directory), trust)


def _vouch_checkpoint(directory: Path, *, trust: Trust) -> None:
    vouch_for_checkpoint(_as_checkpoint(directory), trust)


def _signed(directory: Path, *, trust: Trust) -> None:
    # Its record says which one it must be; whoever builds its network asks for its own signature.
    signed_or_named(_as_checkpoint(directory), trust, why="it comes from MLflow")
