"""What commands print is what was said."""

from __future__ import annotations

import pytest
import typer

from flows.cli.output import guarded, results
from pt_core.errors import StepFailed


def test_an_import_path_in_a_message_is_printed_as_it_is(capsys):
    def action():
        raise StepFailed("pt_core.training.fit:train: killed")

    with pytest.raises(typer.Exit):
        guarded(action, as_json=False)
    assert "fit:train: killed" in capsys.readouterr().err
    results.print("pt_core.scoring.score:score: :train:")
    assert ":train:" in capsys.readouterr().out
