"""Read a policy: a preset's name or a strict YAML file in, a GateConfig or one clear line per problem out."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from flows.load import Tree, apply_override, read_tree, validate
from pt_core.decision.config import GateConfig
from pt_core.decision.presets import PRESETS
from pt_core.errors import ConfigError


def load_policy(name: str, overrides: Sequence[str] = ()) -> GateConfig:
    """Return a policy by the name of a preset or the path of a file, with ``a.b=value`` overrides applied.

    Raises:
        ConfigError: there is neither, or one line for each problem in it.
    """
    policy = validate(policy_tree(name, base_dir=Path.cwd()), GateConfig, where=name)
    return with_overrides(policy, overrides, where=name)


def with_overrides(policy: GateConfig, overrides: Sequence[str], *, where: str) -> GateConfig:
    """Return a policy with ``a.b=value`` overrides applied.

    Raises:
        ConfigError: one line for each problem; one override names another preset.
    """
    tree: Tree = policy.model_dump(mode="json")
    for override in overrides:
        if override.startswith("preset="):
            # Its rules are written out by now, so that another name would change nothing.
            raise ConfigError(f"--set {override}: use --policy {override.removeprefix('preset=')} instead")
        apply_override(tree, override)
    return validate(tree, GateConfig, where=where)


def policy_tree(name: str, *, base_dir: Path) -> Tree:
    """Return the settings that a preset's name or a file's path stands for.

    Raises:
        ConfigError: there is neither, or the file is no YAML mapping.
    """
    if name in PRESETS:
        return {"preset": name}
    path = base_dir / name
    if path.is_file():
        return read_tree(path)
    near = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"presets are {', '.join(PRESETS)}"
    raise ConfigError(f"{name}: no such policy file, and no preset of that name; {hint}")
