# SPDX-License-Identifier: Apache-2.0
"""The standard library's multiprocessing.queues, run on procession's contexts."""

from __future__ import annotations

from multiprocessing import queues as _standard
from multiprocessing.queues import *  # noqa: F403

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = _standard.__all__


def __getattr__(name: str) -> Any:
    return getattr(_standard, name)
