"""What quantization-aware training and accuracy-aware quantization get back where plain static INT8 loses points.

    .venv/bin/python benchmarks/qat.py [--seeds 12]

The data: 30 classes by the distance of a point in the plane from its centre (scikit-learn's
make_gaussian_quantiles), seen through 48 columns that are linear mixtures of the two coordinates, as correlated
sensors would give them. Classes are as thin as the rounding of INT8 is coarse, so it costs accuracy; the network is
the product's own mlp with five hidden layers, trained as the pipeline trains. Every artifact is made by the
product's own steps, checks included, and scored on the test split. One seed says little: its 2,000 test samples alone
move the share that is got back by a tenth or two, and which rounding error the training starts from moves it more. So
the shares of all seeds are pooled. Prints a table, the pooled shares, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import make_gaussian_quantiles

from pt_core.artifacts.artifact import Artifact, Step
from pt_core.building.build import StepRequest, checkpoint_source, run_step
from pt_core.data.config import DataConfig
from pt_core.data.dataset import Dataset, load_split
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.errors import AccuracyNotReached
from pt_core.inference.predictor import load_predictor
from pt_core.limits import Limits
from pt_core.modeling.spec import ModelConfig
from pt_core.training.config import TrainConfig
from pt_core.training.fit import train
from pt_core.training.requests import TrainRequest

NUM_SAMPLES = 10_000
NUM_CLASSES = 30
NUM_COLUMNS = 48
MODEL = ModelConfig(target="pt_core.modeling.mlp:mlp", arguments={"hidden": [64] * 5})
TRAINING = TrainConfig(epochs=30, channels_last=False, precision="fp32", device="cpu")
STEPS = {
    "int8-static": Step(name="int8-static"),
    "int8-static, drop <= 0.01": Step(name="int8-static", options={"max_accuracy_drop": 0.01}),
    "int8-qat": Step(name="int8-qat", options={"epochs": 20, "precision": "fp32"}),
}
"""What is compared, by its name in the table."""

LIMITS = Limits(timeout_s=1200)


def make_data(folder: Path, *, seed: int) -> Dataset:
    """Return the thin rings, seen through mixed columns."""
    points, y = make_gaussian_quantiles(
        n_samples=NUM_SAMPLES, n_features=2, n_classes=NUM_CLASSES, random_state=seed
    )
    mixture = np.random.default_rng(seed).normal(size=(2, NUM_COLUMNS))
    np.savez(folder / "rings.npz", x=(points @ mixture).astype(np.float32), y=y)
    return prepare(
        PrepareRequest(
            config=DataConfig(source="arrays", path="rings.npz"),
            seed=seed,
            base_dir=str(folder),
            source_sha256=None,
            store=str(folder),
        )
    )


def make_reference(dataset: Dataset, folder: Path, *, seed: int) -> Artifact:
    """Return the trained network as an artifact."""
    checkpoint = train(
        TrainRequest(
            dataset=dataset, model=MODEL, code_sha256="", config=TRAINING, seed=seed, store=str(folder)
        )
    )
    return make(checkpoint_source(checkpoint), Step(name="torch"), None, dataset, folder)


def make(
    source: Artifact, step: Step, reference: Artifact | None, dataset: Dataset, folder: Path
) -> Artifact:
    """Return what a step makes of an artifact."""
    request = StepRequest(source=source, reference=reference, step=step, dataset=dataset, store=str(folder))
    return run_step(request, limits=LIMITS)


def accuracy(artifact: Artifact, dataset: Dataset) -> float:
    """Return the share of test samples that an artifact gets right."""
    test = load_split(dataset, "test")
    return float((load_predictor(artifact).logits(np.array(test.x)).argmax(axis=1) == test.y).mean())


def study(folder: Path, *, seed: int, names: tuple[str, ...] = tuple(STEPS)) -> list[dict]:
    """Return one row for FP32 and for each step: accuracy, seconds to make, and layers kept in floating point."""
    dataset = make_data(folder, seed=seed)
    start = time.perf_counter()
    reference = make_reference(dataset, folder, seed=seed)
    rows = [row(seed, "fp32", accuracy(reference, dataset), time.perf_counter() - start, 0)]
    for name in names:
        start = time.perf_counter()
        try:
            artifact = make(reference, STEPS[name], reference, dataset, folder)
        except AccuracyNotReached as error:
            print(f"{name}, seed {seed}: {error}")
            continue
        seconds = time.perf_counter() - start
        kept = len(artifact.quantization.kept_layers)
        rows.append(row(seed, name, accuracy(artifact, dataset), seconds, kept))
    return rows


def row(seed: int, name: str, accuracy: float, seconds: float, num_kept: int) -> dict:
    return {
        "seed": seed,
        "variant": name,
        "accuracy": round(accuracy, 4),
        "seconds": round(seconds, 1),
        "kept_layers": num_kept,
    }


def recovered(rows: list[dict], name: str) -> tuple[float, float]:
    """Return the points that int8-static loses, and the share of them that another variant gets back."""
    found = {one["variant"]: one["accuracy"] for one in rows}
    loss = found["fp32"] - found["int8-static"]
    return 100 * loss, (found[name] - found["int8-static"]) / loss


def pooled(studies: list[list[dict]], name: str) -> tuple[float, list[float]]:
    """Return the share of all points that int8-static loses which a variant gets back, and that of each seed.

    Args:
        studies: the rows of each seed; one in which the variant could not be made is left out.
        name: the variant.
    """
    found = [recovered(rows, name) for rows in studies if name in {row["variant"] for row in rows}]
    lost = sum(points for points, _ in found)
    return sum(points * share for points, share in found) / lost, [share for _, share in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=12)
    studies: list[list[dict]] = []
    print("| seed | variant | accuracy | loss in points | got back | layers in FP32 | seconds |")
    print("|--|--|--|--|--|--|--|")
    for seed in range(parser.parse_args().seeds):
        with tempfile.TemporaryDirectory() as folder:
            found = study(Path(folder), seed=seed)
        for one in found:
            loss = 100 * (found[0]["accuracy"] - one["accuracy"])
            share = (
                recovered(found, one["variant"])[1] if one["variant"] not in ("fp32", "int8-static") else None
            )
            back = "" if share is None else f"{share:.0%}"
            cells = [seed, one["variant"], f"{one['accuracy']:.4f}", f"{loss:.2f}", back]
            print(f"| {' | '.join(map(str, [*cells, one['kept_layers'], one['seconds']]))} |", flush=True)
        studies.append(found)
    summary: dict[str, object] = {"rows": [row for rows in studies for row in rows]}
    print()
    for name in [name for name in STEPS if name != "int8-static"]:
        share, shares = pooled(studies, name)
        quartiles = ", ".join(f"{quartile:.0%}" for quartile in np.percentile(shares, (0, 25, 50, 75, 100)))
        print(f"- {name}: {share:.0%} of all points got back in {len(shares)} seeds (quartiles {quartiles})")
        summary[name] = {"share": share, "of each seed": shares}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
