"""The schedules of a deployment: when they fire, in which time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dateutil.rrule import rrulestr  # type: ignore[import-untyped]
from prefect._vendor.croniter.croniter import CroniterBadDateError, croniter
from prefect.cli.deploy._models import RawScheduleConfig
from prefect.cli.deploy._schedules import _schedule_config_to_deployment_schedule
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule, RRuleSchedule
from pydantic import ValidationError

from deployments.checking.problem import Path, Problem, of_validation, unknown
from deployments.checking.shape import keys_of
from deployments.checking.templates import is_template

_KINDS = ("cron", "interval", "rrule")


def schedule_problems(path: Path, schedules: object) -> Iterator[Problem]:
    """Yield what is wrong with the list of schedules."""
    if schedules is None:
        return
    if not isinstance(schedules, list):
        yield Problem(path=path, text=f"expected a list, found {type(schedules).__name__}")
        return
    slugs: list[str] = []
    for index, schedule in enumerate(schedules):
        slug = schedule.get("slug") if isinstance(schedule, dict) else None
        if slug in slugs:
            text = f"{slug!r} is another schedule's too, and only one of them stays; rename one"
            yield Problem(path=(*path, index, "slug"), text=text)
        slugs += [slug] if isinstance(slug, str) else []
        if isinstance(schedule, dict):
            yield from _one((*path, index), schedule)
        else:
            yield Problem(path=(*path, index), text=f"expected a mapping, found {type(schedule).__name__}")


def _one(path: Path, schedule: dict[str, Any]) -> Iterator[Problem]:
    known = keys_of(RawScheduleConfig)
    wrong = [key for key in schedule if key not in known]
    yield from (unknown((*path, key), known) for key in wrong)
    given = [kind for kind in _KINDS if schedule.get(kind) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        yield Problem(path=path, text=f"expected exactly one of {', '.join(_KINDS)}; found {found}")
        return
    for key, kind in (("day_or", "cron"), ("anchor_date", "interval")):
        if key in schedule and given != [kind]:
            yield Problem(path=(*path, key), text=f"is of {kind} schedules only")
    try:
        RawScheduleConfig.model_validate({key: schedule[key] for key in schedule if key in known})
        built = _build({key: schedule[key] for key in schedule if key in known})
    except ValidationError as error:
        yield from of_validation(path, error)
    except (ValueError, TypeError) as error:
        yield Problem(path=(*path, given[0]), text=str(error))
    else:
        problem = _time_problem(built)
        if problem:
            yield Problem(path=(*path, given[0]), text=f"{schedule[given[0]]!r} {problem}")


def _build(schedule: dict[str, Any]) -> object:
    """Return what Prefect makes of a schedule when it deploys; only that is validated against zones and dates."""
    if schedule.get("timezone") == "":
        raise ValueError("timezone is empty; expected an IANA name such as Europe/Berlin, or leave it out")
    filled = {key: value for key, value in schedule.items() if not is_template(value)}
    try:
        return DeploymentScheduleCreate.model_validate(
            _schedule_config_to_deployment_schedule(filled)
        ).schedule
    except IndexError as error:
        # Of dateutil, where a line says when a rule begins and none says what it is.
        raise ValueError(f"{filled.get('rrule')!r} holds no rule; expected one such as FREQ=DAILY") from error


def _time_problem(schedule: object) -> str | None:
    """Return why a schedule that Prefect takes fires never, or every second."""
    now = datetime.now(UTC)
    if isinstance(schedule, RRuleSchedule):
        rule = rrulestr(schedule.rrule, dtstart=datetime(2020, 1, 1), ignoretz=True)
        is_over = rule.after(now.replace(tzinfo=None)) is None
        return "never fires again; expected an UNTIL that is to come, or none" if is_over else None
    if not isinstance(schedule, CronSchedule):
        return None
    fields = schedule.cron.split()
    if len(fields) != 5 and not schedule.cron.startswith("@"):
        return f"has {len(fields)} fields, and the first would be seconds or the last years; expected 5, minutes first"
    try:
        croniter(schedule.cron, now).get_next()  # type: ignore[no-untyped-call]
    except CroniterBadDateError:
        return "never fires; expected a date that exists"
    return None
