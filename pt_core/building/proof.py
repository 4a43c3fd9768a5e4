"""Prove that a staged artifact computes what it should, under every setting that its runtime has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.artifact import Artifact, Parity, Precision, SettingParity
from pt_core.artifacts.integrity import replay_golden
from pt_core.artifacts.plugin import Predictor, RuntimeInfo, Settings
from pt_core.artifacts.registry import make_format
from pt_core.artifacts.tensors import read_golden
from pt_core.building.requests import CheckRequest
from pt_core.bundle import check_digest
from pt_core.data.dataset import load_split
from pt_core.errors import IntegrityError, ParityError, StepFailed
from pt_core.evaluation.parity import Expectation, expect, meet, observe
from pt_core.evaluation.parity_grid import NUM_SAMPLES
from pt_core.evaluation.parity_metrics import ANOTHER_RUNTIME
from pt_core.inference.predictor import load_predictor


def prove(request: CheckRequest) -> tuple[Predictor, Parity | None]:
    """Return a staged artifact as it will be loaded, and its agreement with its reference, which the root has not.

    Raises:
        ParityError: it, its source or its reference does not agree with itself, or it does not agree with them.
        StepFailed: its runtime cannot load it.
        IntegrityError: a root does not reproduce its checkpoint's outputs.
    """
    staged, reference = request.staged, request.reference
    samples = read_samples(request)
    if reference is None:
        candidate = make_format(staged.format).load(staged, "cpu")
        _prove_root(request, candidate, samples)
        return candidate, None
    if staged.quantization is not None and staged.quantization.is_retrained:
        return prove_retrained(request, samples)
    expectation = _expect(
        load_predictor(reference), request, samples, where=f"{_step(staged)} against the reference"
    )
    settings = tuple(_prove_settings(staged, expectation))
    try:
        candidate = make_format(staged.format).load(staged, "cpu")
        _prove_conversion(request, candidate, samples)
        where = f"{_step(staged)} against the reference"
        parity = _meet(expectation, candidate, staged.precision, where=where)
    except (ParityError, StepFailed) as error:
        raise type(error)(f"{error.message}{_advise(staged, settings)}", details=error.details) from error
    return candidate, parity.model_copy(
        update={"settings": settings, "pinned": candidate.runtime().setting if settings else None}
    )


def prove_retrained(request: CheckRequest, samples: NDArray[np.float32]) -> tuple[Predictor, Parity]:
    """Return a staged artifact whose weights were trained on, and its agreement with the reference, not bound.

    Its logits differ from the reference's by right, and how much accuracy that costs is for the gate to judge. What
    trained it is held to its own answers to one sample at a time, and a conversion of it to its source.

    Raises:
        ParityError: it does not agree with itself or with its source, or these with themselves.
        StepFailed: its runtime cannot load it.
    """
    staged, source, reference = request.staged, request.source, request.reference
    assert reference is not None
    candidate = make_format(staged.format).load(staged, "cpu")
    is_conversion = source.quantization is not None
    where = (
        f"{_step(staged)} against {f'its source {source.format}' if is_conversion else 'itself at batch 1'}"
    )
    basis = load_predictor(source) if is_conversion else OneByOne(candidate)
    expectation = _expect(basis, request, samples, where=where, who="the source")
    settings = tuple(_prove_settings(staged, expectation))
    try:
        parity = _meet(expectation, candidate, ANOTHER_RUNTIME[staged.precision], where=where)
    except ParityError as error:
        raise ParityError(f"{error.message}{_advise(staged, settings)}", details=error.details) from error
    agreement = _expect(load_predictor(reference), request, samples, where="the reference")
    return candidate, parity.model_copy(
        update={
            "precision": staged.precision,
            "points": observe(agreement, candidate, staged.precision).points,
            "is_bound": False,
            "settings": settings,
            "pinned": candidate.runtime().setting if settings else None,
        }
    )


class OneByOne:
    """A predictor that is asked for one sample at a time: what depends on the batch shows beside it."""

    def __init__(self, predictor: Predictor) -> None:
        """Keep the predictor."""
        self._predictor = predictor

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, num_classes) float32 logits of (N, *input_shape) float32 raw inputs."""
        return np.concatenate([self._predictor.logits(sample[None]) for sample in batch])

    def runtime(self) -> RuntimeInfo:
        """Return what executes the predictor."""
        return self._predictor.runtime()


