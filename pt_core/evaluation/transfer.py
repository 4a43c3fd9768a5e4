"""Score every artifact on what was crafted on every other, at one strength."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pt_core.artifacts.plugin import Predictor
from pt_core.bundle import check_digest
from pt_core.data.dataset import load_split
from pt_core.errors import StepFailed
from pt_core.evaluation.accuracy import check_finite
from pt_core.evaluation.attacks.bounds import bounds_of
from pt_core.evaluation.attacks.craft import Source, pgd_from_random_starts
from pt_core.evaluation.attacks.folding import for_attack
from pt_core.evaluation.attacks.gradient import fgsm
from pt_core.evaluation.points import spread
from pt_core.evaluation.report import SQUARE
from pt_core.evaluation.requests import Contender, TransferRequest
from pt_core.evaluation.transfer_table import GRADIENT_FREE, TransferRow, TransferTable
from pt_core.formats.torch_ import load_module
from pt_core.inference.predictor import load_predictor
from pt_core.isolation import report_progress

Images = NDArray[np.float32]


def transfer(request: TransferRequest) -> TransferTable:
    """Return the table; sets of samples are FGSM and PGD where a runtime has gradients, and Square everywhere.

    Only eager PyTorch in floating point has gradients. What Square made on an artifact is read from its
    evaluation. The samples are those of Square, evenly spread over the test split.

    Raises:
        IntegrityError: the bytes of an artifact, an evaluation or the dataset are damaged.
        StepFailed: an evaluation holds other samples, or logits are not finite.
    """
    epsilon = request.config.transfer_epsilon
    assert epsilon is not None  # without it nobody asks for the table
    check_digest(request.dataset)
    samples = load_split(request.dataset, "test")
    rows = spread(len(samples.x), request.config.square_samples)
    x, y = np.array(samples.x[rows]), np.array(samples.y[rows])
    sets = [
        *_along_gradients(request, x, y, epsilon),
        *((c.name, GRADIENT_FREE, _searched(c, x)) for c in request.contenders),
    ]
    columns = []
    for done, contender in enumerate(request.contenders, start=1):
        predictor = load_predictor(contender.artifact, device="cpu")
        columns.append(
            [_accuracy(predictor, made, y, contender.name) for made in (x, *(s for *_, s in sets))]
        )
        report_progress(done, len(request.contenders), f"transfer to {contender.name}")
    clean, *attacked = zip(*columns, strict=True)
    return TransferTable(
        epsilon=epsilon,
        num_samples=len(rows),
        num_queries=request.config.square_queries,
        scored_on=tuple(contender.name for contender in request.contenders),
        clean=clean,
        rows=tuple(
            TransferRow(crafted_on=name, attack=attack, accuracy=accuracy)
            for (name, attack, _), accuracy in zip(sets, attacked, strict=True)
        ),
    )


def has_gradients(contender: Contender) -> bool:
    """Return whether its runtime can differentiate: eager PyTorch, whose INT8 layers cannot."""
    return contender.artifact.format == "torch" and contender.artifact.quantization is None


def _along_gradients(
    request: TransferRequest, x: Images, y: NDArray[np.int64], epsilon: float
) -> Iterator[tuple[str, str, Images]]:
    """Yield name, attack and samples of FGSM and PGD on every artifact with gradients."""
    bounds = bounds_of(request.dataset)
    for contender in filter(has_gradients, request.contenders):
        check_digest(contender.artifact)
        network = for_attack(load_module(contender.artifact), torch.from_numpy(x[:2]))
        source = Source(network, request.dataset, bounds, request.config, request.seed)
        yield contender.name, "fgsm", fgsm(network, x, y, epsilons=[epsilon], bounds=bounds)[0]
        yield contender.name, "pgd", pgd_from_random_starts(source, epsilon=epsilon, norm="linf")(x, y)[0]


def _searched(contender: Contender, x: Images) -> Images:
    """Return what Square made on an artifact."""
    check_digest(contender.evaluation)
    file = Path(contender.evaluation.directory) / SQUARE
    found: Images = np.load(file, allow_pickle=False) if file.exists() else np.empty(0, np.float32)
    if found.shape != x.shape:
        raise StepFailed(
            f"transfer: the evaluation of {contender.name} holds Square samples of shape {found.shape}, "
            f"expected {x.shape}; evaluate it again with this configuration"
        )
    return found


def _accuracy(predictor: Predictor, x: Images, y: NDArray[np.int64], name: str) -> float:
    logits = predictor.logits(x)
    check_finite(logits, where=f"transfer: {name}")
    return float((logits.argmax(axis=1) == y).mean())
