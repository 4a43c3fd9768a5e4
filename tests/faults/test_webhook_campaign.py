"""Thousands of hostile requests against a real receiver: nothing unauthorised starts, nothing breaks, nothing is told."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile_hooks
import psutil
import pytest
from receiving import FakePrefect, deliveries, fake_prefect, receiving, wait_for


def ask(port: int, raw: bytes) -> tuple[int, bytes]:
    """Send bytes, say that no more come, and return the status (0 for none) with the whole answer."""
    parts = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                parts.append(part)
    answer = b"".join(parts)
    return int(answer[9:12] or b"0"), answer


def kept(prefect: FakePrefect) -> list[str]:
    """Keep whole what is sent to Prefect from now on: names, tags, parameters and settings."""
    sent, answer = [], prefect.post

    def post(path: str, document: dict) -> tuple[int, object]:
        sent.append(json.dumps(document))
        return answer(path, document)

    prefect.post = post
    return sent


def campaign(folder: Path, count: int) -> None:
    chance = random.Random(20_261_123)
    (folder / "home").mkdir()
    (folder / "home" / "standard").write_text(hostile_hooks.STANDARD_SECRET)
    with (
        fake_prefect() as prefect,
        receiving(
            folder / "home", hostile_hooks.CONFIG, prefect_url=prefect.url, secret=hostile_hooks.SECRET
        ) as (port, process),
    ):
        started = kept(prefect)
        accepted = [f"good-{name}" for name in hostile_hooks.ALL]
        sent = [hostile_hooks.good(name, -i, f"good-{name}") for i, name in enumerate(hostile_hooks.ALL)]
        welcomed = [ask(port, raw) for raw in sent]
        assert [status for status, _ in welcomed] == [202] * len(sent)
        before = psutil.Process(process.pid).memory_info().rss
        requests = [hostile_hooks.hostile(number, chance, sent) for number in range(count)]
        with ThreadPoolExecutor(8) as senders:
            answers = list(senders.map(lambda one: ask(port, one[1]), requests))
        grown = psutil.Process(process.pid).memory_info().rss - before
        assert process.poll() is None
        last = hostile_hooks.good("github", -99, "good-last")
        assert ask(port, last)[0] == 202, "a good request is still accepted"
        wait_for(lambda: len(prefect.runs) == len(accepted) + 1)
    statuses = Counter(status for status, _ in answers)
    by_kind = Counter((kind, status) for (kind, _), (status, _) in zip(requests, answers, strict=True))
    print(f"{count} hostile requests: {dict(sorted(statuses.items()))}; memory +{grown / 1e6:.0f} MB")
    assert {row["id"] for row in deliveries(folder / "home")} == {*accepted, "good-last"}
    assert {key.rpartition(":")[2] for key in prefect.runs} == {*accepted, "good-last"}
    assert [status for status in statuses if status >= 500 or status == 202] == []
    assert {kind for kind, status in by_kind if status in (400, 401)} >= {"proof", "scheme"}
    for kind, expected in (("body", 401), ("secret", 401), ("same body", 200)):
        assert {status for one, status in by_kind if one == kind} == {expected}, kind
    assert statuses[0] < count / 100, "nearly every request is answered"
    assert grown < 60_000_000
    log, told = folder / "home" / "receiver.log", [answer for _, answer in (*welcomed, *answers)]
    no_secret_is_told(log, b"".join(told))
    assert len(started) >= len(prefect.runs)
    no_text_of_a_push_is_told(*started, log.read_text(), json.dumps(deliveries(folder / "home")))
    no_text_of_a_push_is_told(*(answer.decode() for answer in told))
    a_repeated_ref_stays_text(told)


def no_text_of_a_push_is_told(*texts: str) -> None:
    for part in hostile_hooks.TOLD:
        assert [text for text in texts if part in text] == [], part


def a_repeated_ref_stays_text(answers: list[bytes]) -> None:
    """No browser takes an answer for a page, and no ref in one begins a line."""
    heads = {
        answer.partition(b"\r\n")[2].partition(b"\r\ncontent-length:")[0] for answer in answers if answer
    }
    assert heads == {b"content-type: application/json\r\nx-content-type-options: nosniff"}
    assert any(b"refs/heads/<b>" in answer for answer in answers)
    assert not any(b"\nX: y" in answer for answer in answers)


def no_secret_is_told(log: Path, answers: bytes) -> None:
    text = log.read_text()
    key = hostile_hooks.STANDARD_SECRET.removeprefix("whsec_")
    for secret in (hostile_hooks.SECRET, key, hostile_hooks.STANDARD_KEY.decode()):
        assert secret not in text
        assert secret.encode() not in answers
    assert re.search(r"[^\x20-\x7e\n]", text) is None, "only printable ASCII"
    # Each line is the receiver's own: no text of a push begins one.
    assert [line for line in text.splitlines() if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line)] == []
    assert re.search(rb"[^\x20-\x7e\r\n]", answers) is None


def test_hostile_requests_start_nothing_and_break_nothing(tmp_path: Path) -> None:
    campaign(tmp_path, 600)


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_ten_thousand_hostile_requests_start_nothing_and_break_nothing(tmp_path: Path) -> None:
    campaign(tmp_path, 10_000)
