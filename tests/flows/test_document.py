"""The JSON document of a run holds what a script needs beside the numbers: warnings, transfer, and what is undefined."""

from __future__ import annotations

import json
from pathlib import Path

from run_results import make_run_result

from flows.document import run_document
from pt_core.decision.result import RunResult
from pt_core.evaluation.report import Undefined
from pt_core.evaluation.transfer_table import TransferRow, TransferTable

TABLE = TransferTable(
    epsilon=0.1,
    num_samples=64,
    num_queries=200,
    scored_on=("torch",),
    clean=(0.98,),
    rows=(TransferRow(crafted_on="torch", attack="fgsm", accuracy=(0.5,)),),
)


def document(result: RunResult, tmp_path: Path) -> dict:
    return json.loads(json.dumps(run_document(result, folder=tmp_path, exit_code=0)))


def test_warnings_the_transfer_table_and_reasons_are_in_the_document(tmp_path: Path) -> None:
    result = make_run_result(tmp_path)
    first, *others = result.variants
    assert first.evaluation is not None
    accuracy = first.evaluation.accuracy.model_copy(
        update={"undefined": (Undefined(metric="accuracy/matthews", reason="one class only"),)}
    )
    slices = (Undefined(metric="slices/age=old/accuracy", reason="3 samples, expected at least 30"),)
    evaluation = first.evaluation.model_copy(update={"accuracy": accuracy, "undefined": slices})
    variants = (first.model_copy(update={"evaluation": evaluation}), *others)
    found = document(
        result.model_copy(update={"variants": variants, "transfer": TABLE, "warnings": ("Beware.",)}),
        tmp_path,
    )
    assert found["warnings"] == ["Beware."]
    assert TransferTable.model_validate(found["transfer"]) == TABLE
    assert found["variants"][0]["undefined"] == {
        "accuracy/matthews": "one class only",
        "slices/age=old/accuracy": "3 samples, expected at least 30",
    }


def test_where_there_is_nothing_to_tell_the_document_says_so(tmp_path: Path) -> None:
    result = make_run_result(tmp_path).model_copy(update={"transfer": None, "warnings": ()})
    found = document(result, tmp_path)
    assert (found["warnings"], found["transfer"]) == ([], None)
    not_built = [one for one in found["variants"] if one["artifact_digest"] is None]
    assert not_built
    assert all(one["undefined"] == {} for one in not_built)
