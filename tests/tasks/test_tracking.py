"""What a run leaves in a real MLflow database, read back by MLflow's own client."""

from __future__ import annotations

import csv
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from mlflow import MlflowClient
from run_results import make_run_result, started_from

from pt_core.artifacts.artifact import open_artifact
from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError, IntegrityError
from tasks import tracking
from tasks.dashboard import TrackedRun, VariantTracking, dashboard_command, links
from tasks.outbox_send import connect

PICTURES = {"confusion_matrix.png": b"one", "roc.png": b"two", "pr.png": b"three"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def result(home: Path) -> RunResult:
    return make_run_result(home)


@pytest.fixture(scope="module")
def uri(home: Path) -> str:
    return f"sqlite:///{home}/mlflow.db"


def start(uri: str, home: Path, **changes: object) -> TrackedRun:
    wanted = {"experiment": "digits", "run_name": "run-1", "tags": {}} | changes
    return tracking.start_run(uri, artifact_root=str(home / "mlartifacts"), **wanted)


@pytest.fixture(scope="module")
def tracked(home, result, uri, tmp_path_factory) -> tuple[TrackedRun, dict[str, VariantTracking]]:
    """One whole run."""
    page = tmp_path_factory.mktemp("report") / "report.html"
    page.write_text("<p>the page</p>")
    run = start(uri, home, tags={"remote": "https://user:secret@host/repo.git"})
    tracking.log_checkpoint(run, result.checkpoint, result.dataset)
    found = {
        variant.name: tracking.log_variant(
            run, variant, result.dataset, pictures=PICTURES if variant.evaluation else {}
        )
        for variant in result.variants
    }
    tracking.log_result(run, result, [page])
    tracking.finish_run(run, "FINISHED")
    return run, found


@pytest.fixture(scope="module")
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


@pytest.fixture
def global_address(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # MLflow 3.17 loads tables and registers models through its global address, whatever the client's own.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)


def test_the_parent_run_is_finished_and_holds_the_training(tracked, client, result):
    run, _ = tracked
    parent = client.get_run(run.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "run-1"
    assert parent.data.params["train.epochs"] == "20"
    assert parent.data.params["seed"] == "0"
    assert parent.data.tags["role"] == "pipeline"
    assert parent.data.tags["checkpoint_digest"] == result.checkpoint.digest
    assert parent.data.tags["checkpoint_git_commit"] == result.checkpoint.environment.git_commit


def test_every_epoch_is_a_step_and_what_is_undefined_is_left_out(tracked, client, result):
    run, _ = tracked
    losses = client.get_metric_history(run.run_id, "training/validation_loss")
    expected = [(epoch.epoch, epoch.validation_loss) for epoch in result.checkpoint.history]
    assert [(metric.step, metric.value) for metric in losses] == expected
    norms = client.get_metric_history(run.run_id, "training/gradient_norm")
    assert [metric.step for metric in norms] == list(range(2, 21))


def test_passwords_in_tags_are_taken_out(tracked, client):
    run, _ = tracked
    assert client.get_run(run.run_id).data.tags["remote"] == "https://host/repo.git"


def test_the_parent_says_who_won_and_holds_the_winner_s_metrics(tracked, client, result):
    run, _ = tracked
    parent = client.get_run(run.run_id)
    winner = next(variant for variant in result.variants if variant.name == result.winner)
    assert parent.data.tags["winner"] == "onnx"
    assert parent.data.tags["verdict"] == "pass"
    assert parent.data.tags["champion"] == "none"
    assert {key: parent.data.metrics[key] for key in winner.metrics} == pytest.approx(winner.metrics)


@pytest.mark.usefixtures("global_address")
def test_the_comparison_is_a_table_that_mlflow_s_readers_and_spreadsheets_open(tracked, client, result):
    run, _ = tracked
    names = {found.path for found in client.list_artifacts(run.run_id)}
    assert names == {"comparison.json", "comparison.csv", "report.html"}
    table = client.load_table(
        experiment_id=run.experiment_id, run_ids=[run.run_id], artifact_file="comparison.json"
    )
    assert list(table["variant"]) == [variant.name for variant in result.variants]
    path = client.download_artifacts(run.run_id, "comparison.csv")
    with Path(path).open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["verdict"] for row in rows] == [variant.verdict.state for variant in result.variants]
    assert rows[3]["accuracy"] == str(result.variants[3].evaluation.accuracy.accuracy)
    assert rows[4]["accuracy"] == ""


def test_each_variant_is_a_child_run_with_the_same_metric_names(tracked, client, result):
    run, found = tracked
    children = client.search_runs(
        [run.experiment_id], filter_string=f"tags.`mlflow.parentRunId` = '{run.run_id}'"
    )
    assert {child.info.run_id for child in children} == {child.run_id for child in found.values()}
    by_name = {child.info.run_name: child for child in children}
    for variant in result.variants:
        child = by_name[variant.name]
        assert child.data.tags["role"] == "variant"
        assert child.data.tags["stage"] == "evaluate"
        assert child.data.tags["variant"] == variant.name
        assert child.data.tags["verdict"] == variant.verdict.state
        assert child.data.metrics.items() >= variant.metrics.items()
    converted = [by_name[name] for name in ("torchscript", "exported", "onnx")]
    assert len({frozenset(child.data.metrics) for child in converted}) == 1
    assert all("/" in key for key in converted[0].data.metrics)


def test_a_failed_variant_is_a_failed_run_and_a_skipped_one_says_why(tracked, client):
    _, found = tracked
    failed = client.get_run(found["int8-dynamic"].run_id)
    assert failed.info.status == "FAILED"
    assert failed.data.tags["reason"] == "int8-dynamic: no result after 120 s, killed"
    skipped = client.get_run(found["onnx-int8-static"].run_id)
    assert skipped.info.status == "FINISHED"
    assert skipped.data.tags["state"] == "skipped"
    assert "pip install" in skipped.data.tags["reason"]
    assert found["onnx-int8-static"].model_id is None


def test_pictures_lie_at_the_root_of_a_child_run_where_the_compare_page_looks(tracked, client):
    _, found = tracked
    for name in ("torch", "onnx", "onnx-int8-dynamic"):
        assert {found.path for found in client.list_artifacts(found[name].run_id)} == set(PICTURES)


def test_each_built_variant_is_a_logged_model_bound_to_its_metrics_and_dataset(tracked, client, result):
    run, found = tracked
    models = client.search_logged_models([run.experiment_id])
    built = [variant for variant in result.variants if variant.artifact]
    assert {model.model_id for model in models} == {found[variant.name].model_id for variant in built}
    for variant in built:
        model = client.get_logged_model(found[variant.name].model_id)
        assert str(model.status) in ("READY", "LoggedModelStatus.READY")
        assert model.source_run_id == found[variant.name].run_id
        assert model.params["variant"] == variant.name
        assert model.params["format"] == variant.artifact.format
        assert model.params["precision"] == variant.artifact.precision
        metrics = {metric.key: metric for metric in model.metrics}
        assert metrics.keys() >= variant.metrics.keys()
        assert metrics["accuracy/accuracy"].value == variant.evaluation.accuracy.accuracy
        assert {metric.dataset_name for metric in metrics.values()} == {"digits"}
        assert {metric.dataset_digest for metric in metrics.values()} == {result.dataset.digest[:12]}


def test_a_logged_model_holds_the_bundle_byte_for_byte(tracked, client, result, tmp_path):
    _, found = tracked
    onnx = next(variant for variant in result.variants if variant.name == "onnx")
    model_id = found["onnx"].model_id
    location = client.get_logged_model(model_id).artifact_location
    copy = Path(urlsplit(location).path) / "bundle"
    assert open_artifact(copy).digest == onnx.artifact.digest
    assert (copy.parent / "MLmodel").is_file()


@pytest.mark.usefixtures("global_address")
def test_a_logged_model_can_be_registered(tracked, client):
    _, found = tracked
    client.create_registered_model("digits")
    model = client.get_logged_model(found["onnx"].model_id)
    version = client.create_model_version("digits", model.artifact_location, model_id=model.model_id)
    assert version.version in (1, "1")


def test_runs_name_the_dataset_they_rest_on(tracked, client, result):
    run, found = tracked
    for run_id, context in ((run.run_id, "train"), (found["onnx"].run_id, "test")):
        (used,) = client.get_run(run_id).inputs.dataset_inputs
        assert used.dataset.name == "digits"
        assert json.loads(used.dataset.source)["bundle_digest"] == result.dataset.digest
        assert [tag.value for tag in used.tags] == [context]


def test_a_second_run_joins_the_experiment_and_a_deleted_one_comes_back(tracked, client, home, uri):
    run, _ = tracked
    again = start(uri, home, run_name="run-2")
    assert again.experiment_id == run.experiment_id
    tracking.finish_run(again, "KILLED")
    gone = start(uri, home, experiment="other")
    tracking.finish_run(gone, "FAILED")
    client.delete_experiment(gone.experiment_id)
    back = start(uri, home, experiment="other")
    assert back.experiment_id == gone.experiment_id
    tracking.finish_run(back, "FINISHED")


def test_more_epochs_and_settings_than_one_call_takes_are_all_logged(client, result, uri, home):
    history = tuple(
        result.checkpoint.history[1].model_copy(update={"epoch": epoch}) for epoch in range(1, 401)
    )
    config = {f"option_{number}": number for number in range(250)}
    long = result.checkpoint.model_copy(update={"history": history, "config": config})
    run = start(uri, home, experiment="long")
    tracking.log_checkpoint(run, long, result.dataset)
    tracking.finish_run(run, "FINISHED")
    assert len(client.get_metric_history(run.run_id, "training/samples_per_s")) == 400
    assert client.get_run(run.run_id).data.params["train.option_249"] == "249"


def test_a_warm_start_is_logged_with_every_tensor_and_counts_with_the_network(
    client, result, uri, home, tmp_path
):
    changes = {"warm_start": started_from(), "flops_per_sample": 123, "num_frozen_parameters": 45}
    run = start(uri, home, experiment="warm")
    tracking.log_checkpoint(run, result.checkpoint.model_copy(update=changes), result.dataset)
    tracking.finish_run(run, "FINISHED")
    params = client.get_run(run.run_id).data.params
    assert (params["num_parameters"], params["num_frozen_parameters"]) == ("11274", "45")
    assert (params["flops_per_sample"], params["warm_start"]) == ("123", "e" * 64)
    assert (params["warm_start.strict"], params["warm_start.loaded_fraction"]) == ("false", "0.75")
    path = client.download_artifacts(run.run_id, "warm_start.json", str(tmp_path))
    assert json.loads(Path(path).read_text()) == started_from().model_dump(mode="json")


def test_a_run_without_a_winner_is_a_failed_verdict(client, result, uri, home):
    run = start(uri, home, experiment="refused")
    tracking.log_result(run, result.model_copy(update={"winner": None}), [])
    tracking.finish_run(run, "FAILED")
    data = client.get_run(run.run_id).data
    assert (data.tags["winner"], data.tags["verdict"]) == ("none", "fail")
    assert data.metrics == {}


def test_a_variant_that_cannot_be_logged_leaves_no_run_running(client, result, uri, home):
    run = start(uri, home, experiment="broken")
    variant = result.variants[0]
    lost = variant.artifact.model_copy(update={"directory": str(home / "nowhere")})
    with pytest.raises(IntegrityError, match="nowhere"):
        tracking.log_variant(
            run, variant.model_copy(update={"artifact": lost}), result.dataset, pictures=PICTURES
        )
    tracking.finish_run(run, "FAILED")
    runs = client.search_runs([run.experiment_id])
    assert [found.info.status for found in runs] == ["FAILED"]


@pytest.mark.parametrize(
    "address",
    ["http://user:secret@host:5000", "postgresql://user:secret@host/db", "file:///tmp/mlruns", "mlruns"],
)
def test_an_address_with_a_password_or_of_another_kind_is_refused_without_repeating_it(address, tmp_path):
    with pytest.raises(ConfigError) as caught:
        start(address, tmp_path)
    assert "secret" not in str(caught.value)
    assert "tracking_uri" in str(caught.value)


def test_links_open_the_machine_learning_pages_of_the_run(tracked):
    run, found = tracked
    pages = {link.name: link.url for link in links(run, children=list(found.values()))}
    assert len(pages) == 5
    for url in pages.values():
        assert url.startswith("http://127.0.0.1:5000/#/")
        query = parse_qs(url.partition("?")[2])
        assert query["workflowType"] == ["machine_learning"]
    compared = parse_qs(pages["Pictures side by side"].partition("?")[2])["runs"][0]
    assert json.loads(compared) == [child.run_id for child in found.values() if child.model_id]


def test_links_of_a_server_are_its_own_and_hold_no_password():
    run = TrackedRun(tracking_uri="https://mlflow.example/", experiment_id="7", run_id="abc")
    assert all(link.url.startswith("https://mlflow.example/#/experiments/7/") for link in links(run))
    guarded = links(run, dashboard="https://user:secret@mlflow.example")
    assert not any("secret" in link.url for link in guarded)
    assert "secret" not in dashboard_command("postgresql://user:secret@host/db")


def test_starting_on_a_new_database_is_quiet_and_quick_and_calls_nobody(tmp_path):
    code = (
        "import sys; from tasks import tracking;"
        "tracking.start_run(sys.argv[1], experiment='e', run_name='r', artifact_root=sys.argv[2], tags={});"
        "import os; assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == 'true';"
        "from mlflow.telemetry.client import get_telemetry_client; assert get_telemetry_client() is None"
    )
    command = [sys.executable, "-W", "error", "-c", code, f"sqlite:///{tmp_path}/new.db", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""


def test_a_level_that_the_user_raised_stays_raised(uri, monkeypatch):
    monkeypatch.setattr(logging.getLogger("mlflow"), "level", logging.ERROR)
    connect(uri)
    assert logging.getLogger("mlflow").level == logging.ERROR


def test_seven_variants_take_less_than_four_seconds(home, result, uri, tracked):
    begun = time.perf_counter()
    run = start(uri, home, experiment="quick")
    tracking.log_checkpoint(run, result.checkpoint, result.dataset)
    for variant in result.variants:
        tracking.log_variant(run, variant, result.dataset, pictures=PICTURES)
    tracking.log_result(run, result, [])
    tracking.finish_run(run, "FINISHED")
    assert time.perf_counter() - begun < 4
