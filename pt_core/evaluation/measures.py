"""The thresholds, slices and own metrics of a configuration: their names, their code, and whether they fit the samples."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pt_core.data.encoding import TableEncoding
from pt_core.errors import ConfigError
from pt_core.evaluation.config import EvaluationConfig
from pt_core.evaluation.scores import SLICE_METRICS, THRESHOLD_METRICS, custom_name, threshold_name

if TYPE_CHECKING:
    from pt_core.data.dataset import DatasetInfo


def measure_names(config: EvaluationConfig) -> set[str]:
    """Return the flat names of thresholds and own metrics; those of slices are known by the data only."""
    thresholds = {threshold_name(metric, t) for t in config.thresholds for metric in THRESHOLD_METRICS}
    return thresholds | {custom_name(path) for path in config.metrics}


def may_be_slice(config: EvaluationConfig, metric: str) -> bool:
    """Return whether a rule's metric, perhaps with a star, can be that of a configured slice."""
    section, _, rest = metric.partition("/")
    part, _, name = rest.rpartition("/")
    if section != "slices" or name not in SLICE_METRICS:
        return False
    wanted = part.partition("=")[0] if "=" in part else part
    return any(fnmatchcase(one.name, wanted) for one in config.slices)


def code_of(config: EvaluationConfig) -> dict[str, str]:
    """Return the import paths of the user's code, each with the setting that it stands in."""
    functions = {one.function: "evaluation.slices" for one in config.slices if one.function}
    return functions | dict.fromkeys(config.metrics, "evaluation.metrics")


def check_measures(config: EvaluationConfig, dataset: DatasetInfo) -> None:
    """Refuse thresholds and slices that mean nothing for these samples.

    Raises:
        ConfigError: says what they need.
    """
    if config.thresholds and len(dataset.labels) != 2:
        raise ConfigError(
            f"evaluation.thresholds: {len(dataset.labels)} classes, expected 2, the second being the positive one; "
            "leave thresholds out, or measure a metric of your own by evaluation.metrics"
        )
    for one in config.slices:
        if one.column is None:
            continue
        if isinstance(one.column, str):
            _check_name(one.name, one.column, dataset.table)
            continue
        shape = dataset.input_shape
        if len(shape) != 1:
            raise ConfigError(
                f"evaluation.slices: {one.name} parts by column {one.column}, and a sample has shape {shape}; "
                "give function instead"
            )
        if one.column >= shape[0]:
            raise ConfigError(
                f"evaluation.slices: {one.name} parts by column {one.column}, expected 0 to {shape[0] - 1}"
            )


def _check_name(name: str, column: str, table: TableEncoding | None) -> None:
    if table is None:
        raise ConfigError(
            f"evaluation.slices: {name} parts by column {column!r}, and these samples have no named columns; "
            "give the number of a column, or function"
        )
    if table.place(column) is None:
        known = ", ".join(one.name for one in table.columns[:20])
        raise ConfigError(f"evaluation.slices: {name} parts by column {column!r}, expected one of {known}")