def read_samples(request: CheckRequest) -> NDArray[np.float32]:
    """Return the rows that parity reads; the whole calibration split may not fit in memory."""
    if request.dataset is None:
        return read_golden(request.source)[0]
    check_digest(request.dataset)
    return np.array(load_split(request.dataset, "calibration").x[:NUM_SAMPLES])


def _prove_conversion(request: CheckRequest, candidate: Predictor, samples: NDArray[np.float32]) -> None:
    """Hold what changed the format and no precision to its own source, more closely than INT8 is to the reference."""
    staged, source, reference = request.staged, request.source, request.reference
    assert reference is not None
    if staged.precision != source.precision:
        return
    # The reference itself was the measure already, under the same tolerance unless two runtimes of INT8 are compared.
    if source.digest == reference.digest and ANOTHER_RUNTIME[staged.precision] == staged.precision:
        return
    where = f"{_step(staged)} against its source {source.format}"
    expectation = _expect(load_predictor(source), request, samples, where=where, who="the source")
    _meet(expectation, candidate, ANOTHER_RUNTIME[staged.precision], where=where)


def _prove_root(request: CheckRequest, candidate: Predictor, samples: NDArray[np.float32]) -> None:
    staged = request.staged
    # First against itself, on every batch: randomness is reported as such, not as outputs that were not reproduced.
    _expect(candidate, request, samples, where="torch against itself")
    try:
        replay_golden(
            request.source,
            candidate.logits,
            input_shape=staged.spec.input_shape,
            num_classes=staged.spec.num_classes,
        )
    except IntegrityError as error:
        if _remembers(request):
            raise ParityError(
                "torch against itself: a fresh network reproduces the checkpoint's outputs and one that was called "
                "before does not: it keeps something of its first call, such as a cached intermediate; compute it "
                "anew in each forward"
            ) from error
        raise


def _remembers(request: CheckRequest) -> bool:
    """Return whether a network that was never called reproduces its checkpoint's outputs."""
    from pt_core.formats.torch_ import load_module
    from pt_core.inference.torch_predictor import TorchPredictor

    spec = request.staged.spec
    fresh = TorchPredictor(
        load_module(request.staged), spec=spec, provider="eager", device="cpu", num_warm_ups=0
    )
    try:
        replay_golden(
            request.source, fresh.logits, input_shape=spec.input_shape, num_classes=spec.num_classes
        )
    except IntegrityError:
        return False
    return True


def _prove_settings(staged: Artifact, expectation: Expectation) -> Iterator[SettingParity]:
    """Yield the agreement under every setting, also of those that are not pinned: a user may change it."""
    plugin = make_format(staged.format)
    if not isinstance(plugin, Settings):
        return
    for setting in plugin.settings():
        try:
            found = observe(expectation, plugin.load_with(staged, "cpu", setting), staged.precision)
        # A setting with which the runtime cannot even load the graph.
        except StepFailed as error:
            reason = error.message[:500]
            yield SettingParity(setting=setting, max_relative_error=None, holds=False, reason=reason)
            continue
        yield SettingParity(
            setting=setting,
            max_relative_error=max((point.relative_error for point in found.points), default=None),
            holds=not found.problems,
            reason=found.problems[0] if found.problems else None,
        )


def _advise(staged: Artifact, found: tuple[SettingParity, ...]) -> str:
    """Return which setting holds and how to choose it, as a clause; nothing where all or none do."""
    plugin = make_format(staged.format)
    holding = [setting.setting for setting in found if setting.holds]
    if not isinstance(plugin, Settings) or not holding or len(holding) == len(found):
        return ""
    pinned = plugin.pinned_setting(staged)
    option, _, value = holding[-1].partition("=")
    return (
        f"; it is pinned to {pinned}, and the highest setting that holds is {holding[-1]}: set options "
        f"{{{option}: {value}}} of the step {staged.format}"
    )


def _step(staged: Artifact) -> str:
    return staged.steps[-1].name


def _expect(
    reference: Predictor,
    request: CheckRequest,
    samples: NDArray[np.float32],
    *,
    where: str,
    who: str = "the reference",
) -> Expectation:
    try:
        example = read_golden(request.source)[0]
        return expect(reference, samples, request.staged.spec.dynamic_axes, example=example, who=who)
    except ParityError as error:
        raise ParityError(f"{where}: {error.message}", details=error.details) from error


def _meet(expectation: Expectation, candidate: Predictor, precision: Precision, *, where: str) -> Parity:
    try:
        return meet(expectation, candidate, precision)
    except ParityError as error:
        raise ParityError(f"{where}: {error.message}", details=error.details) from error
