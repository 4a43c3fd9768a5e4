"""Time artifacts against the reference, interleaved in one process."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.plugin import Predictor
from pt_core.bundle import check_digest
from pt_core.data.dataset import load_split
from pt_core.evaluation.config import EfficiencyConfig
from pt_core.evaluation.report import EfficiencyReport
from pt_core.evaluation.requests import EfficiencyReports, EfficiencyRequest
from pt_core.evaluation.timing import Interval, Plan, ratio, time_rounds
from pt_core.inference.predictor import load_predictor
from pt_core.isolation import report_progress

_SEED = 0
"""Of the order of contenders and of the bootstrap; timings differ from run to run all the same."""
_WARM_UP_CALLS = 5


def measure(request: EfficiencyRequest) -> EfficiencyReports:
    """Time the reference twice and every artifact once in each round; the machine is to do nothing else.

    All are loaded at once on the CPU and are fed samples of the test split. The reference's own report
    sets its second series against its first: what that ratio strays from 1 is noise.

    Raises:
        IntegrityError: the bytes of an artifact or the dataset are damaged.
    """
    check_digest(request.dataset)
    artifacts = (request.reference, *request.artifacts)
    predictors = [load_predictor(artifact, device="cpu") for artifact in artifacts]
    latency = _time(predictors, request, "latency")
    throughput = _time(predictors, request, "throughput")
    return EfficiencyReports(
        reports=summarize(
            [artifact.digest for artifact in artifacts],
            latency=latency,
            throughput=throughput,
            throughput_batch_size=request.config.throughput_batch_size,
        )
    )


def summarize(
    digests: Sequence[str],
    *,
    latency: NDArray[np.int64],
    throughput: NDArray[np.int64],
    throughput_batch_size: int,
) -> tuple[EfficiencyReport, ...]:
    """Return one report per artifact from raw times.

    Args:
        digests: of the reference and of every artifact, in this order.
        latency: (rounds, 1 + artifacts, calls) nanoseconds; row 0 is the reference's first series, row 1
            its second, and the others follow in the order of ``digests``.
        throughput: the same at the throughput batch size.
        throughput_batch_size: samples per call there.
    """
    generator = np.random.default_rng(_SEED)
    ratios = [
        ratio(latency[:, row], latency[:, 0], generator=generator) for row in range(1, latency.shape[1])
    ]
    return tuple(
        _report(
            digest, latency[:, row], throughput[:, row], ratios[row - 1], ratios[0], throughput_batch_size
        )
        for row, digest in enumerate(digests, start=1)
    )


def _report(
    digest: str,
    latency: NDArray[np.int64],
    throughput: NDArray[np.int64],
    against_reference: Interval,
    noise: Interval,
    throughput_batch_size: int,
) -> EfficiencyReport:
    p50, p95, p99 = (float(value) / 1e6 for value in np.percentile(latency, [50, 95, 99]))
    return EfficiencyReport(
        artifact_digest=digest,
        latency_ms_p50=p50,
        latency_ms_p95=p95,
        latency_ms_p99=p99,
        throughput_samples_per_s=throughput_batch_size / (float(np.median(throughput)) / 1e9),
        latency_ratio=against_reference.value,
        latency_ratio_low=against_reference.low,
        latency_ratio_high=against_reference.high,
        noise_ratio_low=noise.low,
        noise_ratio_high=noise.high,
        num_rounds=len(latency),
    )


def _time(predictors: Sequence[Predictor], request: EfficiencyRequest, what: str) -> NDArray[np.int64]:
    config = request.config
    is_latency = what == "latency"
    size = config.latency_batch_size if is_latency else config.throughput_batch_size
    calls = config.calls_per_round if is_latency else 1
    batch = _batch(request, size)
    contenders = [functools.partial(predictor.logits, batch) for predictor in predictors]
    for contender in contenders:
        _warm_up(contender)
    return time_rounds(
        [contenders[0], *contenders],
        Plan(config.rounds, calls, config.max_seconds / 2),
        generator=np.random.default_rng(_SEED),
        on_round=_progress(config, is_latency=is_latency),
    )


def _progress(config: EfficiencyConfig, *, is_latency: bool) -> Callable[[int], None]:
    before = 0 if is_latency else config.rounds
    message = "latency" if is_latency else "throughput"
    return lambda done: report_progress(before + done, 2 * config.rounds, message)


def _warm_up(contender: Callable[[], object]) -> None:
    for _ in range(_WARM_UP_CALLS):
        contender()


def _batch(request: EfficiencyRequest, size: int) -> NDArray[np.float32]:
    """Return ``size`` test samples, repeated from the start where the split is smaller."""
    x = load_split(request.dataset, "test").x
    return np.ascontiguousarray(x[np.arange(size) % len(x)])
