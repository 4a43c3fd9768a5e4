"""HTTP/1.1 on one connection: one request, read within the limits of time and size, one answer, closed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import NoReturn

import h11

from deployments.webhook.answers import Answer, RequestRefused
from deployments.webhook.crowd import Crowd, Seat
from deployments.webhook.receiver import Admitted, Receiver, admit, receive

logger = logging.getLogger(__name__)

_CHUNK = 65_536
_MAX_HEADER_BYTES = 16_384
_ANSWER_S = 5.0
_LINGER_S = 1.0
_LINGER_BYTES = 1_000_000


def handler(
    receiver: Receiver, crowd: Crowd, worker: Executor
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Return what serves a connection, for :func:`asyncio.start_server`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        seat = Seat(peer=str((writer.get_extra_info("peername") or ("",))[0]), drop=task)
        crowd.join(seat)
        try:
            answer = await _answer(reader, writer, receiver, crowd, seat, worker)
            await _send(reader, writer, answer)
        except (OSError, asyncio.CancelledError):
            # The other side is gone, or this side made room or stops: nobody is left to tell.
            pass
        finally:
            crowd.leave(seat)
            writer.transport.abort()

    return serve


async def _answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    receiver: Receiver,
    crowd: Crowd,
    seat: Seat,
    worker: Executor,
) -> Answer:
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)
    limits = crowd.limits
    try:
        async with asyncio.timeout(limits.header_seconds):
            request = await _request(http, reader)
        admitted = admit(receiver, request.method, request.target, list(request.headers))
        if isinstance(admitted, Answer):
            return admitted
        async with asyncio.timeout(limits.body_seconds):
            body = await _body(http, request, reader, writer, crowd, seat)
        seat.complete = True
        return await asyncio.get_running_loop().run_in_executor(worker, _settle, receiver, admitted, body)
    except TimeoutError:
        return Answer(status=408, result="refused", reason="the request took too long")
    except h11.RemoteProtocolError as error:
        # h11 asks for 501 for an unknown coding; to the sender's monitoring that would be our failure.
        status = 431 if error.error_status_hint == 431 else 400
        return Answer(status=status, result="refused", reason="the request is not valid HTTP/1.1")
    except RequestRefused as refused:
        return refused.answer()
    finally:
        seat.buffered_bytes = 0


def _settle(receiver: Receiver, admitted: Admitted, body: bytes) -> Answer:
    """Judge the whole request, off the event loop: it may be 25 MB, and it waits for the disk."""
    try:
        return receive(receiver, admitted, body)
    except RequestRefused as refused:
        return refused.answer()
    except Exception:  # our failure, not the sender's: told so, so that the sender tries again
        logger.exception("a request for %s could not be handled", admitted.repository.name)
        return Answer(status=503, result="refused", reason="the receiver failed; its log says how")


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request:
    event = await _next(http, reader)
    if not isinstance(event, h11.Request):
        raise h11.RemoteProtocolError("no request")
    return event


async def _body(
    http: h11.Connection,
    request: h11.Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    crowd: Crowd,
    seat: Seat,
) -> bytes:
    """Return the whole body.

    Raises:
        RequestRefused: it is larger than the limit, by its own account or in fact.
    """
    limit = crowd.limits.max_body_bytes
    names = [name for name, _ in request.headers]
    if b"content-length" in names and b"transfer-encoding" in names:
        raise RequestRefused("the request names two lengths")
    declared = [int(value) for name, value in request.headers if name == b"content-length"]
    if any(length > limit for length in declared):
        _too_large(limit)
    if http.they_are_waiting_for_100_continue:
        writer.write(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
    parts = bytearray()
    while isinstance(event := await _next(http, reader), h11.Data):
        parts += event.data
        crowd.hold(seat, len(event.data))
        if len(parts) > limit:
            _too_large(limit)
    return bytes(parts)


def _too_large(limit: int) -> NoReturn:
    raise RequestRefused(f"the body is larger than {limit} bytes", status=413)


async def _next(
    http: h11.Connection, reader: asyncio.StreamReader
) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await reader.read(_CHUNK))
    return event


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    """Send the answer, then read on for a moment: closing on unread bytes would make the kernel discard the answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ANSWER_S):
            writer.write(answer.to_http())
            await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            left = _LINGER_BYTES
            while left > 0 and (part := await reader.read(_CHUNK)):
                left -= len(part)
