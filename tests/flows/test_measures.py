"""The user's own measures are checked before training, and their code is part of what is cached."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flows.check import check
from flows.requests import evaluate_code
from pt_core.environment import code_digest
from pt_core.errors import ConfigError

CONFIG = """
variants: [{name: torch, steps: []}]
evaluation:
  slices: [{name: half, function: "own_code:halves"}]
  metrics: ["own_code:cost"]
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PT_PIPELINE_CODE_PATH", "")
    (tmp_path / "own_code.py").write_text("def halves(x, y): ...\n\n\ndef cost(logits, targets): ...\n")
    path = tmp_path / "own.yaml"
    path.write_text(CONFIG)
    return path


def test_a_metric_that_is_not_there_is_refused_before_any_work(config: Path) -> None:
    assert check(str(config), ()).settings.evaluation.metrics == ("own_code:cost",)
    config.write_text(CONFIG.replace("own_code:cost", "own_code:costs"))
    with pytest.raises(
        ConfigError, match=r"evaluation\.metrics: .* defines no 'costs'; did you mean own_code:cost"
    ):
        check(str(config), ())
    config.write_text(CONFIG.replace("own_code:halves", "no_code:halves"))
    with pytest.raises(ConfigError, match=r"evaluation\.slices: no module named 'no_code'"):
        check(str(config), ())


def test_changed_code_is_another_request(config: Path) -> None:
    evaluation = check(str(config), ()).settings.evaluation
    before = evaluate_code(evaluation)
    (config.parent / "own_code.py").write_text(
        "def halves(x, y): ...\n\n\ndef cost(logits, targets): return 1\n"
    )
    code_digest.cache_clear()
    assert before != evaluate_code(evaluation) != ""
    assert evaluate_code(evaluation.model_copy(update={"slices": (), "metrics": ()})) == ""
