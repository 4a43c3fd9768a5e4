"""Two that write the same row of MLflow at the same moment, against a real database: both writes end well."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE

from tasks import registering
from tasks.among_writers import among_writers
from tasks.outbox_entries import LogInput
from tasks.outbox_place import Place
from tasks.outbox_send import send
from tasks.registry import BUNDLE_DIGEST, RELEASE_DIGEST, find_alias, find_version

MODEL = "written"
NUM_TIMES = 40
"""Without another try about every third of them failed."""


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri, registry_uri=uri)


def at_once(writes: Sequence[Callable[[], object]]) -> list[Exception]:
    """Let threads write at the same moment; return what went wrong."""
    start, failures = threading.Barrier(len(writes)), []

    def work(write: Callable[[], object]) -> None:
        start.wait()
        try:
            write()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(write,)) for write in writes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_two_that_set_an_alias_that_is_not_there_both_set_it(uri: str, client: MlflowClient) -> None:
    client.create_registered_model(MODEL)
    tags = {RELEASE_DIGEST: "r", BUNDLE_DIGEST: "b"}
    versions = [
        find_version(uri, name=MODEL, version=client.create_model_version(MODEL, "source", tags=tags).version)
        for _ in range(2)
    ]
    for alias in (f"alias{number}" for number in range(NUM_TIMES)):
        writes = [partial(registering.set_alias, uri, version, alias) for version in versions]
        assert at_once(writes) == []
        found = find_alias(uri, name=MODEL, alias=alias)
        assert found is not None
        assert found.version in {one.version for one in versions}


def test_two_runs_that_log_a_dataset_that_is_not_there_both_rest_on_it(client: MlflowClient) -> None:
    experiment = client.create_experiment("written")
    place = Place(client, {})
    for digest in (f"d{number}" for number in range(NUM_TIMES)):
        runs = [client.create_run(experiment).info.run_id for _ in range(2)]
        entries = [
            LogInput(id=run, run=run, name="digits", digest=digest, source="{}", profile="{}", context="test")
            for run in runs
        ]
        assert at_once([partial(send, place, entry, again=False) for entry in entries]) == []
        for run in runs:
            (found,) = client.get_run(run).inputs.dataset_inputs
            assert found.dataset.digest == digest


@pytest.mark.parametrize(("code", "calls"), [(BAD_REQUEST, 4), (INVALID_PARAMETER_VALUE, 1)])
def test_what_is_refused_each_time_is_refused(code: int, calls: int) -> None:
    made: list[int] = []

    def write() -> None:
        made.append(code)
        raise MlflowException("refused", error_code=code)

    with pytest.raises(MlflowException, match="refused"):
        among_writers(write)
    assert len(made) == calls
