"""A process that serves can import nothing that trains, builds, judges or tracks; for some formats not even torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import importlib, importlib.util, sys
from pt_core.inference.serving import refuse_all_but_serving
refuse_all_but_serving({format!r})
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    print(name)
print("asked", importlib.util.find_spec("sqlalchemy"))
"""


def imported(format_name: str, names: tuple[str, ...], code_path: Path) -> list[str]:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.append({str(code_path)!r})\n"
            + CODE.format(format=format_name, names=names),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PT_PIPELINE_CODE_PATH": str(code_path)},
    )
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("format_name", "left"),
    [
        ("onnx", []),
        ("openvino", []),
        ("torchscript", ["torch"]),
        ("torch", ["torch", "matplotlib", "own_network"]),
    ],
)
def test_only_what_a_format_is_served_by_can_be_imported(
    format_name: str, left: list[str], tmp_path: Path
) -> None:
    (tmp_path / "own_network.py").write_text("")
    names = (
        "pt_core.training.fit",
        "mlflow",
        "prefect",
        "flows.lifecycle",
        "tasks.tracking",
        "torch",
        "matplotlib",
        "own_network",
    )
    assert imported(format_name, names, tmp_path) == [*left, "asked None"]
