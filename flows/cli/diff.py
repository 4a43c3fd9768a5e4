"""pt-pipeline diff: where two artifacts of one run first compute something else."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from flows.cli.compare import find_runs
from flows.cli.output import print_json, results
from flows.cli.run import read_result
from flows.home import Home, add_code_path
from pt_core.artifacts.artifact import Artifact, open_artifact
from pt_core.artifacts.guard import vouch
from pt_core.artifacts.registry import nearest
from pt_core.bundle import MANIFEST
from pt_core.data.dataset import Dataset
from pt_core.decision.result import RunResult, VariantResult
from pt_core.errors import ConfigError, NotComparable
from pt_core.evaluation.difference import Divergence, DivergeRequest
from pt_core.evaluation.lineage import lineage
from pt_core.evaluation.report import EvaluationReport
from pt_core.isolation import run_isolated
from pt_core.keys import Trust

TIMEOUT_S = 1800
_STYLES = {"agrees": "green", "differs": "red", "cannot be opened": "yellow", "cannot be compared": "yellow"}


class _Side(NamedTuple):
    artifact: Artifact | None
    evaluation: EvaluationReport | None
    stored: Divergence | None
    problem: str


def diff(
    a: str,
    b: str,
    home: Home,
    *,
    run: str | None,
    num_samples: int,
    unsigned: tuple[str, ...] = (),
    as_json: bool,
) -> None:
    """Print where two artifacts part, then leave with 0 where they agree, 1 where they differ and 2 where that is open.

    Args:
        a: what is right: a variant's name, or an artifact's folder.
        b: what is compared with it.
        home: where runs are.
        run: name of the run; the latest where it is left out.
        num_samples: how many samples to compare on.
        unsigned: names or digests of bundles that the user vouches for.
        as_json: whether to print the record instead.

    Raises:
        ConfigError: there is no such run, variant or folder, or a variant was not built.
        NotComparable: the two come from different trainings.
        IntegrityError: an artifact is not what its manifest says, or it is a program that nobody vouches for.
    """
    result = _result(a, b, home, run)
    # The reference is the network's code, which a user has beside the configuration.
    add_code_path(Path.cwd())
    first, second = (_side(name, result) for name in (a, b))
    for side in (first, second):
        _check_origin(side, home.trust(unsigned))
    found = _stored(second, a, result) or _found(
        (a, first), (b, second), dataset=result.dataset if result else None, num_samples=num_samples
    )
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _show(found)
    raise typer.Exit(_exit_code(found))


def _exit_code(found: Divergence) -> int:
    if found.agrees:
        return 0
    return 2 if found.unknown else 1


def _result(a: str, b: str, home: Home, run: str | None) -> RunResult | None:
    """Return the run that variants are looked up in; two folders need none."""
    if run is None and _is_bundle(a) and _is_bundle(b):
        return None
    return read_result(find_runs([run] if run else [], home)[0])


def _side(name: str, result: RunResult | None) -> _Side:
    if _is_bundle(name) or result is None:
        return _Side(open_artifact(Path(name)), None, None, "")
    found = next((variant for variant in result.variants if variant.name == name), None)
    if found is None:
        names = tuple(variant.name for variant in result.variants)
        raise ConfigError(
            f"{name}: neither a variant of {result.run_name} nor an artifact's folder; {nearest(name, names)}"
        )
    return _Side(found.artifact, found.evaluation, found.divergence, _problem(found))


def _check_origin(side: _Side, trust: Trust) -> None:
    """Refuse a program that nobody vouches for, among an artifact and all it was built from, which is opened too."""
    for artifact in lineage(side.artifact) if side.artifact else ():
        vouch(artifact, trust)


def _problem(variant: VariantResult) -> str:
    return f"{variant.state}: {variant.problem}"


def _stored(side: _Side, a: str, result: RunResult | None) -> Divergence | None:
    """Return what the run found about an artifact that was never published."""
    if side.artifact is not None or result is None or a != result.reference:
        return None
    return side.stored


def _found(
    a: tuple[str, _Side], b: tuple[str, _Side], *, dataset: Dataset | None, num_samples: int
) -> Divergence:
    for name, side in (a, b):
        if side.artifact is None:
            raise ConfigError(f"{name}: there is no artifact to open, it was {side.problem}")
    first, second = a[1], b[1]
    assert first.artifact is not None
    assert second.artifact is not None
    if first.artifact.checkpoint_digest != second.artifact.checkpoint_digest:
        raise NotComparable(
            f"{a[0]} comes from checkpoint {first.artifact.checkpoint_digest[:12]} and {b[0]} from "
            f"{second.artifact.checkpoint_digest[:12]}, expected two artifacts of one run"
        )
    request = DivergeRequest(
        a=first.artifact,
        b=second.artifact,
        dataset=dataset,
        a_evaluation=first.evaluation,
        b_evaluation=second.evaluation,
        num_samples=num_samples,
    )
    return run_isolated(
        "pt_core.evaluation.divergence:diverge", request, reply=Divergence, timeout_s=TIMEOUT_S
    )


def _is_bundle(name: str) -> bool:
    return (Path(name) / MANIFEST).is_file()


def _show(found: Divergence) -> None:
    title = f"{found.a} and {found.b}, on {found.num_samples} samples in batches of {found.batch_size}"
    chain = _table(title, "from", "to", "layers", "largest allowed", "state", "first layer over tolerance")
    for link in found.chain:
        first = f"{link.first.layer}, {_number(link.first.relative_error)}" if link.first else "-"
        chain.add_row(
            link.source,
            link.target,
            str(link.num_layers),
            f"{link.max_relative_error:g}",
            f"[{_STYLES[link.state]}]{link.state}[/]",
            first,
        )
    results.print(chain)
    for link in found.chain:
        if link.note:
            results.print(f"{link.target}: {link.note}", highlight=False, markup=False, style="dim")
    layers = _table(
        "Layers by their own damage", "layer", "kind", "own damage", "relative error", "SQNR dB", "cosine"
    )
    for layer in found.ranked:
        numbers = (layer.jump, layer.relative_error, layer.sqnr_db, layer.cosine)
        style = "" if layer.within else "red"
        layers.add_row(layer.layer, layer.kind, *map(_number, numbers), style=style)
    results.print(layers)
    style = {0: "bold green", 1: "bold red", 2: "bold yellow"}[_exit_code(found)]
    results.print(found.sentence, style=style, highlight=False, markup=False)


def _table(title: str, *names: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
