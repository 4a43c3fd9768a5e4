"""Promotion and rollback against a real MLflow database: what is refused, what is written down, and what is left."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from promotable import MODEL, another_run, make_promotable, places_in

from flows.home import Home
from flows.promote import promote_with_approval
from flows.store_lock import store_alone
from pt_core.decision.result import ChampionResult, RunResult
from pt_core.errors import ConfigError, GateRefused, IntegrityError, PromotionConflict, StepFailed
from tasks import journal, registering, registry
from tasks.promote import begin, proceed, refuse
from tasks.promotion import Promotion, PromotionConfig, PromotionPlaces
from tasks.recover import recover
from tasks.rollback import rollback

NAMES = iter(range(1000))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def result(home: Path) -> RunResult:
    return make_promotable(home)


@pytest.fixture(scope="module")
def places(home: Path, result: RunResult) -> PromotionPlaces:
    return places_in(home)


@pytest.fixture
def model() -> str:
    """A registered model of the test's own."""
    return f"{MODEL}-{next(NAMES)}"


def promote(places: PromotionPlaces, result: RunResult, model: str, **options: object) -> Promotion:
    begun = begin(places, result, identity=f"p{next(NAMES)}", model=model, **options)
    return begun if begun.state == "champion" else proceed(places, begun, result)


def alias(places: PromotionPlaces, model: str, name: str = "champion") -> str | None:
    found = registry.find_alias(places.tracking_uri, name=model, alias=name)
    return found.version if found else None


def files_of(version: registry.RegisteredVersion) -> Path:
    return Path(unquote(urlsplit(version.source).path))


@pytest.fixture(scope="module")
def promoted(places: PromotionPlaces, result: RunResult) -> tuple[str, Promotion, Promotion]:
    """A model with two champions, one after the other."""
    first = promote(places, result, "twice")
    return "twice", first, promote(places, another_run(result, "second"), "twice")


def test_the_winner_becomes_champion_with_its_lineage_and_its_verdict(promoted, places, result):
    model, first, _ = promoted
    found = registry.find_version(places.tracking_uri, name=model, version=first.version)
    winner = next(one for one in result.variants if one.name == "onnx")
    expected = {
        "bundle_digest": winner.artifact.digest,
        "checkpoint_digest": result.checkpoint.digest,
        "data_fingerprint": result.dataset.fingerprint,
        "git_commit": result.checkpoint.environment.git_commit,
        "mlflow_run_id": result.mlflow_run_id,
        "prefect_flow_run_id": result.prefect_flow_run_id,
        "parent_digest": winner.artifact.parent_digest,
        "previous_champion": "none",
        "promotion_state": "champion",
        "run_name": result.run_name,
        "variant": "onnx",
        "verdict": "pass",
        "release_digest": first.release_digest,
    }
    assert found.tags | expected == found.tags
    assert found.run_id == result.mlflow_run_id


def test_the_golden_outputs_are_replayed_without_torch_and_the_pipeline(promoted):
    _, first, _ = promoted
    loaded = next(line for line in first.replay.checks if line.startswith("It loads as onnx"))
    assert all(name in loaded for name in ("pt_core.training", "prefect", "mlflow", "torch", "flows"))
    assert first.replay.golden_max_abs_error < 1e-4


def test_the_next_champion_tells_which_one_it_took_the_place_of(promoted, places):
    model, first, second = promoted
    assert alias(places, model) == second.version != first.version
    assert alias(places, model, "challenger") is None
    found = registry.find_version(places.tracking_uri, name=model, version=second.version)
    assert found.tags["previous_champion"] == first.version
    assert found.aliases == ("champion",)


def test_the_journal_names_every_step_and_the_lock_is_gone(promoted, places):
    model, _, second = promoted
    written = journal.read(Path(places.journal), second.id)
    assert written == second
    assert written.done == ("release", "register", "challenger", "replay", "approval", "champion")
    assert registering.claims(places.tracking_uri, model) == {}


def test_what_is_champion_already_is_not_registered_again(promoted, places, result):
    model, _, second = promoted
    again = promote(places, another_run(result, "second"), model)
    assert (again.state, again.version) == ("champion", second.version)
    assert len(registry.list_versions(places.tracking_uri, name=model)) == 2


