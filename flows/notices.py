"""What people are told of a run or of a promotion, each as one event in Prefect with a text to read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pt_core.decision.result import Link, RunResult
from pt_core.errors import PtCoreError
from tasks.promotion import Promotion

if TYPE_CHECKING:
    from tasks.events import EventName

_TOLD = "is_told"
"""Attribute of an error that people know of."""
_PAGES = ("This run", "Variants side by side", "Prefect flow run")
"""The links that a message carries."""


def tell_refused(result: RunResult) -> None:
    """Tell that the gate let no variant of a run pass, and why each was refused."""
    reasons = [f"{variant.name}: {variant.reason}" for variant in result.variants]
    _emit(
        "pt-pipeline.gate.refused",
        resource_id=f"pt-pipeline.run.{result.run_name}",
        resource_name=result.run_name,
        body=_text(
            f"{result.pipeline}: the gate refused the run {result.run_name}. {result.sentence}",
            (*reasons, *_pages(result.links)),
        ),
        figures={"pipeline": result.pipeline, "run": result.run_name, "winner": "none"},
    )


def tell_failed(pipeline: str, run_name: str, error: BaseException, links: Iterable[Link] = ()) -> None:
    """Tell that a run failed, once for each error; an interrupt is none, since Prefect tells of that itself.

    Args:
        pipeline: name of the pipeline, or of the flow where there is none.
        run_name: name of the run.
        error: why; it passes several places that would tell of it.
        links: its pages.
    """
    if not isinstance(error, Exception) or _TOLD in vars(error):
        return
    vars(error)[_TOLD] = True
    said = error.message if isinstance(error, PtCoreError) else str(error).partition("\n")[0]
    _emit(
        "pt-pipeline.run.failed",
        resource_id=f"pt-pipeline.run.{run_name}",
        resource_name=run_name,
        body=_text(
            f"{pipeline}: the run {run_name} failed. {type(error).__name__}: {said[:1000]}", _pages(links)
        ),
        figures={"pipeline": pipeline, "run": run_name, "error": type(error).__name__},
    )


def tell_crashed(pipeline: str, run_name: str, *, why: str, is_told: bool = False) -> None:
    """Tell that the process of a run was found dead.

    Args:
        pipeline: name of the pipeline.
        run_name: name of the run.
        why: what was found.
        is_told: whether people have heard of it from Prefect, so that it is not posted to them again.
    """
    _emit(
        "pt-pipeline.run.crashed",
        resource_id=f"pt-pipeline.run.{run_name}",
        resource_name=run_name,
        body=f"{pipeline}: the run {run_name} crashed: {why}. Start it again.",
        figures={"pipeline": pipeline, "run": run_name},
        is_posted=not is_told,
    )


def tell_promoted(done: Promotion) -> None:
    """Tell that a promotion or a rollback moved the alias champion."""
    if done.state != "champion" or done.version == done.expected:
        return
    what = f"{done.variant} of the run {done.run_name}" if done.variant else done.uri
    before = f", in the place of version {done.expected}" if done.expected else ""
    verb = "was rolled back: champion is again" if done.kind == "rollback" else "has a new champion:"
    forced = f" It was forced: {done.forced_because}." if done.forced_because else ""
    _emit(
        "pt-pipeline.promotion.finished",
        resource_id=f"pt-pipeline.model.{done.model}",
        resource_name=done.model,
        body=f"{done.model} {verb} {done.uri} ({what}){before}.{forced}",
        figures={"model": done.model, "version": done.version or "", "kind": done.kind},
    )


def _emit(
    event: EventName,
    *,
    resource_id: str,
    resource_name: str,
    body: str,
    figures: Mapping[str, str],
    is_posted: bool = True,
) -> None:
    # Only where Prefect is in use: its import alone takes longer than a rollback does.
    if "prefect" not in sys.modules and not os.environ.get("PREFECT_API_URL"):
        return
    from tasks.events import emit

    emit(
        event,
        resource_id=resource_id,
        resource_name=resource_name,
        body=body,
        figures=figures,
        is_posted=is_posted,
    )


def _pages(links: Iterable[Link]) -> tuple[str, ...]:
    return tuple(f"{link.name}: {link.url}" for link in links if link.name in _PAGES)


def _text(first: str, lines: Iterable[str]) -> str:
    return "\n".join([first, *lines])
