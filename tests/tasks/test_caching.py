"""A cached record is taken only for the same task, code, libraries and content, and only if its bytes are intact."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import run_results
from prefect.results import ResultRecord, ResultRecordMetadata
from prefect.serializers import JSONSerializer

from pt_core.bundle import Bundle, seal, staging
from pt_core.data.config import DataConfig
from pt_core.data.requests import PrepareRequest
from pt_core.keys import keys_of
from pt_core.limits import Limits
from pt_core.record import Record
from pt_core.signing import sign
from tasks import caching


def request(seed: int = 0) -> PrepareRequest:
    return PrepareRequest(config=DataConfig(), seed=seed, base_dir="/", source_sha256=None, store="/s")


def test_two_tasks_with_equal_requests_have_different_keys() -> None:
    assert caching.key_of("prepare", request()) != caching.key_of("train", request())


def test_a_key_follows_the_content_of_the_request() -> None:
    assert caching.key_of("prepare", request()) == caching.key_of("prepare", request())
    assert caching.key_of("prepare", request()) != caching.key_of("prepare", request(seed=1))


def test_a_key_follows_the_code_and_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    before = caching.key_of("prepare", request())
    with monkeypatch.context() as patched:
        patched.setattr(caching, "core_code_digest", lambda: "0" * 64)
        assert caching.key_of("prepare", request()) != before
    with monkeypatch.context() as patched:
        patched.setattr(caching, "runtime_identity", lambda: "another machine")
        assert caching.key_of("prepare", request()) != before


class Info(Record):
    """A description."""

    text: str


def bundle(store: Path) -> Bundle:
    with staging(store) as folder:
        (folder / "payload").write_text("content")
        return seal(folder, name="thing", kind="dataset", info=Info(text="x"))


def test_a_record_is_looked_up_only_while_its_bytes_are_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle(tmp_path)
    storage = tmp_path / "storage"
    storage.mkdir()
    monkeypatch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(storage))
    key = caching.key_of("prepare", request())
    kept = ResultRecord(
        result=made, metadata=ResultRecordMetadata(serializer=JSONSerializer(), storage_key=key)
    )
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: storage}):
        assert caching.lookup("prepare", request(), reply=Bundle) is None
        (storage / key).write_bytes(kept.serialize())
        assert caching.lookup("prepare", request(), reply=Bundle) == made
        (Path(made.directory) / "payload").write_text("c0ntent")
        assert caching.lookup("prepare", request(), reply=Bundle) is None


def test_a_program_is_taken_from_the_cache_only_under_a_trusted_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_results.make_run_result(tmp_path)
    found = {variant.name: variant.artifact for variant in result.variants}
    program, graph = found["torchscript"], found["onnx"]
    assert program is not None
    assert graph is not None
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path / "home"))
    assert caching.intact(program)
    assert not caching.vouched(program)
    assert caching.vouched(graph)
    assert caching.vouched(result.dataset)
    sign(Path(program.directory), keys_of(tmp_path / "attacker"))
    assert not caching.vouched(program)
    sign(Path(program.directory), keys_of(tmp_path / "home"))
    assert caching.vouched(program)


class Future:
    """An answer that is there."""

    def __init__(self, record: Bundle, name: str) -> None:
        self.record = record
        self.state = SimpleNamespace(name=name)

    def result(self) -> Bundle:
        return self.record


class Builder:
    """A task that makes a bundle and remembers what it was given."""

    name = "build"
    task_run_name = "build"

    def __init__(self, store: Path) -> None:
        self.store = store
        self.given: list[tuple[object, ...]] = []

    def with_options(self, *, refresh_cache: bool) -> Builder:
        assert refresh_cache
        return self

    def submit(self, *given: object) -> Future:
        self.given.append(given)
        return Future(bundle(self.store), "Completed")


def test_what_is_built_again_is_given_all_that_it_was_given_first(tmp_path: Path) -> None:
    damaged = bundle(tmp_path / "old")
    (Path(damaged.directory) / "payload").unlink()
    task, limits = Builder(tmp_path / "new"), Limits(timeout_s=1)
    found = caching.settle(task, request(), limits, Future(damaged, "Cached"), "where to log")
    assert caching.intact(found)
    assert task.given == [(request(), limits, "where to log")]
