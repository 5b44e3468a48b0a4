"""The Pointer model (arXiv 2508.02631), its slow oracles, and the tracing of its chains."""

from __future__ import annotations

from typing import Any

__all__ = ["Trace", "trace"]


def __getattr__(name: str) -> Any:
    """Import torch on first use: the command line lists models without it."""
    if name in __all__:
        from pointer import tracing

        return getattr(tracing, name)
    raise AttributeError(name)
