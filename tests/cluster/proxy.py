"""A TCP proxy between pods and a server of this machine, which can refuse everything for a while."""

import os
import socket
import threading
from contextlib import suppress

from tests.services import servers

HOST = os.environ.get("CLUSTER_HOST", "10.200.0.1")
"""This machine as pods see it."""


class Proxy:
    """A TCP proxy that can refuse everything for a while."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._pairs: list[socket.socket] = []
        self.port = servers.free_port(HOST)
        self._listener: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """Listen."""
        self._listener = socket.create_server((HOST, self.port), reuse_port=False)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuse new connections and end those there are."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for one in self._pairs:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                caller, _ = listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._pairs += [caller, server]
            for source, sink in ((caller, server), (server, caller)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
