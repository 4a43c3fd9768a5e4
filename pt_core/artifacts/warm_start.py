"""Warm start: put a checkpoint's weights into a network that is to be trained further, as strictly as asked."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from pt_core.artifacts.checkpoint import WEIGHTS, StartedFrom
from pt_core.artifacts.tensors import Arrays, load_tensors
from pt_core.artifacts.weights import load_partially, load_strictly
from pt_core.bundle import Bundle, check_digest
from pt_core.errors import ConfigError, IntegrityError
from pt_core.modeling.normalized import own_arrays, own_network
from pt_core.modeling.spec import WarmStart


def warm_start(network: nn.Module, config: WarmStart, *, source: Bundle) -> StartedFrom:
    """Load what fits and report every tensor; where too little fits nothing is loaded.

    Names are those of the author's code. The normalisation is not taken: it belongs to the new data.

    Args:
        network: changed in place.
        config: how strictly.
        source: the checkpoint.

    Raises:
        IntegrityError: the checkpoint is damaged, or another one took its place.
        ConfigError: its tensors do not fit the network as far as is asked; the details name each.
    """
    check_digest(source)
    path = Path(source.directory) / WEIGHTS
    arrays: Arrays = own_arrays(load_tensors(path, finite=True))
    try:
        if config.min_loaded_fraction is None:
            report = load_strictly(own_network(network), arrays, source=path)
        else:
            report = load_partially(own_network(network), arrays, min_fraction=config.min_loaded_fraction)
    except IntegrityError as error:
        remedy = "lower" if not config.strict else "to load only what fits, set"
        raise ConfigError(
            f"model.warm_start: {error.message}; {remedy} model.warm_start.min_loaded_fraction, "
            "or take the checkpoint of a network more like this one",
            details=error.details,
        ) from error
    return StartedFrom(digest=source.digest, directory=source.directory, strict=config.strict, report=report)
