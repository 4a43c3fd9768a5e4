from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pt_core import environment
from pt_core.environment import (
    CPU_CAPABILITIES,
    SOURCE_VARIABLE,
    Environment,
    code_digest,
    core_code_digest,
    describe_environment,
)
from pt_core.errors import ConfigError


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOURCE_VARIABLE, raising=False)
    for name in ("_describe", "core_code_digest", "code_digest"):
        getattr(environment, name).cache_clear()


def test_the_description_is_what_the_system_says() -> None:
    found = describe_environment()
    assert found.python == platform.python_version()
    assert found.num_cpus == len(os.sched_getaffinity(0))
    versions = {library.name: library.version for library in found.libraries}
    assert versions["torch"] == importlib.metadata.version("torch")
    assert versions["torchao"] == importlib.metadata.version("torchao")
    assert Environment.from_json(found.to_json()) == found


def test_capabilities_are_those_that_the_kernel_lists() -> None:
    flags = subprocess.run(
        ["grep", "-m1", "^flags", "/proc/cpuinfo"], capture_output=True, text=True, check=False
    )
    listed = set(flags.stdout.split())
    assert environment.cpu_capabilities() == tuple(name for name in CPU_CAPABILITIES if name in listed)


def test_cores_are_those_this_process_may_use() -> None:
    code = "from pt_core.environment import num_cpus; print(num_cpus())"
    first = min(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(first), sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "1"


def test_describing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pt_core.environment import describe_environment; describe_environment()\n"
        "print([name for name in ('torch', 'numpy', 'mlflow', 'prefect', 'onnx') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_commit_and_the_state_of_the_working_directory_are_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert describe_environment().git_commit is None
    assert describe_environment().git_dirty is None

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-q", "-m", "m")
    environment._describe.cache_clear()
    found = describe_environment()
    assert (found.git_commit, found.git_dirty) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "a").write_text("2")
    environment._describe.cache_clear()
    assert describe_environment().git_dirty is True
    monkeypatch.chdir("/")
    assert describe_environment().git_commit is None
    monkeypatch.setenv(SOURCE_VARIABLE, str(tmp_path))
    assert describe_environment().git_commit == found.git_commit


def test_an_edit_of_the_users_module_or_its_neighbour_changes_the_digest(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "net_of_this_test.py").write_text("from parts import x")
    (tmp_path / "parts.py").write_text("x = 1")
    seen = set()
    for change in (None, "parts.py", "net_of_this_test.py"):
        if change:
            with (tmp_path / change).open("a") as file:
                file.write("\n# edited")
        code_digest.cache_clear()
        seen.add(code_digest("net_of_this_test:net"))
    assert len(seen) == 3
    assert "net_of_this_test" not in sys.modules
    code_digest.cache_clear()
    assert code_digest("net_of_this_test:net") in seen


def test_a_package_is_hashed_with_its_sub_packages(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "package_of_this_test" / "sub"
    folder.mkdir(parents=True)
    for path in (folder.parent / "__init__.py", folder / "__init__.py", folder / "deep.py"):
        path.write_text("")
    before = code_digest("package_of_this_test.sub.deep:net")
    (folder / "deep.py").write_text("x = 1")
    code_digest.cache_clear()
    assert code_digest("package_of_this_test.sub.deep:net") != before


def test_a_neighbour_that_a_package_imports_changes_its_digest_but_an_installed_neighbour_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changes(folder: Path, name: str) -> bool:
        monkeypatch.syspath_prepend(folder)
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("import layers")
        before = code_digest(f"{name}:net")
        (folder / "layers.py").write_text("WIDTH = 2")
        code_digest.cache_clear()
        return code_digest(f"{name}:net") != before

    assert changes(tmp_path / "project", "own_of_this_test")
    assert not changes(tmp_path / "lib" / "site-packages", "installed_of_this_test")


def test_an_edit_in_a_linked_package_changes_the_digest_and_a_link_back_ends(
    tmp_path: Path, monkeypatch
) -> None:
    project, package = tmp_path / "project", tmp_path / "elsewhere" / "layers"
    package.mkdir(parents=True)
    project.mkdir()
    (project / "net_beside_a_link.py").write_text("import layers")
    (project / "layers").symlink_to(package)
    (package / "back").symlink_to(project)
    monkeypatch.syspath_prepend(project)
    before = code_digest("net_beside_a_link:net")
    (package / "wide.py").write_text("WIDTH = 2")
    code_digest.cache_clear()
    assert code_digest("net_beside_a_link:net") != before


def test_what_may_not_be_looked_at_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "beside_a_closed_folder.py").write_text("")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        assert code_digest("beside_a_closed_folder:net")
    finally:
        closed.chmod(0o700)


def test_libraries_that_make_samples_are_part_of_what_decides_a_result() -> None:
    identity = environment.runtime_identity()
    for name in ("pillow", "pandas", "pyarrow", "kornia"):
        assert f"{name}={importlib.metadata.version(name)}" in identity


def test_code_of_the_product_has_the_products_digest() -> None:
    assert code_digest("pt_core.modeling.cnn:cnn") == core_code_digest()
    assert len(core_code_digest()) == 64


def test_code_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="no module named 'no_such_module_at_all'"):
        code_digest("no_such_module_at_all:net")


def test_an_edit_in_a_package_without_an_init_file_changes_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "namespace_of_this_test" / "sub" / "net.py"
    module.parent.mkdir(parents=True)
    module.write_text("A = 1\n")
    before = code_digest("namespace_of_this_test.sub.net:A")
    module.write_text("A = 2\n")
    code_digest.cache_clear()
    assert code_digest("namespace_of_this_test.sub.net:A") != before
