"""The runs of one pipeline over time: what each chose, its numbers, and where their samples or machines differ."""

from __future__ import annotations

from collections.abc import Sequence

from pt_core.decision.result import RunResult, VariantResult
from pt_core.errors import NotComparable
from pt_core.evaluation.pairs import ACCURACY
from pt_core.record import Record


class RunRow(Record):
    """One run in the history of its pipeline; undefined is ``None``."""

    run: str
    """Name of the run."""
    started_at: str
    """Start, ISO 8601 in UTC."""
    winner: str | None
    """Name of the variant that it chose; ``None`` if the gate refused all."""
    num_passed: int
    """Variants that passed the gate."""
    num_variants: int
    """All variants."""
    reference: str
    """Name of the reference."""
    reference_accuracy: float | None
    """Its accuracy on the clean test samples, 0 to 1."""
    reference_size_bytes: int | None
    """Bytes of the files that it ships."""
    accuracy: float | None
    """Accuracy of the winner, 0 to 1."""
    accuracy_drop: float | None
    """Accuracy of the run's own reference minus the winner's, absolute."""
    accuracy_drop_low: float | None = None
    """Lower end of its paired interval."""
    accuracy_drop_high: float | None = None
    """Upper end."""
    latency_ratio: float | None
    """Time of one call of the winner over that of the run's own reference."""
    latency_ratio_low: float | None
    """Lower end of its 95 % interval."""
    latency_ratio_high: float | None
    """Upper end."""
    size_bytes: int | None
    """Bytes of the files that the winner ships."""
    samples: str
    """Which test samples: runs of one letter have the same ones, "A" the first run's."""
    num_samples: int
    """How many they are."""
    machine: str
    """The processor that measured it."""
    git_commit: str | None
    """Commit of the code, where there is one."""
    seed: int
    """The seed of everything random."""
    note: str
    """What makes its numbers not comparable with the run's before; nothing if they are."""


def over_time(results: Sequence[RunResult]) -> tuple[RunRow, ...]:
    """Return one row per run, the oldest first.

    Raises:
        NotComparable: the runs are of different pipelines.
    """
    pipelines = sorted({result.pipeline for result in results})
    if len(pipelines) > 1:
        raise NotComparable(
            f"compare: runs of {len(pipelines)} pipelines have no common history, expected runs of one",
            details=[f"{result.run_name}: pipeline {result.pipeline}" for result in results],
        )
    ordered = sorted(results, key=lambda result: (result.started_at, result.run_name))
    letters: dict[str, str] = {}
    rows: list[RunRow] = []
    for result in ordered:
        samples = letters.setdefault(samples_digest(result), _letter(len(letters)))
        rows.append(_row(result, samples, rows[-1] if rows else None))
    return tuple(rows)


def counted(num_runs: int) -> str:
    """Return how many runs, in words."""
    return "1 run" if num_runs == 1 else f"{num_runs} runs"


def samples_digest(result: RunResult) -> str:
    """Return what two runs have in common exactly if their test samples are the same: content, ids and their order."""
    return f"{result.dataset.fingerprint}/{result.dataset.split('test').ids_sha256}"


def _letter(number: int) -> str:
    """Return A to Z, then A1, B1 and so on."""
    round_, place = divmod(number, 26)
    return f"{chr(ord('A') + place)}{round_ or ''}"


def _row(result: RunResult, samples: str, before: RunRow | None) -> RunRow:
    by_name = {variant.name: variant for variant in result.variants}
    winner, reference = by_name.get(result.winner or ""), by_name[result.reference]
    paired = winner.drop_of(ACCURACY, against=result.reference) if winner else None
    timing = winner.efficiency if winner else None
    machine, num_samples = result.checkpoint.environment.cpu_model, result.dataset.split("test").num_samples
    return RunRow(
        run=result.run_name,
        started_at=result.started_at,
        winner=result.winner,
        num_passed=sum(variant.verdict.state == "pass" for variant in result.variants),
        num_variants=len(result.variants),
        reference=result.reference,
        reference_accuracy=_accuracy(reference),
        reference_size_bytes=_size(reference),
        accuracy=_accuracy(winner),
        accuracy_drop=winner.accuracy_drop if winner else None,
        accuracy_drop_low=paired.low if paired else None,
        accuracy_drop_high=paired.high if paired else None,
        latency_ratio=timing.latency_ratio if timing else None,
        latency_ratio_low=timing.latency_ratio_low if timing else None,
        latency_ratio_high=timing.latency_ratio_high if timing else None,
        size_bytes=_size(winner),
        samples=samples,
        num_samples=num_samples,
        machine=machine,
        git_commit=result.checkpoint.environment.git_commit,
        seed=result.seed,
        note=_note(before, samples, num_samples, machine),
    )


def _accuracy(variant: VariantResult | None) -> float | None:
    return variant.evaluation.accuracy.accuracy if variant and variant.evaluation else None


def _size(variant: VariantResult | None) -> int | None:
    return variant.artifact.payload_bytes if variant and variant.artifact else None


def _note(before: RunRow | None, samples: str, num_samples: int, machine: str) -> str:
    """Return what changed since the run before that its numbers hang on."""
    if before is None:
        return ""
    notes = []
    if samples != before.samples:
        notes.append(
            f"other test samples ({before.num_samples} of {before.samples}, now {num_samples} of {samples}): "
            "accuracy is not comparable"
        )
    if machine != before.machine:
        notes.append(f"another machine ({before.machine}, now {machine}): speed is not comparable")
    return "; ".join(notes)
