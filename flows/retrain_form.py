"""The fields of the run form of a retrain, and what each says as a change of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from pt_core.errors import ConfigError

AS_CONFIGURED: Final = "as configured"


def _titled(title: str) -> dict[str, str]:
    # Prefect sets the title of a field to its name, and only what is merged into the schema at the end wins over that.
    return {"title": title}


ConfigField = Annotated[str, Field(json_schema_extra=_titled("Configuration"))]
EpochsField = Annotated[int, Field(ge=0, le=10_000, json_schema_extra=_titled("Epochs"))]
PrecisionField = Annotated[
    Literal["as configured", "auto", "fp32", "bf16-mixed", "fp16-mixed"],
    Field(json_schema_extra=_titled("Precision")),
]
GateField = Annotated[
    Literal["as configured", "strict", "balanced", "smoke"], Field(json_schema_extra=_titled("Gate"))
]
PromoteField = Annotated[
    Literal["as configured", "never", "if it passes", "ask a person"],
    Field(json_schema_extra=_titled("Promote the winner")),
]
OverridesField = Annotated[tuple[str, ...], Field(json_schema_extra=_titled("Other settings"))]
ForceField = Annotated[bool, Field(json_schema_extra=_titled("Run even if nothing has changed"))]

_PROMOTE: Mapping[str, Mapping[str, str]] = {
    "never": {"promotion.after_run": "false"},
    "if it passes": {"promotion.after_run": "true", "promotion.approval": "none"},
    "ask a person": {"promotion.after_run": "true", "promotion.approval": "prefect"},
}


def form_overrides(
    overrides: tuple[str, ...], *, epochs: int, precision: str, gate: str, promote: str
) -> tuple[str, ...]:
    """Return what the form says as changes of the configuration, the form's own fields first.

    The gate comes before all others, since a policy takes the place of every rule.

    Raises:
        ConfigError: a field and one of the other settings say the same thing, or one of those is no name=value.
    """
    chosen: dict[str, Mapping[str, str]] = {
        "gate": {} if gate == AS_CONFIGURED else {"gate": gate},
        "epochs": {"train.epochs": str(epochs)} if epochs else {},
        "precision": {} if precision == AS_CONFIGURED else {"train.precision": precision},
        "promote": _PROMOTE.get(promote, {}),
    }
    for field, said in chosen.items():
        for override in overrides:
            _check_apart(field, said, override)
    fields = [f"{name}={value}" for said in chosen.values() for name, value in said.items()]
    return (*fields, *overrides)


def _check_apart(field: str, said: Mapping[str, str], override: str) -> None:
    """Refuse a setting that is no name=value, or that a field of the form has said already."""
    name, separator, _ = override.partition("=")
    if not separator or not name.strip():
        raise ConfigError(
            f"overrides: {override!r}: expected name.name=value, for example train.batch_size=128"
        )
    if name in said:
        raise ConfigError(
            f"overrides: {override}, and the field {field} of the form says {name}={said[name]}; say it in one place, "
            f"or leave {field} as configured"
        )