@pytest.mark.parametrize(
    ("variant", "update", "said"),
    [
        ("int8-dynamic", {}, "was not built"),
        ("onnx-int8-dynamic", {}, "verdict is fail"),
        ("onnx", {"over_budget": ("size_bytes 49,870 is above 1,000",)}, "over budget: size_bytes"),
        ("onnx", {"dominated_by": "torchscript"}, "dominated by torchscript"),
    ],
)
def test_what_is_not_promotable_is_refused_with_the_reason(places, result, model, variant, update, said):
    variants = tuple(one.model_copy(update=update) if one.name == variant else one for one in result.variants)
    with pytest.raises((GateRefused, ConfigError), match=said):
        promote(places, result.model_copy(update={"variants": variants}), model, variant=variant)
    assert registry.list_versions(places.tracking_uri, name=model) == ()


@pytest.mark.parametrize("state", ["fail", "insufficient", "not measured"])
def test_every_verdict_but_pass_is_refused(places, result, model, state):
    worse = [
        one.model_copy(update={"verdict": one.verdict.model_copy(update={"state": state})})
        for one in result.variants
    ]
    with pytest.raises(GateRefused, match=f"its verdict is {state}.*--force --reason"):
        promote(places, result.model_copy(update={"variants": tuple(worse)}), model)


def test_what_is_forced_is_stamped_with_its_reason(places, result, model):
    changed = tuple(
        one.model_copy(update={"over_budget": ("too large",)}) if one.name == "onnx" else one
        for one in result.variants
    )
    update = {"variants": changed, "run_name": "forced"}
    done = promote(places, result.model_copy(update=update), model, forced_because="the demo is tomorrow")
    found = registry.find_version(places.tracking_uri, name=model, version=done.version)
    assert found.tags["forced_because"] == "the demo is tomorrow"
    card = (Path(done.release_directory) / "MODEL_CARD.md").read_text()
    assert "by force although it is not promotable**, since: the demo is tomorrow" in card


def test_a_run_that_was_compared_with_another_champion_is_refused(promoted, places, result):
    model, first, second = promoted
    compared = ChampionResult(name="champion", model=model, version=first.version, problem=None)
    late = another_run(result, "late").model_copy(update={"champion": compared})
    with pytest.raises(
        PromotionConflict, match=f"version {first.version} was expected, version {second.version}"
    ):
        promote(places, late, model)
    assert alias(places, model) == second.version


def asked(result: RunResult, name: str, met: ChampionResult | None, **promotion: object) -> RunResult:
    """A run whose configuration said to ask for the champion, and what it met."""
    update = {"champion": met, "config": {"promotion": {"compare_with_champion": True, **promotion}}}
    return another_run(result, name).model_copy(update=update)


def test_of_two_runs_that_met_no_champion_the_second_does_not_take_the_place_of_the_first(
    places, result, model
):
    a, b = (asked(result, name, None, model_name=model) for name in "ab")
    first = promote(places, a, model)
    assert promote(places, a, model).version == first.version
    with pytest.raises(
        PromotionConflict, match=f"no version was expected, version {first.version} found.*--force"
    ):
        promote(places, b, model)
    assert promote(places, b, model, forced_because="it is better").version != first.version


def test_a_run_that_could_not_ask_is_refused_and_one_that_was_told_not_to_is_not(places, result, model):
    promote(places, another_run(result, "first"), model)
    unknown = ChampionResult(name="champion", model=model, version=None, problem="the server was away")
    with pytest.raises(GateRefused, match=r"the server was away.*run the pipeline again"):
        promote(places, asked(result, "unknown", unknown, model_name=model), model)
    unasked = asked(result, "unasked", None, model_name=model, compare_with_champion=False)
    assert promote(places, unasked, model).state == "champion"
    of_another_model = asked(result, "other", None, model_name="another")
    assert promote(places, of_another_model, model).state == "champion"


def test_a_version_of_the_same_number_with_other_files_is_another_champion(places, result, model):
    done = promote(places, another_run(result, "first"), model)
    met = ChampionResult(
        name="champion", model=model, version=done.version, release_digest="0" * 64, problem=None
    )
    with pytest.raises(PromotionConflict, match="with other files than the version"):
        promote(places, asked(result, "second", met, model_name=model), model)
    met = met.model_copy(update={"release_digest": done.release_digest})
    assert promote(places, asked(result, "second", met, model_name=model), model).expected == done.version


def test_a_champion_that_moves_meanwhile_makes_the_promotion_lose(places, result, model):
    promote(places, another_run(result, "a"), model)
    slow = begin(places, another_run(result, "b"), identity="slow", model=model)
    quick = promote(places, another_run(result, "c"), model)
    with pytest.raises(PromotionConflict, match="run the pipeline again"):
        proceed(places, slow, another_run(result, "b"))
    assert alias(places, model) == quick.version
    assert alias(places, model, "challenger") is None
    assert journal.read(Path(places.journal), "slow").state == "lost"


