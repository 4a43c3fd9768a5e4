"""What a promotion is told; plain records, without MLflow or Prefect."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pt_core.record import Record


class PromotionConfig(Record):
    """How the winner becomes the version in use."""

    model_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Name of the registered model in MLflow; null is the name of the pipeline."""
    approval: Literal["none", "prefect"] = "none"
    """Who agrees before the alias champion moves: nobody, or a person in Prefect's pages."""
    after_run: bool = False
    """Whether a run that passed promotes its winner by itself."""
    compare_with_champion: bool = True
    """Whether the version in use is evaluated beside the variants, on the same samples."""

    def name_for(self, pipeline: str) -> str:
        """Return the registered model's name for a pipeline."""
        return self.model_name or pipeline
