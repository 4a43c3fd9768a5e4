"""The schedules of a deployment: when they fire, in which time zone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect._vendor.croniter.croniter import CroniterBadDateError, croniter
from prefect.cli.deploy._models import RawScheduleConfig
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from pydantic import ValidationError

from deployments.checking.problem import Path, Problem, of_validation, unknown
from deployments.checking.shape import keys_of

_KINDS = ("cron", "interval", "rrule")


def schedule_problems(path: Path, schedules: object) -> Iterator[Problem]:
    """Yield what is wrong with the list of schedules."""
    if schedules is None:
        return
    if not isinstance(schedules, list):
        yield Problem(path=path, text=f"expected a list, found {type(schedules).__name__}")
        return
    for index, schedule in enumerate(schedules):
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
    if "day_or" in schedule and given != ["cron"]:
        yield Problem(path=(*path, "day_or"), text="is of cron schedules only")
    try:
        RawScheduleConfig.model_validate({key: schedule[key] for key in schedule if key in known})
        _build(given[0], schedule)
    except ValidationError as error:
        yield from of_validation(path, error)
    except (ValueError, TypeError) as error:
        yield Problem(path=(*path, given[0]), text=str(error))
    else:
        if given == ["cron"] and not _ever_fires(schedule["cron"]):
            yield Problem(
                path=(*path, "cron"), text=f"{schedule['cron']!r} never fires; expected a date that exists"
            )


def _build(kind: str, schedule: dict[str, Any]) -> None:
    """Make the schedule that Prefect would make of it; only that is validated against zones and dates."""
    zone = {"timezone": schedule["timezone"]} if schedule.get("timezone") is not None else {}
    if zone and not zone["timezone"]:
        raise ValueError("timezone is empty; expected an IANA name such as Europe/Berlin, or leave it out")
    if kind == "cron":
        CronSchedule(cron=schedule["cron"], **zone)
    elif kind == "interval":
        interval = schedule["interval"]
        seconds = isinstance(interval, int | float)
        IntervalSchedule(interval=timedelta(seconds=interval) if seconds else interval, **zone)
    elif schedule["rrule"].lstrip().startswith("{"):
        RRuleSchedule(**json.loads(schedule["rrule"]))
    else:
        RRuleSchedule(rrule=schedule["rrule"], **zone)


def _ever_fires(cron: str) -> bool:
    try:
        croniter(cron, datetime.now(UTC)).get_next()  # type: ignore[no-untyped-call]
    except CroniterBadDateError:
        return False
    return True