def test_a_release_whose_outputs_differ_never_becomes_champion(places, result, model, monkeypatch):
    done = promote(places, another_run(result, "good"), model)
    begun = begin(places, another_run(result, "bad"), identity="bad", model=model)

    def damage(now: Promotion) -> None:
        if now.at_work_on == "replay":
            version = registry.find_version(places.tracking_uri, name=model, version=now.version)
            path = files_of(version) / "artifact" / "model.onnx"
            path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        proceed(places, begun, another_run(result, "bad"), on_step=damage)
    assert alias(places, model) == done.version
    assert alias(places, model, "challenger") is None
    assert journal.read(Path(places.journal), "bad").state == "undone"


def test_a_promotion_waits_for_a_person_and_goes_on_when_they_agree(places, result, model):
    begun = begin(places, another_run(result, "asked"), identity="asked", model=model, needs_approval=True)
    waiting = proceed(places, begun, another_run(result, "asked"))
    assert waiting.state == "waiting"
    assert (alias(places, model), alias(places, model, "challenger")) == (None, waiting.version)
    done = proceed(places, waiting, another_run(result, "asked"), approved_by="Ada: fine")
    assert (done.state, done.approved_by, alias(places, model)) == ("champion", "Ada: fine", waiting.version)
    found = registry.find_version(places.tracking_uri, name=model, version=done.version)
    assert found.tags["approved_by"] == "Ada: fine"


def test_a_promotion_that_a_person_refuses_is_taken_back(places, result, model):
    begun = begin(places, another_run(result, "no"), identity="no", model=model, needs_approval=True)
    waiting = proceed(places, begun, another_run(result, "no"))
    ended = refuse(places, waiting, why="Ada did not approve")
    assert ended.state == "refused"
    assert alias(places, model) is alias(places, model, "challenger") is None
    found = registry.find_version(places.tracking_uri, name=model, version=waiting.version)
    assert found.tags["promotion_state"] == "refused"


def test_nobody_has_to_wait_while_a_person_is_asked(places, result, model, monkeypatch):
    run, home, free = another_run(result, "asks"), Home(root=str(Path(places.journal).parent)), []
    waiting = proceed(places, begin(places, run, identity="asks", model=model, needs_approval=True), run)

    def ask(promotion, result, *, may_suspend):
        with store_alone(home, patience_s=0) as alone:
            free.append(alone)

    monkeypatch.setattr("flows.promote.ask", ask)
    with pytest.raises(GateRefused, match="nobody answered in time"):
        promote_with_approval(home, run, PromotionConfig(), identity="asks", known=waiting)
    assert free == [True]


def test_a_promotion_that_ended_is_not_carried_through_nor_reported_as_done(places, result, model):
    run = another_run(result, "ended")
    waiting = proceed(places, begin(places, run, identity="ended", model=model, needs_approval=True), run)
    refuse(places, waiting, why="Ada did not approve")
    with pytest.raises(PromotionConflict, match="ended already, refused: Ada did not approve"):
        proceed(places, waiting, run, approved_by="Bob")
    known = journal.read(Path(places.journal), "ended")
    home = Home(root=str(Path(places.journal).parent))
    with pytest.raises(GateRefused, match="Ada did not approve"):
        promote_with_approval(home, run, PromotionConfig(), identity="ended", known=known)
    lost = known.model_copy(update={"state": "lost", "note": "version 2 came first"})
    with pytest.raises(PromotionConflict, match="version 2 came first"):
        promote_with_approval(home, run, PromotionConfig(), identity="ended", known=lost)
    assert refuse(places, waiting, why="again").note == known.note
    assert alias(places, model) is None


def test_the_files_of_a_champion_are_not_written_again_by_another_promotion(places, result, model):
    run = another_run(result, "shared")
    first = promote(places, run, model)
    version = registry.find_version(places.tracking_uri, name=model, version=first.version)
    before = {path: path.stat().st_ctime_ns for path in files_of(version).rglob("*")}
    second = promote(places, run, f"{model}-too")
    assert second.release_digest == first.release_digest
    again = registry.find_version(places.tracking_uri, name=f"{model}-too", version=second.version)
    assert files_of(again) != files_of(version)
    assert {path: path.stat().st_ctime_ns for path in files_of(version).rglob("*")} == before


class Died(BaseException):
    """Stands for the end of the process."""


