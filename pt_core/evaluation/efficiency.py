"""Time artifacts against the reference, interleaved in one process."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.plugin import Predictor
from pt_core.bundle import check_digest
from pt_core.data.dataset import load_split
from pt_core.evaluation.config import EfficiencyConfig
from pt_core.evaluation.cost import cost_of
from pt_core.evaluation.report import EfficiencyReport, SweepPoint
from pt_core.evaluation.requests import EfficiencyReports, EfficiencyRequest
from pt_core.evaluation.timing import Plan, ratio, time_rounds, widen
from pt_core.inference.predictor import load_predictor
from pt_core.isolation import report_progress

_SEED = 0
"""Of the order of contenders and of the bootstrap; timings differ from run to run all the same."""
_WARM_UP_CALLS = 5
_SWEEP_ROUNDS = 10


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
    latency, throughput = _latency(predictors, request), _throughput(predictors, request)
    reports = summarize(
        [artifact.digest for artifact in artifacts],
        latency=latency,
        throughput=throughput,
        throughput_batch_size=request.config.throughput_batch_size,
        noise_floor=request.config.noise_floor,
    )
    timed = {request.config.latency_batch_size: latency, request.config.throughput_batch_size: throughput}
    reports = with_sweep(reports, _sweep(predictors, request, timed))
    cost = cost_of(request.reference)
    counted = {
        "num_parameters": cost.num_parameters,
        "reference_flops": cost.flops,
        "flops_reason": cost.reason,
    }
    return EfficiencyReports(reports=tuple(report.model_copy(update=counted) for report in reports))


def summarize(
    digests: Sequence[str],
    *,
    latency: NDArray[np.int64],
    throughput: NDArray[np.int64],
    throughput_batch_size: int,
    noise_floor: float = 0.0,
) -> tuple[EfficiencyReport, ...]:
    """Return one report per artifact from raw times.

    Args:
        digests: of the reference and of every artifact, in this order.
        latency: (rounds, 1 + artifacts, calls) nanoseconds; row 0 is the reference's first series, row 1
            its second, and the others follow in the order of ``digests``.
        throughput: the same at the throughput batch size.
        throughput_batch_size: samples per call there.
        noise_floor: share of a ratio that is taken as noise at least.
    """
    generator = np.random.default_rng(_SEED)
    ratios = [
        ratio(latency[:, row], latency[:, 0], generator=generator) for row in range(1, latency.shape[1])
    ]
    reports = []
    for row, digest in enumerate(digests, start=1):
        own, noise = ratios[row - 1], ratios[0]
        judged = widen(own, noise, floor=noise_floor)
        p50, p95, p99 = (float(value) / 1e6 for value in np.percentile(latency[:, row], [50, 95, 99]))
        reports.append(
            EfficiencyReport(
                artifact_digest=digest,
                latency_ms_p50=p50,
                latency_ms_p95=p95,
                latency_ms_p99=p99,
                throughput_samples_per_s=_per_second(throughput[:, row], throughput_batch_size),
                latency_ratio=own.value,
                latency_ratio_low=own.low,
                latency_ratio_high=own.high,
                noise_ratio_low=noise.low,
                noise_ratio_high=noise.high,
                judged_ratio_low=judged[0],
                judged_ratio_high=judged[1],
                num_rounds=len(latency),
            )
        )
    return tuple(reports)


def with_sweep(
    reports: Sequence[EfficiencyReport], times: Mapping[int, NDArray[np.int64]]
) -> tuple[EfficiencyReport, ...]:
    """Return the reports with their speed at each batch size, and the best of them.

    Args:
        reports: the reference's first.
        times: (rounds, 1 + artifacts, calls) nanoseconds by batch size, rows as in :func:`summarize`.
    """
    if not times:
        return tuple(reports)
    found = []
    for row, report in enumerate(reports, start=1):
        sweep = tuple(
            SweepPoint(
                batch_size=size,
                latency_ms_p50=float(np.median(times[size][:, row])) / 1e6,
                throughput_samples_per_s=_per_second(times[size][:, row], size),
            )
            for size in sorted(times)
        )
        best = max(sweep, key=lambda point: point.throughput_samples_per_s)
        update = {
            "sweep": sweep,
            "best_throughput_samples_per_s": best.throughput_samples_per_s,
            "best_batch_size": best.batch_size,
        }
        found.append(report.model_copy(update=update))
    return tuple(found)


def _per_second(times: NDArray[np.int64], batch_size: int) -> float:
    return batch_size / (float(np.median(times)) / 1e9)


def _latency(predictors: Sequence[Predictor], request: EfficiencyRequest) -> NDArray[np.int64]:
    config = request.config
    plan = Plan(
        config.rounds,
        config.calls_per_round,
        config.max_seconds / 2,
        extra_rounds=config.extra_rounds,
        tolerance=config.ratio_tolerance,
    )
    progress = _progress(config, is_latency=True)
    return _time(predictors, request, config.latency_batch_size, plan, progress)


def _throughput(predictors: Sequence[Predictor], request: EfficiencyRequest) -> NDArray[np.int64]:
    config = request.config
    plan = Plan(config.rounds, 1, config.max_seconds / 4)
    progress = _progress(config, is_latency=False)
    return _time(predictors, request, config.throughput_batch_size, plan, progress)


def _sweep(
    predictors: Sequence[Predictor], request: EfficiencyRequest, timed: Mapping[int, NDArray[np.int64]]
) -> dict[int, NDArray[np.int64]]:
    """Return the times at each batch size, (rounds, 1 + artifacts, calls) nanoseconds; those ``timed`` are taken."""
    sizes = dict.fromkeys(request.config.sweep_batch_sizes)
    seconds = request.config.max_seconds / 4 / max(1, len(sizes))
    plan = Plan(min(_SWEEP_ROUNDS, request.config.rounds), 1, seconds)
    return {size: timed[size] if size in timed else _time(predictors, request, size, plan) for size in sizes}


def _time(
    predictors: Sequence[Predictor],
    request: EfficiencyRequest,
    size: int,
    plan: Plan,
    on_round: Callable[[int], None] = lambda done: None,
) -> NDArray[np.int64]:
    batch = _batch(request, size)
    contenders = [functools.partial(predictor.logits, batch) for predictor in predictors]
    for contender in contenders:
        _warm_up(contender)
    return time_rounds(
        [contenders[0], *contenders], plan, generator=np.random.default_rng(_SEED), on_round=on_round
    )


def _progress(config: EfficiencyConfig, *, is_latency: bool) -> Callable[[int], None]:
    before = 0 if is_latency else config.rounds
    message = "latency" if is_latency else "throughput"
    return lambda done: report_progress(before + min(done, config.rounds), 2 * config.rounds, message)


def _warm_up(contender: Callable[[], object]) -> None:
    for _ in range(_WARM_UP_CALLS):
        contender()


def _batch(request: EfficiencyRequest, size: int) -> NDArray[np.float32]:
    """Return ``size`` test samples, repeated from the start where the split is smaller."""
    x = load_split(request.dataset, "test").x
    return np.ascontiguousarray(x[np.arange(size) % len(x)])
