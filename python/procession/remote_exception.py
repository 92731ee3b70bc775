# SPDX-License-Identifier: Apache-2.0
"""Exceptions that cross from one process to another, with their tracebacks as text."""

from __future__ import annotations

import pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RemoteException(Exception):
    """Stands for an exception of another process that could not be rebuilt in this one."""

    def __init__(self, type_name: str, message: str) -> None:
        """`type_name` with its module, `message` as its str() was."""
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        """As the last line of a traceback."""
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


def dump_exception(error: BaseException) -> bytes:
    """Never raises: what can't be said about the exception is left out."""
    notes = _texts(getattr(error, "__notes__", None))
    record = (_pickled(error), _type_name(error), _message(error), _traceback(error), notes)
    return pickle.dumps(record, pickle.HIGHEST_PROTOCOL)


def load_exception(data: bytes, traceback_type: type[Exception] | None = None) -> BaseException:
    """Never raises, but for bytes that `dump_exception` didn't make.

    The cause is a `traceback_type` of the remote traceback, by default multiprocessing's.
    """
    payload, type_name, message, text, notes = pickle.loads(data)
    error: Any = None
    if payload is not None:
        try:
            error = pickle.loads(payload)
        except Exception:
            error = None
    if not isinstance(error, BaseException):
        error = RemoteException(type_name, message)
    try:
        if notes and not hasattr(error, "__notes__"):
            error.__notes__ = list(notes)
        error.__cause__ = _remote_traceback(text, traceback_type)
    except Exception:
        pass  # An exception class may forbid attributes; the exception itself is worth more.
    assert isinstance(error, BaseException)
    return error


def in_one_line(error: BaseException) -> str:
    """Type, message and notes of an exception, for a line of a log. Never raises."""
    notes = _texts(getattr(error, "__notes__", None))
    text = f"{_type_name(error)}: {_message(error)}" if _message(error) else _type_name(error)
    return " ".join((text + "".join(f" ({note})" for note in notes)).split())


def _remote_traceback(text: str, kind: type[Exception] | None) -> BaseException:
    if kind is None:
        # The standard's own type, as libraries look for it.
        from multiprocessing import pool

        kind = pool.RemoteTraceback  # type: ignore[attr-defined]
    return kind(f'\n"""\n{text}"""')


def _pickled(error: BaseException) -> bytes | None:
    """The pickled exception if it survives the way there and back."""
    from .reduction import ForkingPickler

    try:
        payload = bytes(ForkingPickler.dumps(error, pickle.HIGHEST_PROTOCOL))
        again = pickle.loads(payload)
    except Exception:
        return None
    return payload if type(again) is type(error) else None


def _type_name(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<its str() raises>"


def _traceback(error: BaseException) -> str:
    try:
        import traceback  # takes as long as the rest of a spawned worker's imports

        return "".join(traceback.format_exception(error))
    except Exception:  # imports may be what fails
        return f"{_frames(error)}{_type_name(error)}: {_message(error)}\n"


def _frames(error: BaseException) -> str:
    lines, entry = ["Traceback (most recent call last):\n"], error.__traceback__
    while entry is not None:
        code = entry.tb_frame.f_code
        lines.append(f'  File "{code.co_filename}", line {entry.tb_lineno}, in {code.co_name}\n')
        entry = entry.tb_next
    return "".join(lines) if len(lines) > 1 else ""


def _texts(notes: object) -> tuple[str, ...]:
    if not isinstance(notes, (list, tuple)):
        return ()
    return tuple(note for note in notes if isinstance(note, str))
