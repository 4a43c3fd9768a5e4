"""A home with a finished run that can be promoted: its winner is an ONNX graph written by hand, its answers numpy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from run_results import make_run_result

from pt_core.artifacts.artifact import Artifact, ArtifactInfo
from pt_core.artifacts.tensors import write_golden
from pt_core.bundle import seal, staging
from pt_core.decision.result import RunResult
from pt_core.formats.onnx_runtime import OnnxRuntime
from pt_core.keys import keys_of
from tasks import tracking
from tasks.promotion import PromotionPlaces

MODEL = "digits"


def places_in(home: Path, tracking_uri: str | None = None) -> PromotionPlaces:
    return PromotionPlaces(
        tracking_uri=tracking_uri or f"sqlite:///{home}/mlflow.db",
        journal=str(home / "promotions"),
        store=str(home / "store"),
        releases=str(home / "releases"),
        signing_keys=keys_of(home),
    )


def make_promotable(home: Path, tracking_uri: str | None = None) -> RunResult:
    """Return a run whose winner serves for real, logged to MLflow and stored in the home."""
    made = make_run_result(home / "store")
    uri = places_in(home, tracking_uri).tracking_uri
    run = tracking.start_run(
        uri, experiment=MODEL, run_name=made.run_name, artifact_root=str(home / "mlartifacts"), tags={}
    )
    tracking.finish_run(run, "FINISHED")
    winner = next(one for one in made.variants if one.name == "onnx")
    assert winner.artifact is not None
    assert winner.evaluation is not None
    artifact = onnx_artifact(home / "store", winner.artifact)
    judged = winner.model_copy(
        update={
            "artifact": artifact,
            "evaluation": winner.evaluation.model_copy(update={"artifact_digest": artifact.digest}),
            "verdict": winner.verdict.model_copy(update={"artifact_digest": artifact.digest}),
        }
    )
    variants = tuple(judged if one.name == "onnx" else one for one in made.variants)
    result = made.model_copy(update={"variants": variants, "mlflow_run_id": run.run_id})
    store(home, result)
    return result


def store(home: Path, result: RunResult) -> None:
    folder = home / "runs" / result.run_name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(result.model_dump_json())


def another_run(result: RunResult, name: str) -> RunResult:
    """Return the same findings as those of another run."""
    return result.model_copy(update={"run_name": name})


def onnx_artifact(store: Path, like: Artifact) -> Artifact:
    """Return a linear network as a sealed ONNX artifact with the golden outputs that numpy gives."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(64, 10)).astype(np.float32)
    inputs = rng.random((16, 1, 8, 8), dtype=np.float32)
    info = ArtifactInfo.model_validate(
        like.model_dump(include=set(ArtifactInfo.model_fields))
        | {"payload": ("model.onnx", "runtime.json"), "payload_bytes": weights.nbytes}
    )
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)],
    )
    with staging(store) as folder:
        opsets = [helper.make_opsetid("", 20)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "model.onnx")
        OnnxRuntime(graph_level="all").write(folder)
        write_golden(folder, inputs, inputs.reshape(16, 64) @ weights)
        bundle = seal(folder, name="onnx", kind="artifact", info=info)
    return Artifact.model_validate(info.model_dump() | bundle.model_dump())
