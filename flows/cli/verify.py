"""pt-pipeline verify: prove that a bundle is what its manifest says."""

from __future__ import annotations

from pathlib import Path

from flows.cli.output import print_json, results
from pt_core.artifacts.integrity import IntegrityReport
from pt_core.errors import ConfigError
from pt_core.inference.requests import VerifyRequest
from pt_core.isolation import run_isolated


def verify(path: Path, *, as_json: bool) -> None:
    """Verify in a fresh process and print what was checked.

    Raises:
        ConfigError: there is no such directory.
        IntegrityError: the bundle is not what its manifest says.
    """
    if not path.is_dir():
        raise ConfigError(f"{path}: no such directory, expected a checkpoint or artifact bundle")
    request = VerifyRequest(directory=str(path.resolve()))
    report = run_isolated("pt_core.inference.verify:verify", request, reply=IntegrityReport, timeout_s=600)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    results.print(f"[bold green]verified[/] {report.kind} {report.directory}")
    for line in report.checks:
        results.print(f"  [green]✓[/] {line}", highlight=False)
