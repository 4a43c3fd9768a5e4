"""Ask a person in Prefect's pages whether a promotion may move the alias; the run stops until there is an answer."""

from __future__ import annotations

import os

from prefect import get_run_logger, pause_flow_run, suspend_flow_run
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput
from prefect.runtime import deployment
from pydantic import Field

from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError
from tasks.promotion import Promotion

POLL_S = 2


class Approval(RunInput):
    """The form that Prefect shows."""

    approve: bool = Field(default=False, title="Promote", description="Whether the version becomes champion.")
    name: str = Field(default="", title="Your name", description="Written on the version.", max_length=200)
    comment: str = Field(
        default="", title="Why", description="Written down with the answer.", max_length=1000
    )

    @property
    def said(self) -> str:
        """The answer's name and comment in one line."""
        return ": ".join(filter(None, [self.name, self.comment])) or "a person"


def check_can_ask() -> None:
    """Refuse to begin what nobody could ever agree to.

    Raises:
        ConfigError: there is no Prefect server whose pages a person could open.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise ConfigError(
            "promotion.approval: prefect asks in the pages of a Prefect server, and PREFECT_API_URL names none; start one "
            "(prefect server start) and set it, or use approval: none"
        )


def ask(promotion: Promotion, result: RunResult, *, may_suspend: bool) -> Approval | None:
    """Stop this flow run until a person answers; ``None`` if nobody did in time.

    A run of a deployment is suspended: its process ends, and it starts from the top when it is resumed. Any other
    run waits.

    Args:
        promotion: what waits.
        result: the run that it comes from.
        may_suspend: whether this flow can start from the top.
    """
    form = Approval.with_initial_data(description=question(promotion, result))
    timeout_s = int(promotion.approval_timeout_s)
    get_run_logger().info("waiting for a person to resume this run: %s", promotion.uri)
    if may_suspend and deployment.id:
        return suspend_flow_run(wait_for_input=form, timeout=timeout_s, key=promotion.id)
    try:
        return pause_flow_run(wait_for_input=form, timeout=timeout_s, poll_interval=POLL_S, key=promotion.id)
    except FlowPauseTimeout:
        return None


def question(promotion: Promotion, result: RunResult) -> str:
    """Return what the form says, in Markdown."""
    variant = next(one for one in result.variants if one.name == promotion.variant)
    before = f"version {promotion.expected}" if promotion.expected else "no version"
    lines = [
        f"Make **{promotion.uri}** ({variant.name} of run {result.run_name}) the champion, in the place of {before}?",
        f"Verdict: **{variant.standing}**. {variant.reason}",
    ]
    if promotion.forced_because:
        lines.append(f"By force, since: {promotion.forced_because}")
    if promotion.replay:
        lines.append("Replayed from a fresh download: " + " ".join(promotion.replay.checks))
    lines += [f"[{link.name}]({link.url})" for link in result.links]
    return "\n\n".join(lines)
