"""Who is connected: a full house makes room by dropping whoever takes longest, never by keeping a newcomer waiting."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from deployments.webhook.answers import RequestRefused
from deployments.webhook_config import Limits


@dataclass(eq=False)
class Seat:
    """One connection."""

    peer: str
    """The other side's address."""
    drop: asyncio.Task[None]
    """The task that serves it; cancelled to make room."""
    buffered_bytes: int = 0
    """How much of its body is held; nothing once it is judged."""
    complete: bool = False
    """Whether its request has arrived whole; such a one is never dropped."""


@dataclass(eq=False)
class Crowd:
    """The connections that are open, oldest first."""

    limits: Limits
    """How many, and how much they may hold together."""
    seats: dict[Seat, None] = field(default_factory=dict)
    """The connections; a dict keeps their order."""

    def join(self, seat: Seat) -> None:
        """Let a connection in; if there are too many, the oldest unfinished one of the busiest peer goes."""
        if len(self.seats) >= self.limits.max_connections:
            unfinished = [one for one in self.seats if not one.complete]
            counts = Counter(one.peer for one in unfinished)
            self._drop(max(unfinished, key=lambda one: counts[one.peer], default=None))
        self.seats[seat] = None

    def leave(self, seat: Seat) -> None:
        """Forget a connection that ended."""
        self.seats.pop(seat, None)

    def hold(self, seat: Seat, num_bytes: int) -> None:
        """Count a part of a body; if all hold too much together, the largest unfinished body goes.

        Raises:
            RequestRefused: that is this one; the others are being judged, and their room is free in a moment.
        """
        seat.buffered_bytes += num_bytes
        if sum(one.buffered_bytes for one in self.seats) <= self.limits.max_buffered_bytes:
            return
        unfinished = [one for one in self.seats if not one.complete]
        largest = max(unfinished, key=lambda one: one.buffered_bytes, default=seat)
        if largest is seat:
            raise RequestRefused("too many bodies are held at this moment; send it again", status=503)
        self._drop(largest)

    def _drop(self, seat: Seat | None) -> None:
        if seat is not None:
            self.leave(seat)
            seat.drop.cancel()
