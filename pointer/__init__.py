"""Pointer (arXiv 2508.02631): the paper's model, its slow oracles and the tracing of its chains."""

from __future__ import annotations

from typing import Any

__all__ = ["Trace", "trace"]


def __getattr__(name: str) -> Any:
    """Load torch only for those who trace: the command line lists models without it."""
    if name in __all__:
        from pointer import tracing

        return getattr(tracing, name)
    raise AttributeError(name)
