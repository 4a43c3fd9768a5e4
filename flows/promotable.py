"""Which run, variant and registered model a promotion is about, and where it works."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from pydantic import JsonValue, ValidationError

from flows.cli.compare import find_runs
from flows.cli.run import read_result
from flows.home import Home
from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError
from tasks.promotion import PromotionConfig, PromotionPlaces


def places_of(home: Home) -> PromotionPlaces:
    """Return where promotions of a home read and write."""
    return PromotionPlaces(
        tracking_uri=home.tracking_uri,
        journal=str(home.promotions),
        store=home.store,
        releases=str(home.releases),
        signing_keys=home.keys,
    )


def run_to_promote(home: Home, name: str | None) -> RunResult:
    """Return a finished run by its name, or the latest that this home made.

    Raises:
        ConfigError: there is none.
    """
    return read_result(find_runs([name] if name else [], home)[0])


def config_of(result: RunResult, *, model: str | None = None, approval: str | None = None) -> PromotionConfig:
    """Return how a run's configuration wants its winner promoted, with what the user says instead.

    Raises:
        ConfigError: what the user says is not valid.
    """
    given = (result.config or {}).get("promotion")
    said = {"model_name": model, "approval": approval}
    settings = {
        **(given if isinstance(given, dict) else {}),
        **{k: v for k, v in said.items() if v is not None},
    }
    try:
        return PromotionConfig.model_validate(settings)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
        raise ConfigError(f"promotion: {'; '.join(problems)}", details=problems) from error


def model_to_move(home: Home, name: str | None) -> str:
    """Return the registered model that is meant: by its name, or the one of the latest run.

    Raises:
        ConfigError: no name is given and there is no run.
    """
    if name is not None:
        return name
    result = run_to_promote(home, None)
    return config_of(result).name_for(result.pipeline)


def new_identity(model: str) -> str:
    """Return an id for a promotion that sorts by time."""
    return f"{model}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def lineage_config(result: RunResult) -> dict[str, JsonValue] | None:
    """Return the run's whole configuration, for the release's lineage."""
    return dict(result.config) if result.config else None
