"""Which versions of registered models are in use: what every alias of every model points at, with where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pt_core.record import Record
from tasks.closing import pages
from tasks.registry import RUN_NAME, asked

_GONE = "RESOURCE_DOES_NOT_EXIST"


class Aliased(Record):
    """A version that at least one alias points at, whoever registered it."""

    uri: str
    """How it is asked for by number."""
    aliases: tuple[str, ...]
    """The names that point at it."""
    run_name: str | None
    """Name of the pipeline run that it comes from, where its tags tell."""
    mlflow_run_ids: tuple[str, ...]
    """Ids of the MLflow run that it comes from and of that run's parent, where it has them."""
    text: str
    """Everything that was written down with it; digests are found in it."""

    @property
    def sentence(self) -> str:
        """Why what it rests on must stay."""
        names = ", ".join(f"@{alias}" for alias in self.aliases)
        return f"{names} points at {self.uri}"


def aliased_versions(tracking_uri: str) -> tuple[Aliased, ...]:
    """Return every version in use.

    Raises:
        ConfigError: the address is of another kind, or holds a password.
        StepFailed: MLflow refused or did not answer.
    """
    with asked(tracking_uri) as client:
        return tuple(_aliased(client))


def knows_run(tracking_uri: str, run_id: str) -> bool:
    """Return whether this MLflow has a run, deleted ones included.

    Raises:
        StepFailed: MLflow refused or did not answer.
    """
    with asked(tracking_uri) as client:
        return _run(client, run_id) is not None


def _aliased(client: Any) -> Iterator[Aliased]:
    for found in pages(client.search_registered_models):
        # Asked of each, since a search need not fill in the aliases.
        aliases: dict[str, str] = client.get_registered_model(found.name).aliases
        by_version: dict[str, list[str]] = {}
        for alias, version in sorted(aliases.items()):
            by_version.setdefault(str(version), []).append(alias)
        for version, names in by_version.items():
            yield _describe(client, client.get_model_version(found.name, version), names)


def _describe(client: Any, version: Any, aliases: list[str]) -> Aliased:
    run_id = version.run_id or _run_of_model(client, version.source or "")
    run = _run(client, run_id) if run_id else None
    parent = run.data.tags.get("mlflow.parentRunId") if run else None
    told = [*version.tags.values(), version.source or ""]
    if run:
        told += run.data.tags.values()
    return Aliased(
        uri=f"models:/{version.name}/{version.version}",
        aliases=tuple(aliases),
        run_name=version.tags.get(RUN_NAME),
        mlflow_run_ids=tuple(filter(None, (run_id, parent, version.tags.get("mlflow_run_id")))),
        text="\n".join(str(value) for value in told),
    )


def _run_of_model(client: Any, source: str) -> str | None:
    """Return the run of a logged model that was registered from MLflow's own pages."""
    name = source.removeprefix("models:/")
    if name == source or not name.startswith("m-"):
        return None
    return client.get_logged_model(name).source_run_id or None


def _run(client: Any, run_id: str) -> Any:
    try:
        return client.get_run(run_id)
    except Exception as error:
        if getattr(error, "error_code", None) == _GONE:
            return None
        raise
