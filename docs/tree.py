"""Rewrite the README's file tree from the first line of every file: ``python docs/tree.py``."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("pt_core", "tasks", "flows", "deployments")
ROOMS = [
    "data",
    "modeling",
    "artifacts",
    "training",
    "inference",
    "formats",
    "quantizers",
    "evaluation",
    "building",
    "decision",
    "reporting",
]
"""The rooms of pt_core in the order the data walks through them."""
START, END = "<!-- tree: made by docs/tree.py -->\n```\n", "```\n<!-- end of tree -->"


def contract(path: Path) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def lines(folder: Path, depth: int) -> list[str]:
    """Return the lines of a package: itself, its modules, then its sub-packages."""
    indent = "  " * depth
    found = [f"{indent}{folder.name + '/':<{26 - len(indent)}}{contract(folder / '__init__.py')}"]
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            found.append(f"{indent}  {path.name:<{24 - len(indent)}}{contract(path)}")
    for child in sorted((path.parent for path in folder.glob("*/__init__.py")), key=_position):
        found += lines(child, depth + 1)
    return found


def _position(folder: Path) -> tuple[int, str]:
    return (ROOMS.index(folder.name) if folder.name in ROOMS else len(ROOMS), folder.name)


def tree() -> str:
    """Return the tree of all packages."""
    return "\n".join(line.rstrip() for package in PACKAGES for line in lines(ROOT / package, 0)) + "\n"


def updated(readme: str) -> str:
    """Return the README with its tree made anew."""
    before, _, rest = readme.partition(START)
    return before + START + tree() + END + rest.partition(END)[2]


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(updated(path.read_text()))
