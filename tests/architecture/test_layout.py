"""The rules of the tree that no other tool checks."""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pt_core", "tasks", "flows", "deployments")


def sources() -> list[Path]:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 40
    return files


def test_every_file_opens_with_its_contract() -> None:
    without = [str(path) for path in sources() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert without == []


def test_no_file_outgrows_its_idea() -> None:
    long = [str(path) for path in sources() if len(path.read_text().splitlines()) > 300]
    assert long == []


def test_the_readme_tree_is_what_the_files_say() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "tree.py"))
    readme = (ROOT / "README.md").read_text()
    assert script["tree"]() in readme, "run: python docs/tree.py"


def test_every_direct_dependency_has_its_reason_in_the_readme() -> None:
    import tomllib

    readme = (ROOT / "README.md").read_text()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [requirement.split(">")[0].split("<")[0].split("=")[0] for requirement in declared]
    assert len(names) > 10
    assert [name for name in names if f"| {name} |" not in readme] == []


@pytest.mark.parametrize("module", ["flows.__main__", "flows.lifecycle", "flows.check", "flows.score"])
def test_the_flow_never_imports_torch_in_its_own_process(module: str) -> None:
    code = f"import {module}, sys; print(sorted({{'torch', 'onnxruntime', 'onnx'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import flows.__main__, sys; "
        "print(sorted({'torch', 'prefect', 'mlflow', 'numpy', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
