"""What an outbox takes for away, for refused, for damaged and for another's; its limits against a real database."""

from __future__ import annotations

import datetime
import errno
import os
import ssl
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pt_core.errors import ConfigError, IntegrityError
from tasks.answering import is_away, unreachable
from tasks.outbox import FOLDER, replay_all
from tasks.outbox_entries import Done, LogBatch, Opened, OpenRun, Point
from tasks.outbox_file import encode, read
from tasks.outbox_place import Place
from tasks.outbox_refusal import refusal
from tasks.outbox_send import send
from tasks.outbox_uploads import patient

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
NOWHERE = "http://127.0.0.1:9"
OPENED = Opened(tracking_uri=NOWHERE, experiment="e", run_name="r")


def batch(number: int, *, num_points: int = 1, model: str | None = None) -> LogBatch:
    points = tuple(
        Point(name=f"m{i}", value=0.5 + i, timestamp_ms=number, step=number) for i in range(num_points)
    )
    return LogBatch(id=f"local-{number}", run="local-run", points=points, model=model)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("e", artifact_location=tmp_path.as_uri())
    run = client.create_run(experiment).info.run_id
    model = client.create_logged_model(experiment, name="m", source_run_id=run).model_id
    known = {
        "local-run": Done(id="local-run", run_id=run, experiment_id=experiment),
        "local-model": Done(id="local-model", model_id=model),
    }
    return Place(client, known)


def test_more_figures_of_a_model_than_mlflow_compares_at_once_may_be_sent_twice(place):
    entry = batch(1, num_points=150, model="local-model")
    send(place, entry, again=False)
    send(place, entry, again=True)
    (model,) = place.client.search_logged_models([place.known["local-run"].experiment_id])
    assert sorted(metric.value for metric in model.metrics) == [0.5 + i for i in range(150)]


def test_the_figures_of_a_model_that_was_refused_go_to_the_run(place):
    send(place, batch(1, num_points=2, model="local-refused"), again=False)
    metrics = place.client.get_run(place.known["local-run"].run_id).data.metrics
    assert metrics == {"m0": 0.5, "m1": 1.5}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EIO])
def test_a_disk_that_is_full_refuses_nothing(number):
    assert refusal(OSError(number, "no"), batch(1), ()) is None


def test_a_key_without_its_passphrase_refuses_nothing_and_a_file_that_is_gone_does():
    assert refusal(ConfigError("no passphrase"), batch(1), ()) is None
    assert "gone" in (refusal(FileNotFoundError("gone"), batch(1), ()) or "")


def test_a_run_that_was_created_and_is_unknown_is_in_another_database_for_now():
    error = MlflowException("Run not found", error_code=1000)
    error.get_http_status_code = lambda: 404
    assert refusal(error, batch(1), {"local-run"}) is None
    assert refusal(error, batch(1), ()) == "Run not found"
    child = OpenRun(id="local-child", parent="local-run", name="c", tags={}, start_ms=0)
    assert refusal(error, child, {"local-run"}) is None


def test_a_last_line_that_is_whole_and_damaged_is_told(tmp_path):
    path = tmp_path / "r.jsonl"
    content = encode(OPENED) + encode(batch(1))
    path.write_bytes(content.replace(b'"value":0.5', b'"value":0.7'))
    with pytest.raises(IntegrityError, match=r"r\.jsonl: line 2 of 2 is damaged"):
        read(path)


@pytest.mark.parametrize("content", [b"", encode(OPENED)[:-9]])
def test_an_outbox_whose_process_was_killed_before_its_first_line_is_removed(content, tmp_path):
    path = tmp_path / FOLDER / "r.jsonl"
    path.parent.mkdir()
    path.write_bytes(content)
    assert replay_all(tmp_path, NOWHERE) == ()
    assert list(path.parent.iterdir()) == []


def test_what_is_for_another_server_is_left_and_told_and_nothing_of_it_asks_there(tmp_path):
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        uri = f"http://127.0.0.1:{other.server_port}"
        path = tmp_path / FOLDER / "r.jsonl"
        path.parent.mkdir()
        entry = OpenRun(id="local-run", experiment="e", name="r", tags={}, start_ms=0)
        path.write_bytes(encode(OPENED.model_copy(update={"tracking_uri": uri})) + encode(entry))
        before = path.read_bytes()
        (found,) = replay_all(tmp_path, NOWHERE, patience_s=0.1)
        assert found.problem.startswith(f"for {uri}; set MLFLOW_TRACKING_URI to it")
        assert path.read_bytes() == before
        other.timeout = 0.1
        other.handle_timeout = lambda: asked.append("nobody")
        asked: list[str] = []
        other.handle_request()
        assert asked == ["nobody"]


def test_uploads_get_time_by_their_size_and_failures_and_other_requests_have_theirs_again(
    tmp_path, monkeypatch
):
    monkeypatch.setenv(TIMEOUT, "30")
    large, small = tmp_path / "large", tmp_path / "small"
    for folder, num_mib in ((large, 8), (small, 0)):
        folder.mkdir()
        (folder / "file").write_bytes(bytes(num_mib * 2**20))
    with patient(str(small), num_failures=0):
        assert os.environ[TIMEOUT] == "30"
        with patient(str(large), num_failures=2):
            assert os.environ[TIMEOUT] == str((30 + 8) * 4)
        assert os.environ[TIMEOUT] == "30"
    with patient(str(small), num_failures=1000):
        assert os.environ[TIMEOUT] == "3600"
    assert os.environ[TIMEOUT] == "30"


def certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    signed = builder.sign(key, hashes.SHA256())
    path = folder / "own.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_a_server_with_a_certificate_of_its_own_is_there(tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.handle_error = lambda *_: None
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"https://127.0.0.1:{server.server_port}"
        assert is_away(address) is None
        assert unreachable(address) is None
        server.shutdown()
