# SPDX-License-Identifier: Apache-2.0
"""Objects as a pickle and, apart from it, the large buffers in them, which travel beside it."""

from __future__ import annotations

import io
import pickle

from . import reduction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from typing_extensions import Buffer

LARGE = 64 << 10  # bytes from which a buffer goes through shared memory, measured

_PROTOCOL = pickle.HIGHEST_PROTOCOL


class LargeBytes:
    """Large bytes or a bytearray on their way: pickle itself never takes them out of band.

    Of a bare PickleBuffer, too, which comes out as it does in band: as one of these.
    """

    def __init__(self, value: bytes | bytearray | pickle.PickleBuffer) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as what they are made of."""
        if isinstance(self.value, pickle.PickleBuffer):
            kind: type = bytes if memoryview(self.value).readonly else bytearray
            return kind, (self.value,)
        return type(self.value), (pickle.PickleBuffer(self.value),)


def is_large(value: object) -> bool:
    """Whether it should travel as `LargeBytes`."""
    if isinstance(value, pickle.PickleBuffer):
        return memoryview(value).nbytes >= LARGE
    return type(value) in (bytes, bytearray) and len(value) >= LARGE  # type: ignore[arg-type]


def wrapped(value: Any) -> Any:
    """As it should be given to the pickler."""
    return LargeBytes(value) if is_large(value) else value


def dumps(value: object) -> tuple[bytes, list[Any]]:
    """Pickle by the rule; large buffers apart."""
    buffers: list[Any] = []

    def keep_in(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < LARGE:
            return True
        buffers.append(raw)
        return False

    sink = io.BytesIO()
    pickler = reduction.ForkingPickler(sink, _PROTOCOL, True, keep_in)
    pickler.dump(wrapped(value))
    return sink.getvalue(), buffers


def in_band(data: Buffer, buffers: Sequence[Buffer]) -> bytes:
    """Give the pickle that has the buffers in it, as if there were no way beside."""
    import pickletools

    rest = iter(buffers)
    data = bytes(data)
    parts: list[bytes | memoryview] = []
    steps = [(step.name, at) for step, _, at in pickletools.genops(data)]
    ends = [at for _, at in steps[1:]] + [len(data)]
    for index, ((name, at), end) in enumerate(zip(steps, ends, strict=True)):
        if name == "NEXT_BUFFER":
            buffer = memoryview(next(rest)).cast("B")
            is_constant = steps[index + 1][0] == "READONLY_BUFFER"
            opcode = pickle.BINBYTES8 if is_constant else pickle.BYTEARRAY8
            parts += [opcode, buffer.nbytes.to_bytes(8, "little"), buffer]
        elif name not in ("READONLY_BUFFER", "FRAME"):  # a frame would be longer now
            parts.append(data[at:end])
    return b"".join(parts)
