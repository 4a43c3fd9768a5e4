"""What is deployed beside the nightly run, through the worker: a forced run, two promotions, the way back and scores."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from prefect_pages import ask, deployment_id, tiny_config, wait_until_ended
from sklearn.datasets import load_digits
from stacks import RealStack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MODEL = "deployed-jobs"
NUM_ROWS = 5


def run_deployment(stack: RealStack, name: str, **parameters: object) -> dict[str, Any]:
    """Start a run of a deployment as its form does, and return it once it has ended."""
    path = f"deployments/{deployment_id(stack.prefect_url, name)}/create_flow_run"
    started = ask(stack.prefect_url, path, {"parameters": parameters})
    return wait_until_ended(stack.prefect_url, started["id"])


def champion(stack: RealStack) -> str:
    """Return the version that MLflow says is champion."""
    wanted = urllib.parse.urlencode({"name": MODEL, "alias": "champion"})
    url = f"{stack.mlflow_url}/api/2.0/mlflow/registered-models/alias?{wanted}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["model_version"]["version"]


def test_a_forced_run_takes_the_champions_place_a_rollback_gives_it_back_and_scores_come_from_it(
    stack: RealStack, tmp_path: Path
) -> None:
    config = str(tiny_config(tmp_path, MODEL))

    def completed(name: str, **parameters: object) -> None:
        ended = run_deployment(stack, name, **parameters)
        assert ended["state_name"] == "Completed", ended["state"]["message"]

    completed("retrain/retrain", config=config)
    completed("promote/promote")
    unchanged = run_deployment(stack, "retrain/retrain", config=config)
    assert unchanged["state_name"] == "Nothing to do"
    completed("retrain/retrain", config=config, force=True)
    completed("promote/promote")
    assert champion(stack) == "2"

    completed("rollback/rollback", model=MODEL)
    assert champion(stack) == "1"

    rows, scores = tmp_path / "rows.npy", tmp_path / "scores.parquet"
    np.save(rows, (load_digits().images[:NUM_ROWS, None] / 16).astype(np.float32))
    served = {"model": f"models:/{MODEL}@champion", "source": str(rows), "output": str(scores)}
    completed("score/score", **served)
    assert pq.read_table(scores).num_rows == NUM_ROWS
