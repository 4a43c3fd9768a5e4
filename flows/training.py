"""The first half of a run: the samples, and a checkpoint that is trained here or given, proved whole before it is used."""

from __future__ import annotations

from typing import NamedTuple

from flows.check import Checked
from flows.checkpoints import check_fit, check_network
from flows.home import Home
from flows.requests import prepare_request, train_request, verify_request
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.artifacts.integrity import IntegrityReport
from pt_core.data.augmentation import check_augmentation
from pt_core.data.dataset import Dataset
from pt_core.evaluation.measures import check_measures
from pt_core.evaluation.points import check_fits
from tasks.caching import run
from tasks.dashboard import TrackedRun
from tasks.data import prepare
from tasks.train import train
from tasks.verify import verify


class Trained(NamedTuple):
    """What the second half of a run rests on."""

    dataset: Dataset
    """The samples."""
    checkpoint: Checkpoint
    """The trained network."""
    proof: IntegrityReport
    """What was checked about it."""


def trained(
    checked: Checked, home: Home, given: Checkpoint | None = None, *, tracked: TrackedRun | None = None
) -> Trained:
    """Prepare the samples, then train and verify; or verify the given checkpoint and hold it against the configuration.

    Args:
        checked: the configuration.
        home: where everything is kept.
        given: the checkpoint to go on from in place of training.
        tracked: the MLflow run that every epoch is logged to as it ends.

    Raises:
        ConfigError: the given checkpoint is one of other data or another network.
        PtCoreError: what a stage raised.
    """
    settings = checked.settings
    limits = settings.limits.for_step()
    # A given checkpoint is verified first: where it is damaged, nothing else is worth a minute. Verifying it calls the
    # function that it names, so that must be the one that the configuration names.
    if given:
        check_network(given, settings)
    proof = run(verify, verify_request(given), limits) if given else None
    dataset = run(prepare, prepare_request(settings, base_dir=checked.base_dir, home=home), limits)
    check_fits(settings.evaluation, dataset)
    check_measures(settings.evaluation, dataset)
    check_augmentation(settings.data.augmentation, dataset)
    if given and proof:
        check_fit(given, settings, dataset)
        return Trained(dataset, given, proof)
    request = train_request(settings, dataset, home, base_dir=checked.base_dir)
    checkpoint = run(train, request, settings.limits.for_training(), tracked)
    return Trained(dataset, checkpoint, run(verify, verify_request(checkpoint), limits))
