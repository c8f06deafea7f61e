"""Connections that waitress keeps only while something comes of them.

waitress gives up a connection on which nothing happens. One that sends a byte now and then is alive
for it, and one that takes no answer it cannot close, because it waits until it could write.
"""

import resource
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from chalicelib.values.addresses import network_of

PACE_BYTES = 64 * 1024
"""So much of a body has to come, and so much of an answer to be taken, within the patience."""

IDLE_S = 75.0
"""How long a connection is kept between two requests, in seconds."""

LINGER_S = 5.0
"""How long a client that was refused may take for each `PACE_BYTES` of what it still sends."""

LINGER_BYTES = 64 * 1024 * 1024
"""How much of that is read, and forgotten, at most."""

BODIES_BYTES = 256 * 1024 * 1024
"""How much of unfinished bodies there may be in all; the longest of them go first."""

ANSWERS_BYTES = 64 * 1024 * 1024
"""How much of answers may wait for clients in all; beyond, those go who have taken nothing for
`STALLED_S`, and beyond twice as much whoever has waited longest. It is in memory: written to files,
it would keep threads from everybody else."""

STALLED_S = 2.0
"""How long a client takes less than `PACE_BYTES` until it is among the first to go."""

NETWORK_ANSWERS_BYTES = ANSWERS_BYTES // 4
"""How much may wait for a network's clients that do take it, until its requests wait, too."""

ROOM_S = 4.0
"""How long they do at most."""

SEND_BUFFER_BYTES = 128 * 1024
"""What the system buffers of an answer, two times. By itself it takes megabytes, and only looks for
more when a third has been taken: a slow client would seem to take nothing."""

ACCEPTED_AT_ONCE = 64
"""waitress accepts one connection with each turn of its loop, which takes the longer the more
connections there are: who comes behind a thousand would wait for seconds."""

LOOK_S = 1.0
"""How often late connections are looked for, in seconds."""

ROOM_LOOK_S = 0.02
"""How often one looks for room while there is none."""

DESCRIPTORS = 2
"""Of a connection: itself, and a file for a large body."""

OTHER_DESCRIPTORS = 512
"""For everything else that the process opens."""


@dataclass(frozen=True)
class Bounds:
    """What connections may do.

    Attributes:
        patience_s: How long a client may take for a head, and for each `PACE_BYTES`, in seconds.
        most: How many connections there may be.
        most_of_network: How many of one network; None behind a proxy, from which all come.
    """

    patience_s: float = 20.0
    most: int = 4_000
    most_of_network: int | None = 256


