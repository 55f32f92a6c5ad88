"""A TCP proxy on loopback that is slow, breaks off, resets or falls silent, as often as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Literal

Side = Literal["request", "answer"]
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST


@dataclass
class Fault:
    """Once ``after`` more bytes of the ``side`` have passed the connection ends so; ``times`` in all."""

    side: Side
    end: Literal["close", "reset", "silence"]
    after: int = 0
    times: float = 1


class FaultyProxy:
    """Forwards to ``host:port``. ``fault`` strikes while it is set; ``struck`` and ``opened`` count."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self.fault: Fault | None = None
        self.pace: tuple[int, float] | None = None  # bytes at a time, and seconds between
        self.struck = self.opened = 0
        self._loop = asyncio.new_event_loop()
        listening = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self._thread.start()
        listening.wait()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, listening: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._port = server.sockets[0].getsockname()[1]
        listening.set()
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        ends = (writer, up_writer)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, up_writer, "request", ends),
                                 self._pump(up_reader, writer, "answer", ends))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, side: Side,
                    ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                if (fault := self.fault) and fault.side == side and fault.times > 0:
                    if len(data) <= fault.after:
                        fault.after -= len(data)
                    else:
                        await self._strike(fault, data, sink, ends)
                        return
                for start in range(0, len(data), size := self.pace[0] if self.pace else len(data)):
                    sink.write(data[start : start + size])
                    await sink.drain()
                    await asyncio.sleep(self.pace[1] if self.pace else 0)
        sink.close()

    async def _strike(self, fault: Fault, data: bytes, sink: asyncio.StreamWriter,
                      ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        fault.times -= 1
        self.struck += 1
        sink.write(data[: fault.after])
        if fault.end == "silence":
            await asyncio.sleep(3600)
        await sink.drain()
        for end in ends:
            if fault.end == "reset":
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.transport.abort()
            else:
                end.close()
