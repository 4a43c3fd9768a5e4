"""The pages of other sites, open in a browser on this machine, get nothing done by the stack."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from deployments.stack.hosts import allowed_hosts

EVIL = "evil.example"


def status_of(address: str, body: object, **headers: str) -> int:
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def questions(stack) -> dict[str, tuple[str, object]]:
    return {
        "prefect": (f"{stack.prefect_url}/api/deployments/filter", {}),
        "mlflow": (f"{stack.mlflow_url}/api/2.0/mlflow/experiments/search", {"max_results": 1}),
    }


@pytest.mark.parametrize("server", ["prefect", "mlflow"])
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_page_of_another_site_is_refused_by_its_origin_and_by_its_name(stack, server, kind):
    address, body = questions(stack)[server]
    port = address.split(":")[2].split("/")[0]
    headers = {"Content-Type": kind}

    assert status_of(address, body, **headers, Origin=f"http://{EVIL}") == 403
    assert status_of(address, body, **headers, Host=f"{EVIL}:{port}", Origin=f"http://{EVIL}:{port}") == 403
    assert status_of(address, body, **headers, Host=f"{EVIL}:{port}") == 403
    assert status_of(address, body, **headers, Host=f"10.{EVIL}:{port}") == 403


@pytest.mark.parametrize("server", ["prefect", "mlflow"])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_servers_own_pages_are_answered(stack, server, name):
    address, body = questions(stack)[server]
    host = f"{name}:{address.split(':')[2].split('/')[0]}"

    assert (
        status_of(address, body, Host=host, Origin=f"http://{host}", **{"Content-Type": "application/json"})
        == 200
    )


def test_a_foreign_page_opens_no_stream_of_events(stack):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    address = f"{stack.prefect_url.replace('http', 'ws')}/api/events/in"

    with pytest.raises(InvalidStatus, match="403"), connect(address, origin=f"http://{EVIL}"):
        pass
    with connect(address, subprotocols=["prefect"]):
        pass


def test_a_server_that_listens_everywhere_goes_by_no_pattern(monkeypatch):
    monkeypatch.setenv("PT_PIPELINE_ALLOWED_HOSTS", "models.example.com")

    found = allowed_hosts("0.0.0.0", 4200)

    assert {"127.0.0.1:4200", "localhost:4200", "models.example.com"} <= set(found)
    assert not any("*" in name for name in found)
    assert allowed_hosts("::1", 80)[:3] == ("127.0.0.1", "localhost", "[::1]")
