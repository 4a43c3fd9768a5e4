"""What a promotion is told and what is written down of it; plain records, without MLflow or Prefect."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from pt_core.artifacts.integrity_report import IntegrityReport
from pt_core.keys import Keys, Trust
from pt_core.record import Record

PromotionStep = Literal["release", "register", "challenger", "replay", "approval", "champion"]
"""What a promotion does, in this order; a rollback does the last alone."""
PromotionState = Literal["open", "waiting", "champion", "undone", "lost", "refused"]
"""Open while at work, waiting for a person, then how it ended: it moved the alias, was taken back after its process
died or it failed, came second, or a person said no."""


class PromotionConfig(Record):
    """How the winner becomes the version in use."""

    model_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Name of the registered model in MLflow; null is the name of the pipeline."""
    approval: Literal["none", "prefect"] = "none"
    """Who agrees before the alias champion moves: nobody, or a person in Prefect's pages."""
    approval_timeout_s: float = Field(default=86_400, gt=0)
    """Seconds that a promotion waits for that person, before it is taken back."""
    after_run: bool = False
    """Whether a run that passed promotes its winner by itself."""
    compare_with_champion: bool = True
    """Whether the version in use is evaluated beside the variants, on the same samples."""

    def name_for(self, pipeline: str) -> str:
        """Return the registered model's name for a pipeline."""
        return self.model_name or pipeline


class PromotionPlaces(Record):
    """Where a promotion reads and writes."""

    tracking_uri: str
    """MLflow's address."""
    journal: str
    """Folder of the journal and of the locks of this home."""
    store: str
    """Folder that the release is made in."""
    releases: str
    """Folder that releases are fetched into."""
    signing_keys: Keys
    """The key that signs, and whom this home trusts."""

    @property
    def trust(self) -> Trust:
        """Whose signature counts."""
        return Trust(trusted_keys=self.signing_keys.trusted)


class Promotion(Record):
    """One promotion or rollback, as its journal holds it before and after every step."""

    id: str
    """Its id, also a tag of the version that it registers."""
    kind: Literal["promotion", "rollback"]
    """What it is."""
    model: str
    """Name of the registered model."""
    tracking_uri: str | None = None
    """Address of the MLflow that it is about, without secrets; ``None`` in journals of earlier versions."""
    expected: str | None
    """The version that the alias champion must point at when it is moved; ``None`` if there is none."""
    run_name: str | None = None
    """The run that the variant comes from."""
    variant: str | None = None
    """Name of the variant."""
    forced_because: str | None = None
    """Why somebody promoted what is not promotable."""
    needs_approval: bool = False
    """Whether a person must agree."""
    approval_timeout_s: float = 86_400
    """Seconds that it waits for that."""
    waits_until: str | None = None
    """Until when it waits, ISO 8601 in UTC, once it does."""
    approved_by: str | None = None
    """What the person who agreed wrote."""
    release_directory: str | None = None
    """The release bundle, once it is made."""
    release_digest: str | None = None
    """Its digest."""
    version: str | None = None
    """The version to make champion, once it is registered."""
    replay: IntegrityReport | None = None
    """What was checked on a fresh download in a clean process."""
    done: tuple[PromotionStep, ...] = ()
    """Steps that ended."""
    at_work_on: PromotionStep | None = None
    """The step that began and has not ended."""
    state: PromotionState = "open"
    """How far it is."""
    note: str = ""
    """Why it ended as it did, in one sentence."""
    started_at: str = ""
    """When it began, ISO 8601 in UTC."""

    @property
    def uri(self) -> str:
        """The version as it is asked for; the model alone before it is registered."""
        return f"models:/{self.model}/{self.version}" if self.version else f"models:/{self.model}"

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.state not in ("open", "waiting")

    @property
    def may_begin_anew(self) -> bool:
        """Whether it failed or lost, and no person was asked, who would have to be asked again."""
        return self.state in ("undone", "lost") and self.waits_until is None

    @property
    def is_left(self) -> bool:
        """Whether it must be settled if no process is at work on it: it was, or it waited for a person for too long."""
        if self.state == "waiting" and self.waits_until is not None:
            return datetime.now(UTC) > datetime.fromisoformat(self.waits_until)
        return self.state == "open"


OnStep = Callable[[Promotion], None]
"""Told of every line of the journal, after it was written."""
