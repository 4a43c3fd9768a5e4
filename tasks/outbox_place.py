"""Where the entries of an outbox go, and by which ids MLflow knows what the earlier ones have created there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from pt_core.errors import StepFailed
from tasks.outbox_entries import Done, is_local

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Place(NamedTuple):
    """Where entries go, and what the earlier ones have become there."""

    client: MlflowClient
    """The server or the database."""
    known: Mapping[str, Done]
    """What became of an entry, by its id."""

    def run_id(self, reference: str) -> str:
        """Return MLflow's id of a run.

        Raises:
            StepFailed: it was not created.
        """
        return self.known[reference].run_id if reference in self.known else _known_to_mlflow(reference)

    def model_id(self, reference: str) -> str:
        """Return MLflow's id of a logged model.

        Raises:
            StepFailed: it was not created.
        """
        return self.known[reference].model_id if reference in self.known else _known_to_mlflow(reference)

    def experiment_id(self, run: str, named: str) -> str:
        """Return the id of the experiment that a run is in."""
        return self.known[run].experiment_id if run in self.known else named


def _known_to_mlflow(reference: str) -> str:
    if is_local(reference):
        raise StepFailed(f"{reference}: MLflow refused to create it, so nothing can be written there")
    return reference
