"""Everything about a run that can be refused before any work, in about a second."""

from __future__ import annotations

from pathlib import Path

from flows.checkpoints import warm_start_source
from flows.config import PipelineConfig
from flows.home import add_code_path
from flows.load import CONFIGS, find_config, load_config
from flows.pushed import check_imports, check_pushed, forget_other_code
from pt_core.building.plan import Plan, make_plan
from pt_core.data.augmentation import check_library
from pt_core.data.files import check_paths, existing
from pt_core.evaluation.measures import code_of
from pt_core.modeling.target import check_target
from pt_core.record import Record


class Checked(Record):
    """A configuration that can run."""

    name: str
    """What the user called it."""
    path: str
    """Absolute path of the file."""
    settings: PipelineConfig
    """What it says."""
    plan: Plan
    """Its tree of steps."""

    @property
    def base_dir(self) -> Path:
        """Folder that the paths in it are relative to."""
        return Path(self.path).parent


def check(config: str, overrides: tuple[str, ...]) -> Checked:
    """Validate the configuration, its chains, all import paths and the data file.

    Raises:
        ConfigError: the configuration, an import path, the data file or the checkpoint to start from; or the code is not
            that of the commit that was pushed.
        IntegrityError: that checkpoint is damaged.
        PlanError: a chain of steps.
    """
    path = find_config(config)
    settings = load_config(path, overrides)
    # Before any of its code is imported.
    check_pushed(Path.cwd() if path.parent == CONFIGS else path.parent)
    forget_other_code()
    plan = make_plan(settings.variants)
    add_code_path(path.parent)
    check_imports(_targets(settings), path.parent)
    check_code(settings)
    if settings.data.factory is not None:
        check_target(settings.data.factory.target, where="data.factory.target")
    check_paths(settings.data, path.parent)
    existing(settings.model.depends_on, path.parent, where="model.depends_on")
    check_library(settings.data.augmentation)
    warm_start_source(settings, base_dir=path.parent)
    return Checked(name=config, path=str(path), settings=settings, plan=plan)


def check_code(settings: PipelineConfig) -> None:
    """Refuse import paths of the network, of slices and of metrics behind which there is nothing.

    Raises:
        ConfigError: which setting names it.
    """
    check_target(settings.model.target)
    for target, where in code_of(settings.evaluation).items():
        check_target(target, where=where)


def _targets(settings: PipelineConfig) -> dict[str, str]:
    """Return every import path of the user's code, with the setting that it stands in."""
    factory = settings.data.factory
    data = {factory.target: "data.factory.target"} if factory is not None else {}
    return {settings.model.target: "model.target", **data, **code_of(settings.evaluation)}
