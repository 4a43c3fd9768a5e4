"""Limits on the wire: slow, oversized, lying and broken senders are closed, and a good one is not kept waiting."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from receiving import deliveries, fake_prefect, github_headers, github_push, post, push, receiving, wait_for

from deployments.webhook.answers import RequestRefused
from deployments.webhook.crowd import Crowd, Seat
from deployments.webhook_config import Limits

CONFIG = """\
repositories:
  - {name: team/any, provider: github, clone_url: "https://git.example/team/any.git"}
limits: {max_body_bytes: 1000000, max_buffered_bytes: 3000000, header_seconds: 2, body_seconds: 3}
"""
HOOK = "/hooks/team/any"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int, Path]]:
    home = tmp_path_factory.mktemp("wire")
    with fake_prefect() as prefect, receiving(home, CONFIG, prefect_url=prefect.url) as (port, process):
        yield port, process.pid, home


def connected(port: int, first: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=20)
    made.sendall(first)
    return made


def answer(connection: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def status(connection: socket.socket) -> int:
    with connection:
        return int(answer(connection)[9:12] or b"0")


def head(body: bytes, length: str | None) -> bytes:
    headers = {**github_headers(body), "Host": "x"}
    if length is not None:
        headers["Content-Length"] = length
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {HOOK} HTTP/1.1\r\n{lines}\r\n".encode()


BODY = json.dumps(github_push()).encode()


@pytest.mark.parametrize("kind", ["silent", "headers", "body", "mixed"])
def test_two_hundred_slow_sockets_do_not_delay_a_good_request_and_are_closed(server, kind: str) -> None:
    port, pid, _ = server
    starts = {
        "silent": b"",
        "headers": b"POST /hooks/team/any HTTP/1.1\r\nHost: x\r\n",
        "body": head(BODY, "900000") + BODY[:10],
    }
    chosen = [starts[kind]] if kind in starts else list(starts.values())
    slow = [connected(port, chosen[i % len(chosen)]) for i in range(200)]
    try:
        taken = []
        for number in range(5):
            for one in slow:
                with contextlib.suppress(OSError):
                    one.sendall(b"x")
            begin = time.monotonic()
            assert push(port, github_push(before=f"{kind}{number}"))[0] == 202
            taken.append(time.monotonic() - begin)
        print(f"{kind}: slowest of 5 good requests {max(taken):.3f} s among 200 slow sockets")
        assert max(taken) < 1
        begin = time.monotonic()
        for one in slow:
            one.settimeout(10)
            answer(one)
        assert time.monotonic() - begin < 8
    finally:
        for one in slow:
            one.close()
    wait_for(lambda: psutil.Process(pid).num_fds() < 60, what="the sockets to be closed on the other side")


def test_a_body_that_is_too_large_is_refused_by_its_length_and_while_it_streams(server) -> None:
    port, pid, _ = server
    assert status(connected(port, head(BODY, "1000001"))) == 413
    assert status(connected(port, head(BODY, "9" * 30))) in (400, 413)
    chunked = head(BODY, None).replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    assert status(connected(port, chunked + chunk * 31)) == 413
    endless, sent = connected(port, chunked), 0
    before = psutil.Process(pid).memory_info().rss
    with contextlib.suppress(OSError):
        for _ in range(2000):
            endless.sendall(chunk)
            sent += len(chunk)
    endless.close()
    assert sent < 60_000_000, "the receiver went on reading"
    assert psutil.Process(pid).memory_info().rss - before < 20_000_000


def test_a_hundred_unfinished_bodies_hold_no_more_than_their_common_limit(server) -> None:
    port, pid, _ = server
    before = psutil.Process(pid).memory_info().rss
    open_ones = []
    for _ in range(100):
        one = connected(port, head(BODY, "900000"))
        with contextlib.suppress(OSError):
            one.sendall(b"x" * 800_000)
        open_ones.append(one)
    most = []
    for _ in range(20):
        most.append(psutil.Process(pid).memory_info().rss)
        time.sleep(0.05)
    grown = max(most) - before
    assert push(port, github_push(before="amid large bodies"))[0] == 202
    for one in open_ones:
        one.close()
    print(f"100 bodies of 800 kB grew the process by {grown / 1e6:.0f} MB")
    assert grown < 40_000_000


def test_judged_bodies_whose_senders_stay_take_no_room_from_good_pushes(server) -> None:
    port, _, _ = server
    large = b"x" * 999_990
    open_ones = [connected(port, head(BODY, str(len(large))) + large) for _ in range(3)]
    answered = [one.recv(100)[9:12] for one in open_ones]
    pushed = [push(port, github_push(before=f"beside judged bodies {number}"))[0] for number in range(3)]
    for one in open_ones:
        one.close()
    assert answered == [b"401"] * 3
    assert pushed == [202] * 3


def test_a_body_for_which_there_is_no_room_is_told_to_come_again() -> None:
    async def held() -> tuple[Crowd, Seat]:
        task = asyncio.create_task(asyncio.sleep(0))
        crowd = Crowd(limits=Limits(max_buffered_bytes=1024))
        for seat in (judged := Seat(peer="a", drop=task, complete=True), late := Seat(peer="b", drop=task)):
            crowd.join(seat)
        judged.buffered_bytes = 1000
        await task
        return crowd, late

    crowd, late = asyncio.run(held())
    with pytest.raises(RequestRefused) as refused:
        crowd.hold(late, 100)
    assert late in crowd.seats
    assert b"503 Service Unavailable\r\n" in (raw := refused.value.answer().to_http())
    assert b"\r\nretry-after: " in raw


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (head(BODY, str(len(BODY))) + BODY, 202),
        (head(BODY, str(len(BODY))) + BODY + b"GET /health HTTP/1.1\r\n\r\n", 200),
        (head(BODY, str(len(BODY) - 1)) + BODY, 401),
        (head(BODY, str(len(BODY) + 1)) + BODY, 408),
        (head(BODY, "-1") + BODY, 400),
        (head(BODY, f"{len(BODY)}\r\nContent-Length: 5") + BODY, 400),
        (head(BODY, f"{len(BODY)}\r\nTransfer-Encoding: chunked") + BODY, 400),
        (head(BODY, f"{len(BODY)}\r\nTransfer-Encoding: gzip") + BODY, 400),
        (head(BODY, None) + BODY, 401),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /hooks/team/any HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"POST /hooks/team/any/../any HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /hooks/team%2Fany HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /hooks/team/any HTTP/1.1\r\nHost: x\r\n\r\n", 401),
        (b"POST /hooks/team/any HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
    ],
)
def test_what_is_sent_is_answered_for_what_it_is(server, request_: bytes, expected: int) -> None:
    assert status(connected(server[0], request_)) == expected


@pytest.mark.parametrize(
    ("event", "payload", "reason"),
    [
        ("push", github_push(ref="refs/tags/main"), "is a tag"),
        ("push", github_push(sha="0" * 40, deleted=True, commits=[]), "was deleted"),
        ("ping", {"zen": "Design for failure.", "repository": {"full_name": "team/any"}}, "a ping"),
    ],
)
def test_what_moves_no_branch_is_answered_with_its_reason_and_starts_nothing(
    server, event: str, payload: dict, reason: str
) -> None:
    port, _, home = server
    # Only what is in the journal is ever started.
    before = len(deliveries(home))
    body = json.dumps(payload).encode()
    answered, told = post(port, HOOK, body, github_headers(body, event=event))
    assert (answered, told["result"]) == (200, "ignored")
    assert reason in told["reason"]
    assert len(deliveries(home)) == before


def test_a_sender_that_asks_before_it_sends_is_told_to_go_on(server) -> None:
    body = json.dumps(github_push(before="asked first")).encode()
    asking = connected(
        server[0], head(body, str(len(body))).replace(b"Host: x", b"Host: x\r\nExpect: 100-continue")
    )
    assert asking.recv(100).startswith(b"HTTP/1.1 100")
    asking.sendall(body)
    assert status(asking) == 202


def test_a_form_or_a_compressed_body_is_told_apart_from_a_wrong_signature(server) -> None:
    for old, new in (
        (b"application/json", b"application/x-www-form-urlencoded"),
        (b"application/json", b"text/plain"),
        (b"Host: x", b"Host: x\r\nContent-Encoding: gzip"),
    ):
        request = head(BODY, str(len(BODY))).replace(old, new) + BODY
        assert status(connected(server[0], request)) == 415


def test_every_delivery_in_the_journal_is_one_that_was_accepted(server) -> None:
    """The last of this file: what was refused above left nothing behind."""
    _, _, home = server
    accepted = (home / "receiver.log").read_text().count(" accepted: commit ")
    assert len(deliveries(home)) == accepted > 20
