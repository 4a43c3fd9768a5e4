"""pt-pipeline predict: ask one artifact about files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from flows.cli.output import print_json, results
from flows.home import Home, add_code_path
from flows.serving import SCHEME, open_model
from flows.store_lock import store_in_use
from pt_core.errors import ConfigError
from pt_core.inference.requests import Predictions, PredictRequest
from pt_core.isolation import run_isolated


def predict(
    model: str, inputs: Sequence[Path], home: Home, *, unsigned: tuple[str, ...] = (), as_json: bool
) -> None:
    """Predict in a fresh process and print a table or JSON.

    Raises:
        ConfigError: a path, or a registered version, does not exist.
        DataError: an input does not fit the network.
        IntegrityError: the bundle is not what its manifest says, or nobody vouches for a release or a program.
    """
    asked = inputs if model.startswith(SCHEME) else (Path(model), *inputs)
    missing = [str(path) for path in asked if not path.exists()]
    if missing:
        raise ConfigError(f"no such file or directory: {', '.join(missing)}")
    # A network's own code, which an artifact of format torch needs.
    add_code_path(Path.cwd())
    trust = home.trust(unsigned)
    with store_in_use(home):
        artifact = open_model(model, home, trust=trust).artifact
        request = PredictRequest(
            bundle=artifact.directory,
            inputs=tuple(str(path.resolve()) for path in inputs),
            trust=trust.accepting(artifact.digest),
        )
        answer = run_isolated("pt_core.inference.predict:predict", request, reply=Predictions, timeout_s=600)
    if as_json:
        print_json(answer.model_dump(mode="json"))
        return
    table = Table("input", "row", "label", "probability", "then")
    for found in answer.predictions:
        ranked = sorted(zip(found.probabilities, answer.labels, strict=True), reverse=True)[1:3]
        others = ", ".join(f"{label} {probability:.3f}" for probability, label in ranked)
        table.add_row(
            Path(found.input).name, str(found.index), found.label, f"{found.probability:.4f}", others
        )
    results.print(table)