def descriptors_for(connections: int) -> int:
    """Allow this process as many open files as connections need, as far as the system lets it.

    Returns:
        For how many connections that is enough.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections * DESCRIPTORS + OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(connections, max(1, (wanted - OTHER_DESCRIPTORS) // DESCRIPTORS))


class Connection(HTTPChannel):  # type: ignore[misc]
    """A connection that can be late, and that lets a client read why it was refused."""

    def __init__(
        self, server: "Server", sock: socket.socket, addr: Any, adj: Any, **options: Any
    ) -> None:
        self.network = network_of(str(addr[0]))
        self.since = time.monotonic()
        self.delayed_at: float | None = None
        self._stage: tuple[str, object] = ("new", None)
        self._moved = self._moved_before = 0
        self._lingers = self._is_lingering = False
        super().__init__(server, sock, addr, adj, **options)
        server.admit(self)

    @property
    def body_bytes(self) -> int:
        """How much there is of a body that is not complete."""
        return self.request.body_bytes_received if self.request is not None else 0

    def is_late(self, now: float, patience_s: float) -> bool:
        """Whether the client has kept us waiting for too long; to be asked again and again."""
        stage = self._current_stage()
        amount = self.body_bytes if stage[0] == "body" else self._moved
        if stage != self._stage or amount >= self._moved_before + PACE_BYTES:
            self._stage, self._moved_before, self.since = stage, amount, now
        allowed = {"work": float("inf"), "idle": IDLE_S, "refused": min(LINGER_S, patience_s)}
        return now - self.since > allowed.get(stage[0], patience_s)

    def _current_stage(self) -> tuple[str, object]:
        if self._is_lingering:
            return "refused", None
        if self.total_outbufs_len:
            return "answer", None
        if self.requests:
            return "work", None
        if self.request is not None:
            return "body" if self.request.headers_finished else "head", self.request
        is_new = self.last_activity == self.creation_time
        return ("new", None) if is_new else ("idle", self.last_activity)

    def drop(self) -> None:
        """Close the connection, whatever is still to be sent."""
        self._lingers = False
        self.will_close = True
        self.handle_close()

    def send(self, data: bytes, *, do_close: bool = True) -> int:
        """Send what the client takes, and count it."""
        sent: int = super().send(data, do_close=do_close)
        self._moved += sent
        return sent

    def service(self) -> None:
        """Make a request, in a thread, or let it wait without one."""
        if not self.server.delays(self):
            self.delayed_at = None
            self.answer()

    def answer(self) -> None:
        """Make a request; what is refused before it has come may still be coming."""
        if self.requests[0].error:
            self._lingers = True
        super().service()
        if self.total_outbufs_len > PACE_BYTES:
            self.server.look_soon()

    def readable(self) -> bool:
        """Whether to read."""
        return self._is_lingering or super().readable()

    def handle_read(self) -> None:
        """Read, and forget what a client sends that was refused."""
        if not self._is_lingering:
            super().handle_read()
            return
        self._moved += len(self.recv(self.adj.recv_bytes))
        if self._moved > LINGER_BYTES:
            self.handle_close()

    def handle_close(self) -> None:
        """Close the connection, or half of it while a refused client sends.

        If all of it were closed, what arrives would be answered with a reset, in which the client
        loses the answer that says why.
        """
        if self._lingers:
            self._lingers = False
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it is gone
            else:
                self.will_close, self._is_lingering, self._moved = False, True, 0
                return
        super().handle_close()


class Server(TcpWSGIServer):  # type: ignore[misc]
    """A server that keeps no connection that is late, and so many at a time.

    Args:
        application: What answers.
        bounds: What connections may do.
        options: waitress's own.
    """

    channel_class = Connection

    def __init__(self, application: Any, *, bounds: Bounds, **options: Any) -> None:
        self.bounds = bounds
        self._next_look = 0.0
        self._may_be_more = False
        self._full: frozenset[str] = frozenset()
        self._delayed: deque[Connection] = deque()
        # waitress would stop to accept; here somebody else makes room.
        super().__init__(application, connection_limit=2 * bounds.most + 16, **options)

    def handle_accept(self) -> None:
        """Accept those who have come."""
        for _ in range(ACCEPTED_AT_ONCE):
            self._may_be_more = False
            super().handle_accept()
            if not self._may_be_more:
                break

    def set_socket_options(self, conn: socket.socket) -> None:
        """Let the system buffer so much, beside what waitress sets."""
        super().set_socket_options(conn)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def accept(self) -> tuple[socket.socket, Any] | None:
        """Accept a connection, if there is one."""
        accepted: tuple[socket.socket, Any] | None = super().accept()
        self._may_be_more = accepted is not None
        return accepted

    def admit(self, connection: Connection) -> None:
        """Make room for a connection, of those that wait for their clients; else close it."""
        every = self._connections()
        own = [one for one in every if one.network == connection.network]
        most_of_network = self.bounds.most_of_network
        if most_of_network is not None and len(own) > most_of_network:
            self._make_room(own, connection)
        elif len(every) > self.bounds.most:
            self._make_room(every, connection)

    def look(self) -> None:
        """Drop what is late or too much, and let go on what has waited; between two turns."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + min(LOOK_S, self.bounds.patience_s / 4)
        for connection in self._connections():
            if connection.is_late(now, self.bounds.patience_s):
                connection.drop()
        _bound(
            [(one.body_bytes, one) for one in self._connections()],
            BODIES_BYTES,
            first=lambda one: -one.body_bytes,
        )
        self._look_for_room(now)

    def look_soon(self) -> None:
        """A thread has left much to be sent: look after this turn of the loop."""
        self._next_look = 0.0
        self.pull_trigger()

    def delays(self, connection: Connection) -> bool:
        """Let a request wait while its network has much to take; asked in a thread."""
        if connection.network not in self._full:
            return False
        now = time.monotonic()
        connection.delayed_at = connection.delayed_at or now
        if now - connection.delayed_at >= ROOM_S:
            return False
        self._delayed.append(connection)
        return True

    def _look_for_room(self, now: float) -> None:
        """Bound the answers that wait.

        Those of clients that take them are only delayed, and only by their own network: a crowd
        gets all of its answers, and nobody has others wait by taking nothing.
        """
        waiting = [(one.total_outbufs_len, one) for one in self._connections()]
        stalled = [(size, one) for size, one in waiting if now - one.since > STALLED_S]
        moving = Counter[str]()
        for size, one in waiting:
            if now - one.since <= STALLED_S:
                moving[one.network] += size
        _bound(stalled, ANSWERS_BYTES - moving.total(), first=lambda one: one.since)
        _bound(waiting, 2 * ANSWERS_BYTES, first=lambda one: one.since)
        self._full = frozenset(one for one in moving if moving[one] > NETWORK_ANSWERS_BYTES)
        for _ in range(len(self._delayed)):  # threads add others meanwhile
            one = self._delayed.popleft()
            if one.network in self._full and now - (one.delayed_at or now) < ROOM_S:
                self._delayed.append(one)
            elif one.connected:
                self.add_task(one)
        if self._full or self._delayed:
            self._next_look = now + ROOM_LOOK_S

    def _connections(self) -> list[Connection]:
        return list(self.active_channels.values())

    @staticmethod
    def _make_room(among: Sequence[Connection], newest: Connection) -> None:
        waiting = [one for one in among if one is not newest and not one.requests]
        min(waiting, key=lambda one: one.since, default=newest).drop()


def _bound(
    kept: Sequence[tuple[int, Connection]], most: int, *, first: Callable[[Connection], float]
) -> None:
    """Drop connections, in an order, until what the others keep is not too much."""
    total = sum(size for size, _ in kept)
    for size, one in sorted(kept, key=lambda pair: first(pair[1])):
        if total <= most:
            break
        if size:
            total -= size
            one.drop()
