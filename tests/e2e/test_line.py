"""The whole line by its one command, on real data, with a real Prefect server and a real MLflow store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

VARIANTS = [
    "torch",
    "torchscript",
    "exported",
    "compiled",
    "compiled-bf16",
    "compiled-int8",
    "int8-dynamic",
    "onnx",
    "onnx-int8-dynamic",
    "onnx-int8-static",
]
CACHED = (
    "prepare digits",
    "train pt_core.modeling.cnn:cnn",
    "verify checkpoint",
    "convert to torch",
    "convert to onnx",
    "convert to compiled",
    "quantize torch with int8-static",
    "quantize onnx with onnx-int8-static",
    "craft attacks",
    "evaluate onnx > onnx-int8-static",
)

NO_STARTS = ("--set", "efficiency.cold_starts=false")
"""Spares a run the processes that start every variant alone, which the first run has."""


def test_the_default_job_passes_and_prints_one_document(first: Any) -> None:
    assert first.code == 0, first.stderr
    document = first.document
    assert [variant["name"] for variant in document["variants"]] == VARIANTS
    assert {variant["state"] for variant in document["variants"]} == {"built"}
    assert document["winner"] in VARIANTS
    winner = first.variant(document["winner"])
    assert winner["verdict"]["state"] == "pass"
    assert Path(document["report"]).is_file()
    assert document["mlflow_run_id"]
    assert document["prefect_flow_run_id"]
    assert document["skipped"] == {}


def test_the_digits_model_is_as_accurate_as_promised(first: Any) -> None:
    assert first.variant("torch")["metrics"]["accuracy/accuracy"] >= 0.975


def test_every_variant_has_the_same_accuracy_and_robustness_metrics(first: Any) -> None:
    names = [
        {name for name in variant["metrics"] if not name.startswith(("quantization/", "parity/"))}
        for variant in first.document["variants"]
    ]
    assert all(found == names[0] for found in names)
    assert {"robustness/fgsm_0.1", "robustness/gaussian-noise_0.2", "efficiency/latency_ratio"} <= names[0]
    assert {"efficiency/cold_start_s", "efficiency/peak_memory_bytes"} <= names[0]


def test_int8_variants_say_what_share_of_the_weights_they_hold(first: Any) -> None:
    shares = {
        variant["name"]: variant["metrics"]["quantization/weight_share"]
        for variant in first.document["variants"]
        if "int8" in variant["name"]
    }
    assert len(shares) == 4
    assert all(0 < share <= 1 for share in shares.values())


def test_every_stage_is_a_named_task(first: Any, workplace: Any) -> None:
    states = workplace.task_states(first.document["prefect_flow_run_id"])
    assert set(CACHED) <= set(states)
    assert {"measure speed", "judge onnx", "write report"} <= set(states)
    assert set(states.values()) == {"Completed"}
    assert workplace.flow_state(first.document["prefect_flow_run_id"]) == "Completed"


def test_prefect_shows_the_table_the_gate_and_the_links(first: Any, workplace: Any) -> None:
    assert first.code == 0
    found = {(key, kind) for key, kind in workplace.prefect_artifacts()}
    assert ("digits-comparison", "table") in found
    assert ("digits-gate", "markdown") in found
    assert ("digits-links", "markdown") in found


def test_results_are_json_and_never_pickles(first: Any, workplace: Any) -> None:
    assert first.code == 0
    records = [path for path in (workplace.home / "prefect" / "storage").rglob("*") if path.is_file()]
    assert len(records) >= len(CACHED)
    for path in records:
        content = json.loads(path.read_text())
        assert content["metadata"]["serializer"]["type"] == "json"


def test_a_second_run_takes_everything_but_timings_from_the_cache(first: Any, workplace: Any) -> None:
    second = workplace.run(*NO_STARTS)
    assert second.code == 0, second.stderr
    states = workplace.task_states(second.document["prefect_flow_run_id"])
    assert set(CACHED) <= set(states)
    for name, state in states.items():
        is_stage = name.startswith(
            ("prepare", "train", "verify", "convert", "quantize", "craft", "evaluate", "transfer")
        )
        assert state == ("Cached" if is_stage else "Completed"), name
    assert second.document["checkpoint"] == first.document["checkpoint"]
    planned = workplace.call("plan", "--json").document
    assert {step["state"] for step in planned["steps"]} == {"cached"}


def test_a_changed_evaluation_retrains_nothing_and_a_damaged_artifact_is_rebuilt(
    first: Any, workplace: Any
) -> None:
    damaged = Path(first.variant("torchscript")["artifact_path"])
    payload = next(path for path in damaged.iterdir() if path.suffix == ".pt")
    content = bytearray(payload.read_bytes())
    content[len(content) // 2] ^= 1
    payload.write_bytes(content)
    changed = workplace.run("--set", "evaluation.noise_sigmas=[0.1, 0.3]", *NO_STARTS)
    assert changed.code == 0, changed.stderr
    states = workplace.task_states(changed.document["prefect_flow_run_id"])
    assert states["train pt_core.modeling.cnn:cnn"] == "Cached"
    assert states["convert to onnx"] == "Cached"
    assert states["evaluate torch"] == "Completed"
    assert states["convert to torchscript"] == "Completed"
    assert changed.variant("torchscript")["state"] == "built"
    assert list(damaged.parent.glob(f"{damaged.name}.damaged-*"))


def test_a_broken_variant_takes_no_other_with_it_and_is_never_cached(
    first: Any, workplace: Any, tmp_path: Path
) -> None:
    assert first.code == 0
    config = tmp_path / "broken.yaml"
    config.write_text(
        "name: digits\ndata: {source: digits}\n"
        "variants: [{name: torch, steps: []}, {name: onnx, steps: [onnx]}, "
        "{name: broken, steps: [int8-dynamic, exported]}]\n"
        "gate: {rules: [{metric: accuracy/accuracy, at_least: 0.9}]}\n"
    )
    for _ in range(2):
        done = workplace.run(str(config))
        assert done.code == 0, done.stderr
        broken = done.variant("broken")
        assert (broken["state"], broken["verdict"]["state"]) == ("failed", "not measured")
        assert "cannot capture its packed INT8 layers" in broken["problem"]
        assert done.variant("onnx")["verdict"]["state"] == "pass"
        states = workplace.task_states(done.document["prefect_flow_run_id"])
        assert states["convert to exported"] == "Failed"


def test_a_gate_that_refuses_all_ends_failed_with_exit_code_3(first: Any, workplace: Any) -> None:
    assert first.code == 0
    impossible = "gate.rules=[{metric: accuracy/accuracy, at_least: 1.01}]"
    done = workplace.run("--set", impossible, *NO_STARTS)
    assert done.code == 3
    assert done.document["exit_code"] == 3
    assert done.document["winner"] is None
    assert workplace.flow_state(done.document["prefect_flow_run_id"]) == "Failed"
    assert "is below 1.01" in done.stderr
    assert "Traceback" not in done.stderr


def test_verify_predict_and_compare_work_on_what_the_run_left(
    first: Any, workplace: Any, tmp_path: Path
) -> None:
    checkpoint = first.document["checkpoint"]["directory"]
    assert workplace.call("verify", checkpoint, "--json").document["kind"] == "checkpoint"
    bundle = first.variant("onnx-int8-static")["artifact_path"]
    assert workplace.call("verify", bundle).code == 0
    rows = tmp_path / "rows.npy"
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    np.save(rows, (digits.images[:5, None] / 16).astype("float32"))
    answer = workplace.call("predict", bundle, str(rows), "--json").document
    assert [found["label"] for found in answer["predictions"]] == [str(label) for label in digits.target[:5]]
    table = workplace.call("compare", first.document["run_name"])
    assert table.code == 0
    assert "onnx-int8-static" in table.stdout
