"""A TCP proxy on the loopback interface whose line can be cut, stalled, frozen, led elsewhere."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable

CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 5.0

RESET = struct.pack("ii", 1, 0)
"""A linger of no time: closing sends RST instead of FIN."""


def reset(connection: socket.socket) -> None:
    """Close a connection as a machine that breaks down does."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)  # wakes whoever waits for data
    connection.close()


def to_port(port: int) -> Callable[[], socket.socket]:
    """Connects to a port of the loopback interface."""
    return lambda: socket.create_connection(("127.0.0.1", port), timeout=CONNECT_TIMEOUT_S)


def to_socket(path: str) -> Callable[[], socket.socket]:
    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return connection

    return connect


def pass_on_at_once(connection: socket.socket) -> None:
    """Keep no small packet back until the one before it is acknowledged, up to 40 ms later."""
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Proxy:
    """The proxy; it runs in threads of its own from the beginning.

    Args:
        connect: Makes a connection to the server behind it.
        tls: Greets clients with a certificate, if given.
        address: Where it listens; a port of 0 takes a free one.

    Attributes:
        round_trips: How often its clients have waited for the server. Whatever a client sends
            before it hears something is one, in however many packets.
        delay_s: How much longer each of them takes than it would, in seconds.
    """

    round_trips = 0
    delay_s = 0.0

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        *,
        tls: ssl.SSLContext | None = None,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self._connect = connect
        self._tls = tls
        self._flows = threading.Event()
        self._flows.set()
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._frozen: set[socket.socket] = set()
        self._thawed = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server(address)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset all connections, and every new one, until `heal`."""
        self.refuse()
        self.reset()

    def refuse(self) -> None:
        """Reset every new connection until `heal`; those that are open stay so."""
        self._is_cut = True

    def stall(self) -> None:
        """Pass nothing on until `heal`, and close nothing: what a lost route looks like."""
        self._flows.clear()

    def freeze(self) -> None:
        """Leave the connections that are open now half open: neither end hears of the other again.

        Nothing passes and nothing is closed; new connections are served.
        """
        with self._lock:
            self._frozen |= self._open

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._open) // 2

    def redirect(self, connect: Callable[[], socket.socket]) -> None:
        """Lead new connections to another server."""
        self._connect = connect

    def heal(self) -> None:
        """Pass everything on again; what was half open is reset, as a machine that is back does."""
        self._is_cut = False
        self._flows.set()
        with self._lock:
            frozen, self._frozen = self._frozen & self._open, set()
            self._open -= frozen
        self._thawed.set()
        self._thawed = threading.Event()
        for connection in frozen:
            reset(connection)

    def reset(self) -> None:
        """Reset all connections that are open now."""
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            reset(connection)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        self._listener.close()
        self._thawed.set()
        self.cut()
        self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._flows.wait()
        try:
            if self._is_cut:
                raise ConnectionResetError
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            server = self._connect()
        except OSError:
            reset(client)
            return
        server.settimeout(None)
        for one in (client, server):
            pass_on_at_once(one)
        with self._lock:
            self._open |= {client, server}
        asked, answered = self._counters()
        answering = (server, client, answered)
        threading.Thread(target=self._pump, args=answering, daemon=True).start()
        self._pump(client, server, asked)

    def _counters(self) -> tuple[Callable[[], None], Callable[[], None]]:
        """What counts the round trips of a connection: it hears who says something."""
        is_waiting = False

        def asked() -> None:
            nonlocal is_waiting
            with self._lock:
                self.round_trips += not is_waiting
                is_waiting = True

        def answered() -> None:
            nonlocal is_waiting
            was_waiting, is_waiting = is_waiting, False
            if was_waiting and self.delay_s:
                time.sleep(self.delay_s)

        return asked, answered

    def _pump(self, source: socket.socket, target: socket.socket, note: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._flows.wait()
                note()
                if source in self._frozen:
                    break
                target.sendall(data)
        thawed = self._thawed
        if source in self._frozen:
            thawed.wait()
        for connection in (source, target):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        with self._lock:
            self._open -= {source, target}
