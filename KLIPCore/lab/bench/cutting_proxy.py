"""A TCP proxy on loopback that cuts connections at random, as a bad network does."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress

LEAST_BYTES, MOST_BYTES = 300, 60_000
"""Of both directions together after which a connection is cut."""

MOST_S = 2.0
"""After which a connection is cut that says little, such as that of the events."""

TICK_S = 0.02


class CuttingProxy:
    """Passes connections on to a port until a number of them has been cut.

    Parameters
    ----------
    port : where the server listens.
    cuts : how many connections are cut; later ones are left alone.
    seed : of when.
    """

    def __init__(self, port: int, cuts: int, seed: int) -> None:
        self.done = 0
        self._server_port, self._left, self._draw = port, cuts, random.Random(seed)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no further connection."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _limits(self) -> tuple[float, float]:
        """Bytes and seconds that a new connection gets."""
        with self._lock:
            if self._left <= 0:
                return float("inf"), float("inf")
            return self._draw.uniform(LEAST_BYTES, MOST_BYTES), self._draw.uniform(0.2, MOST_S)

    def _serve(self, client: socket.socket) -> None:
        most, longest = self._limits()
        passed, ends = [0], [0]
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port), timeout=5)
        except OSError:  # it is starting again
            client.close()
            return

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(4096):
                    room = max(0, int(min(most - passed[0], len(data))))
                    sink.sendall(data[:room])
                    passed[0] += room
                    if room < len(data):
                        passed[0] = int(most) + 1
                        break
            ends[0] += 1

        for pair in ((client, server), (server, client)):
            threading.Thread(target=pump, args=pair, daemon=True).start()
        began = time.monotonic()
        while not ends[0] and passed[0] <= most and time.monotonic() - began < longest:
            time.sleep(TICK_S)
        if not ends[0] or passed[0] > most:  # neither side had ended it
            with self._lock:
                self.done += 1
                self._left -= 1
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
