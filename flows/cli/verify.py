"""pt-pipeline verify: prove that a bundle is what its manifest says."""

from __future__ import annotations

from pathlib import Path

from flows.cli.output import print_json, results
from flows.home import Home, add_code_path
from pt_core.artifacts.integrity import IntegrityReport
from pt_core.errors import ConfigError
from pt_core.inference.requests import VerifyRequest
from pt_core.isolation import run_isolated


def verify(path: Path, home: Home, *, unsigned: tuple[str, ...], as_json: bool) -> None:
    """Verify in a fresh process and print what was checked; a network of the user's is imported from the current folder.

    Raises:
        ConfigError: there is no such directory.
        IntegrityError: the bundle is not what its manifest says, or nobody vouches for a release or a program.
    """
    if not path.is_dir():
        raise ConfigError(
            f"{path}: no such directory, expected a release, an artifact, a checkpoint or another bundle"
        )
    add_code_path(Path())
    request = VerifyRequest(directory=str(path.resolve()), trust=home.trust(unsigned))
    report = run_isolated("pt_core.release.verify:verify", request, reply=IntegrityReport, timeout_s=600)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    results.print(f"[bold green]verified[/] {report.kind} {report.directory}")
    for line in report.checks:
        results.print(f"  [green]✓[/] {line}", highlight=False)
    for line in report.notes:
        results.print(f"  [yellow]![/] {line}", highlight=False, soft_wrap=True)
