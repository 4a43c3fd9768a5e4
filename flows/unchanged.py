"""Whether a retrain has anything to do: its inputs as one digest, and the earlier run that settled them."""

from __future__ import annotations

import logging

from pydantic import JsonValue

from flows.check import Checked
from flows.checkpoints import warm_start_source
from flows.home import Home
from flows.requests import evaluate_code, model_code, prepare_request
from flows.servers import unreachable
from flows.surroundings import Surroundings, describe_surroundings
from pt_core.artifacts.registry import step_target
from pt_core.environment import code_digest, core_code_digest, library_version, runtime_identity
from pt_core.errors import StepFailed
from pt_core.record import Record
from tasks.earlier import EarlierRun, find_earlier
from tasks.promotion import PromotionConfig
from tasks.registering import PROMOTION_STATE, ROLLED_BACK_TO
from tasks.registry import CHAMPION, RegisteredVersion, find_alias, list_versions

logger = logging.getLogger(__name__)

NO_CHAMPION = "none"
_FAILED = ("undone", "lost")
"""How a promotion ends that is worth another try."""


class Inputs(Record):
    """Everything that decides what a run finds, but for the champion; in which folder and at what commit does not."""

    settings: dict[str, JsonValue]
    """The configuration after the overrides."""
    source_sha256: str | None
    """Content of the files that the samples come from."""
    code_sha256: dict[str, str]
    """Digest of the sources behind every import path that the configuration or its steps name."""
    warm_start: str | None
    """Digest of the checkpoint that training starts from."""
    version: str | None
    """Version of this product."""
    runtime: str
    """Interpreter, instruction sets and driver."""
    surroundings: Surroundings
    """Everything installed, other code that may be imported, and the processor."""


def inputs_of(checked: Checked, home: Home) -> Inputs:
    """Return what a run of this configuration rests on, every file read.

    Raises:
        ConfigError: a file or a module is gone.
        IntegrityError: the checkpoint to start from is damaged.
    """
    settings, base_dir = checked.settings, checked.base_dir
    prepare = prepare_request(settings, base_dir=base_dir, home=home)
    start = warm_start_source(settings, base_dir=base_dir)
    steps = {step_target(node.step.name) for node in checked.plan.nodes}
    code = {
        "pt_core": core_code_digest(),
        "data": prepare.code_sha256,
        "model": model_code(settings.model, base_dir=base_dir),
        "evaluation": evaluate_code(settings.evaluation),
        **{target: code_digest(target) for target in steps},
    }
    return Inputs(
        settings=settings.model_dump(mode="json"),
        source_sha256=prepare.source_sha256,
        code_sha256=code,
        warm_start=start.digest if start else None,
        version=library_version("pt-pipeline"),
        runtime=runtime_identity(),
        surroundings=describe_surroundings(base_dir),
    )


def settled_before(checked: Checked, home: Home, digest: str) -> EarlierRun | None:
    """Return the latest run whose verdict on the same inputs still stands; ``None`` also where MLflow does not say."""
    uri, promotion = home.tracking_uri, checked.settings.promotion
    problem = unreachable(uri) if uri.startswith("http") else None
    if problem is None:
        try:
            runs = find_earlier(uri, pipeline=checked.settings.name, inputs_digest=digest)
            if not isinstance(runs, str):
                model = promotion.name_for(checked.settings.name)
                champion = find_alias(uri, name=model, alias=CHAMPION)
                own = _registered_by(runs, list_versions(uri, name=model)) if promotion.after_run else None
                return still_stands(runs, champion, promotion, own)
            problem = runs
        except StepFailed as error:
            problem = str(error)
    logger.warning("MLflow does not say whether an equal run ended before, so this one runs: %s", problem)
    return None


def still_stands(
    runs: tuple[EarlierRun, ...],
    champion: RegisteredVersion | None,
    promotion: PromotionConfig,
    own: RegisteredVersion | None = None,
) -> EarlierRun | None:
    """Return the latest of equal runs, if it would end the same way today.

    A verdict rests on the champion it was judged against. One that these runs brought forth themselves changes nothing:
    otherwise every promotion would be followed by one more training of the same. Nor is a version promoted again that
    a person did not want.

    Args:
        runs: the equal runs, the latest first.
        champion: what is in use.
        promotion: what becomes of a winner.
        own: the version that the latest run registered by itself; ``None`` if it registered none.
    """
    if not runs:
        return None
    is_own = champion is not None and any(run.name == champion.run_name for run in runs)
    if is_own and runs[0].verdict == "pass":
        return runs[0]
    if promotion.after_run and runs[0].verdict == "pass":
        unwanted = _unwanted(own) if own else None
        if unwanted:
            return runs[0].model_copy(update={"aftermath": unwanted})
        if own is None or own.tags.get(PROMOTION_STATE) in _FAILED:
            return None
    now = f"{champion.name}/{champion.version}" if champion else NO_CHAMPION
    judged_against = now if promotion.compare_with_champion else NO_CHAMPION
    return runs[0] if runs[0].champion == judged_against else None


def _registered_by(
    runs: tuple[EarlierRun, ...], versions: tuple[RegisteredVersion, ...]
) -> RegisteredVersion | None:
    return next((one for one in versions if runs and one.run_name == runs[0].name), None)


def _unwanted(own: RegisteredVersion) -> str | None:
    if ROLLED_BACK_TO in own.tags:
        return f"{own.uri}, which it made champion, was rolled back to version {own.tags[ROLLED_BACK_TO]}"
    refused = own.tags.get(PROMOTION_STATE) == "refused"
    return f"the promotion of {own.uri}, which it registered, was refused" if refused else None
