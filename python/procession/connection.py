# SPDX-License-Identifier: Apache-2.0
"""Connections as multiprocessing.connection has them, whose input and output are the engine's.

What travels has the standard's form, so that a connection of the standard's may be at the other
end. Large messages travel beside it, in the session's memory, to whom is known to be one of ours.
Listener and Client are the standard's own.
"""

from __future__ import annotations

import io
import sys
from multiprocessing import connection as _standard
from multiprocessing.connection import Client, Listener, wait

from . import _engine, _install, out_of_band, reduction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Buffer

__all__ = ["Client", "Listener", "Pipe", "wait"]

_READINESS = "procession.readiness"
_EAGERLY = 64  # messages that arecv() gives without a look at what else its loop has to do


class Connection(_engine.ConnectionBase, _standard.Connection):
    """One end of a pipe."""

    _in_a_row = 0

    async def arecv(self) -> Any:
        """Receive an object, from within asyncio.

        A cancelled one takes no message with it: what it has read of one stays for the next to
        receive, by whichever method.
        """
        while True:
            self._in_a_row += 1
            if self._in_a_row >= _EAGERLY:
                from asyncio import sleep

                self._in_a_row = 0
                await sleep(0)
            got = self._try_recv()
            if got is not None:
                return got[0]
            from . import readiness

            self._in_a_row = 0
            await readiness.readable(self.fileno())

    async def asend(self, obj: Any) -> None:
        """Send a (picklable) object, from within asyncio.

        A cancelled one sends all of its message or nothing: once a part has gone, the rest follows
        from within the loop, or ahead of the next message.
        """
        message = self._pack(obj)
        while not self._try_send(message):
            from . import readiness

            await readiness.writable(self.fileno())
        if not self._try_finish():
            from . import readiness

            await readiness.see_through(self._finish())

    async def _finish(self) -> None:
        from . import readiness

        while not self.closed and not self._try_finish():
            await readiness.writable(self.fileno())

    def close(self) -> None:
        """Close the connection; tasks that wait for it get an OSError."""
        readiness = sys.modules.get(_READINESS)
        if readiness is not None and self._handle is not None:
            readiness.forget(self._handle)
        super().close()

    # What others may call of the standard's inner methods.

    def _send_bytes(self, buf: Buffer) -> None:
        self.send_bytes(buf)

    def _recv_bytes(self, maxsize: int | None = None) -> io.BytesIO:
        return io.BytesIO(self.recv_bytes(maxsize))

    def _poll(self, timeout: float | None) -> bool:
        return self.poll(timeout)


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:  # noqa: N802
    """Return two connected ends; with `duplex` false, one that receives and one that sends."""
    fds = _engine.pipe(duplex)
    first, second = Connection(fds[0], True, duplex), Connection(fds[1], duplex, True)
    first._share_blocks(second)
    return first, second


def _dumps(obj: Any) -> memoryview:
    try:
        return reduction.ForkingPickler.dumps(obj)
    except Exception as error:
        raise reduction.explained(obj, error, what="the message", root="obj") from error


# Called by the pickle that stands in the stream for a large message; the engine itself reads it.
_redeem = _engine.redeem


def _dumps_apart(obj: Any) -> tuple[bytes, list[Any]]:
    try:
        return out_of_band.dumps(obj)
    except Exception as error:
        raise reduction.explained(obj, error, what="the message", root="obj") from error


def rebuild_connection(
    df: Any, readable: bool, writable: bool, blocks: tuple[Any, int, bool] | None = None
) -> Connection:
    """Make a connection of what `reduce_connection` gave, in the process that received it."""
    connection = Connection(df.detach(), readable, writable)
    if blocks is not None:
        connection._find_blocks(*blocks)
    return connection


def reduce_connection(conn: Connection) -> tuple[Any, ...]:
    """Give what a connection is rebuilt from, to the pickler."""
    if conn._has_begun:
        raise ValueError("a part of a message is on its way through this connection")
    df: Any = reduction.DupFd(conn.fileno())
    if conn._blocks is None:
        return rebuild_connection, (df, conn.readable, conn.writable)
    blocks, end = conn._blocks
    is_held = reduction.try_hold_for_start(blocks)
    if not is_held:
        blocks.keep_until_found()  # a descriptor on its way is received once
    return rebuild_connection, (df, conn.readable, conn.writable, (blocks.name, end, not is_held))


reduction.register(Connection, reduce_connection)


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)


_install.is_there(__name__)
