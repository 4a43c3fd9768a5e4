"""pt-pipeline rebuild: build an engine again for this machine, from the ONNX in its own bundle."""

from __future__ import annotations

from pathlib import Path

from flows.cli.output import print_json, results
from flows.home import Home
from flows.store_lock import store_in_use
from pt_core.artifacts.guard import open_trusted
from pt_core.building.rebuild import rebuild as rebuild_artifact
from pt_core.errors import ConfigError
from pt_core.limits import Limits


def rebuild(bundle: Path, home: Home, *, unsigned: tuple[str, ...] = (), as_json: bool) -> None:
    """Rebuild in fresh processes and print where the new bundle is and what is known of it.

    Raises:
        ConfigError: there is no such directory, or its format is not bound to a device.
        IntegrityError: the bundle is not what its manifest says, or nobody who is trusted signed it.
    """
    if not bundle.is_dir():
        raise ConfigError(f"{bundle}: no such directory, expected an artifact bundle")
    with store_in_use(home):
        made = rebuild_artifact(
            open_trusted(bundle.resolve(), home.trust(unsigned)),
            store=Path(home.store),
            limits=Limits(timeout_s=1800),
            keys=home.keys,
        )
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    results.print(f"[bold green]rebuilt[/] {made.format} {made.directory}", soft_wrap=True)
    for line in made.checks:
        results.print(f"  [green]✓[/] {line}", highlight=False)
    if made.not_run:
        results.print(f"not measured: {made.not_run}", style="yellow", highlight=False)
