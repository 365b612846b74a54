"""A way to a server that is cut again and again, as a laptop's to a cluster."""

import asyncio
import threading
from contextlib import suppress


class Tunnel:
    """Passes connections on to a port of this machine, and cuts each after so many seconds.

    By turns both ends are told, and neither is: the connection stays, and nothing passes.

    Args:
        lost: the beginning of requests that reach the server, and whose answers are lost.

    Attributes:
        port: where it listens, on loopback, until it is closed.
        cuts: connections that were cut before one of their ends closed them.
    """

    def __init__(self, to_port: int, seconds: float, lost: bytes | None = None) -> None:
        self.port = self.cuts = 0
        self._to_port, self._seconds, self._lost = to_port, seconds, lost
        listening = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=[self._listen(listening)])
        self._thread.start()
        listening.wait(10)

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closed.set)
            self._thread.join(10)

    async def _listen(self, listening: threading.Event) -> None:
        self._loop, self._closed = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        await self._closed.wait()
        server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to_port)
        try:
            async with asyncio.timeout(self._seconds):
                back.write(asked := await reader.read(65536))
                sending = asyncio.create_task(_copy(reader, back))
                if self._lost and asked.startswith(self._lost):
                    await there.read(1)  # answered: the server had all of the request
                    sending.cancel()
                    return
                await asyncio.gather(sending, _copy(there, writer))
        except TimeoutError:
            self.cuts += 1
            if self.cuts % 2 == 0:
                await self._closed.wait()
        except asyncio.CancelledError:
            pass  # closed: nothing that asyncio should report
        finally:
            for each in (writer, back):
                each.transport.abort()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while part := await source.read(65536):
            target.write(part)
            await target.drain()
        target.close()