def test_a_promotion_is_settled_only_with_the_mlflow_that_it_is_about(
    places, result, model, tmp_path_factory, hear
):
    told = hear("tasks.recover")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    other_result = make_promotable(elsewhere)
    other = places_in(elsewhere)
    promote(other, other_result, model)

    def die(now: Promotion) -> None:
        if now.at_work_on == "replay":
            raise Died

    run = another_run(result, "torn")
    with pytest.raises(Died):
        proceed(places, begin(places, run, identity="torn", model=model), run, on_step=die)
    mixed = places.model_copy(update={"tracking_uri": other.tracking_uri})
    assert recover(mixed) == ()
    assert "is left for a command that works with the MLflow at" in told[-1]
    torn = journal.read(Path(places.journal), "torn")
    # A journal that does not say where: the version there bears another promotion's id.
    journal.write(Path(places.journal), torn.model_copy(update={"tracking_uri": None}))
    assert recover(mixed) == ()
    assert "was registered by" in told[-1]
    assert alias(other, model) == "1"
    assert alias(places, model, "challenger") == torn.version
    assert [one.state for one in recover(places)] == ["undone"]
    assert alias(places, model, "challenger") is None


def test_a_blank_reason_forces_nothing(places, result, model):
    with pytest.raises(ConfigError, match="blank"):
        begin(places, result, identity="blank", model=model, forced_because="  ")


def test_what_was_forced_needlessly_is_not_said_to_fail(places, result, model):
    done = promote(places, another_run(result, "needless"), model, forced_because="to be sure")
    card = (Path(done.release_directory) / "MODEL_CARD.md").read_text()
    assert "not promotable" not in card
    assert "or needlessly**, since: to be sure" in card


def test_nobody_is_waited_for_longer_than_agreed(places, result, model):
    begun = begin(places, result, identity="late", model=model, needs_approval=True, approval_timeout_s=0.001)
    proceed(places, begun, result)
    time.sleep(1.1)
    promote(places, another_run(result, "next"), model)
    ended = journal.read(Path(places.journal), "late")
    assert ended.state == "undone"
    assert "nobody agreed until" in ended.note


def test_a_rollback_goes_to_the_champion_before_and_no_further(places, result, model):
    first = promote(places, another_run(result, "1"), model)
    second = promote(places, another_run(result, "2"), model)
    started = time.process_time()
    back = rollback(places, identity=f"r{next(NAMES)}", model=model)
    assert time.process_time() - started < 5
    assert (back.version, alias(places, model)) == (first.version, first.version)
    with pytest.raises(
        ConfigError, match=r"is the first champion.*--to VERSION, or the field to, names another"
    ):
        rollback(places, identity=f"r{next(NAMES)}", model=model)
    forth = rollback(places, identity=f"r{next(NAMES)}", model=model, to=second.version)
    assert alias(places, model) == forth.version == second.version
    assert registering.claims(places.tracking_uri, model) == {}


def test_a_rollback_refuses_a_version_that_does_not_verify(places, result, model):
    first = promote(places, another_run(result, "1"), model)
    second = promote(places, another_run(result, "2"), model)
    version = registry.find_version(places.tracking_uri, name=model, version=first.version)
    files = files_of(version)
    kept = files.with_name("kept")
    shutil.copytree(files, kept)
    for change in (
        lambda: (files / "verdict.json").write_text("{}"),
        lambda: (files / "model.sig").unlink(),
        lambda: shutil.rmtree(files),
    ):
        change()
        with pytest.raises((IntegrityError, StepFailed), match=f"models:/{model}/{first.version}: its files"):
            rollback(places, identity=f"r{next(NAMES)}", model=model)
        assert alias(places, model) == second.version
        shutil.rmtree(files, ignore_errors=True)
        shutil.copytree(kept, files)
    assert rollback(places, identity=f"r{next(NAMES)}", model=model).version == first.version


def test_a_version_that_never_was_champion_is_promoted_and_not_rolled_back_to(places, result, model):
    promote(places, another_run(result, "1"), model)
    begun = begin(places, another_run(result, "2"), identity="never", model=model, needs_approval=True)
    waiting = proceed(places, begun, another_run(result, "2"))
    refuse(places, waiting, why="no")
    with pytest.raises(ConfigError, match="never was champion"):
        rollback(places, identity=f"r{next(NAMES)}", model=model, to=waiting.version)


def test_there_is_nothing_to_roll_back_where_nothing_is_champion(places, model):
    with pytest.raises(ConfigError, match="has no alias champion"):
        rollback(places, identity="r", model=model)


def test_a_run_that_is_not_in_this_mlflow_is_named(places, result, model):
    elsewhere = result.model_copy(update={"mlflow_run_id": "0" * 32})
    with pytest.raises(ConfigError, match="has no run 0000"):
        promote(places, elsewhere, model)
