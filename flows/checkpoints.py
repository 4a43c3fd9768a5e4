"""Checkpoints that a user names: found, checked byte for byte, and held against the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flows.config import PipelineConfig
from flows.home import current_home
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.bundle import open_bundle, read_info
from pt_core.data.checks import join
from pt_core.data.dataset import Dataset
from pt_core.errors import ConfigError
from pt_core.modeling.spec import ModelSpec

_FILLED_IN = ("input_shape", "num_classes")
"""Arguments of a network that come from the data."""


def find_checkpoint(named: str, *, base_dir: Path, where: str) -> Checkpoint:
    """Return the checkpoint in a folder, or of a run in MLflow, every byte of it checked.

    Args:
        named: the folder, absolute or relative to ``base_dir``; or ``runs:/RUN/checkpoint``.
        base_dir: see above.
        where: the setting or option that names it.

    Raises:
        ConfigError: there is no such folder, or it is no place on this machine.
        IntegrityError: it is damaged, or holds something else than a checkpoint.
    """
    if named.startswith("runs:/"):
        # Here, since MLflow takes seconds to import.
        from flows.fetch import fetch_checkpoint

        return fetch_checkpoint(current_home(), named)
    if named.startswith("models:/"):
        raise ConfigError(
            f"{where}: {named}: a registered model is an artifact and no checkpoint; give the folder of the "
            "checkpoint, which its release's lineage.json and pt-pipeline train name"
        )
    folder = base_dir / named
    if not folder.is_dir():
        raise ConfigError(
            f"{where}: no folder {folder}; expected that of a checkpoint, as pt-pipeline train prints it, or "
            "runs:/RUN/checkpoint with the name or the MLflow id of a run"
        )
    bundle, manifest = open_bundle(folder, kind="checkpoint")
    return read_info(bundle, manifest, Checkpoint)


def warm_start_source(settings: PipelineConfig, *, base_dir: Path) -> Checkpoint | None:
    """Return the checkpoint that training is to start from, every byte of it checked.

    Raises:
        ConfigError: there is no checkpoint where the warm start names one.
        IntegrityError: it is damaged.
    """
    if settings.model.warm_start is None:
        return None
    named = settings.model.warm_start.checkpoint
    return find_checkpoint(named, base_dir=base_dir, where="model.warm_start.checkpoint")


def check_fit(checkpoint: Checkpoint, settings: PipelineConfig, dataset: Dataset) -> None:
    """Refuse to go on from a checkpoint of other data, another split or another network than the configuration's.

    How it was trained (epochs, learning rate, seed) may differ: nothing is trained.

    Raises:
        ConfigError: all that does not fit, a line each.
    """
    _refuse(checkpoint, [*_data_problems(checkpoint, dataset), *_model_problems(checkpoint, settings)])


def check_network(checkpoint: Checkpoint, settings: PipelineConfig) -> None:
    """Refuse a checkpoint that names another function, or other arguments of it, than the configuration does.

    Raises:
        ConfigError: all that does not fit, a line each.
    """
    _refuse(checkpoint, list(_model_problems(checkpoint, settings)))


def check_evaluable(checkpoint: Checkpoint, dataset: Dataset) -> tuple[str, ...]:
    """Return what a reader should know where a network is measured on other samples than it was trained among.

    Raises:
        ConfigError: it cannot take them, or knows other classes.
    """
    problems = list(_encoding_problems(checkpoint.spec, dataset))
    if checkpoint.labels != dataset.labels:
        problems.append(f"data.labels: it knows {join(checkpoint.labels)}, expected {join(dataset.labels)}")
    if problems:
        raise ConfigError(f"{checkpoint.directory} cannot be measured on these samples", details=problems)
    if checkpoint.data_fingerprint != dataset.fingerprint:
        return (
            f"measured on other data than it was trained on: fingerprint {dataset.fingerprint[:12]}, the training's is "
            f"{checkpoint.data_fingerprint[:12]}; samples that it learnt from may be among the test samples",
        )
    if changed := _other_splits(checkpoint, dataset):
        return (
            f"the samples of its training were split otherwise ({', '.join(changed)}), so some of the test samples may "
            "be what it learnt from",
        )
    return ()


def _refuse(checkpoint: Checkpoint, problems: list[str]) -> None:
    if problems:
        raise ConfigError(
            f"--from: {checkpoint.directory} does not fit the configuration; use the one that it was trained with, "
            "or leave --from out to train anew",
            details=problems,
        )


def _data_problems(checkpoint: Checkpoint, dataset: Dataset) -> Iterator[str]:
    if checkpoint.data_fingerprint != dataset.fingerprint:
        yield (
            f"data: it was trained on other samples, of fingerprint {checkpoint.data_fingerprint[:12]}, "
            f"expected {dataset.fingerprint[:12]}"
        )
    elif changed := _other_splits(checkpoint, dataset):
        yield (
            f"data: these samples were split otherwise ({', '.join(changed)}), so some of the test split may be what "
            "it learnt from; set seed and data as they were"
        )
    if checkpoint.labels != dataset.labels:
        yield f"data.labels: it knows {', '.join(checkpoint.labels)}, expected {', '.join(dataset.labels)}"
    yield from _encoding_problems(checkpoint.spec, dataset)


def _encoding_problems(spec: ModelSpec, dataset: Dataset) -> Iterator[str]:
    """Yield where the same samples become other numbers: the fingerprint is of the samples alone."""
    if spec.input_shape != dataset.input_shape:
        yield f"data: it takes samples of shape {spec.input_shape}, expected {dataset.input_shape}"
    if spec.input_range != dataset.input_range:
        yield f"data.input_range: it was trained on {spec.input_range}, expected {dataset.input_range}"
    if spec.table != dataset.table:
        found, expected = (
            join(table.outputs) if table else "no table" for table in (spec.table, dataset.table)
        )
        differ = (
            f"it takes {found}, expected {expected}"
            if found != expected
            else "rows become numbers by other rules"
        )
        yield f"data.table: {differ}; set the columns, their order, missing, encoder and unseen as they were"
    if spec.images != dataset.images:
        yield "data.images: its images were decoded otherwise; set size, mode, resize and convert as they were"


def _other_splits(checkpoint: Checkpoint, dataset: Dataset) -> list[str]:
    """Return the splits that hold other samples than those of the training."""
    known = {split.name: split.ids_sha256 for split in checkpoint.splits}
    return [split.name for split in dataset.splits if known.get(split.name) != split.ids_sha256]


def _model_problems(checkpoint: Checkpoint, settings: PipelineConfig) -> Iterator[str]:
    spec, model = checkpoint.spec, settings.model
    if spec.target != model.target:
        yield f"model.target: it is {spec.target}, expected {model.target}"
    given, asked = (
        {name: value for name, value in arguments.items() if name not in _FILLED_IN}
        for arguments in (spec.arguments, model.arguments)
    )
    if given != asked:
        yield f"model.arguments: it was built with {given or 'none'}, expected {asked or 'none'}"
    if (spec.mean is not None) != model.normalize:
        has = "normalises its input" if spec.mean is not None else "does not normalise its input"
        yield f"model.normalize: it {has}, expected {str(model.normalize).lower()}"
    if spec.dynamic_axes != model.dynamic_axes:
        yield "model.dynamic_axes: it declares other axes; set them as they were"
