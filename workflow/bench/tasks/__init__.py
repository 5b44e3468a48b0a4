"""The tasks that models learn, one line each: name -> its class. A new task is one file here and
one line. Importing this package loads no task; `info` does, and no task loads torch."""

from __future__ import annotations

import functools
import pkgutil
from typing import Any

from pointer.errors import InputError
from workflow.bench.tasks.base import Task

TASKS = {
    "copy": "workflow.bench.tasks.copy:Copy",
    "mqar": "workflow.bench.tasks.mqar:Mqar",
    "selective-copy": "workflow.bench.tasks.selective_copy:SelectiveCopy",
    "induction": "workflow.bench.tasks.induction:Induction",
    "khop": "workflow.bench.tasks.khop:Khop",
    "string-copy": "workflow.bench.tasks.string_copy:StringCopy",
    "listops": "workflow.bench.tasks.listops:ListOps",
    "bytes": "workflow.bench.tasks.text:Bytes",
}


@functools.cache
def info(name: str) -> type[Task]:
    """Return a task's class; raise InputError with the nearest name for an unknown one."""
    if name not in TASKS:
        raise InputError.unknown("task", name, TASKS, "`--task`, or `tasks` in the config")
    kind: type[Task] = pkgutil.resolve_name(TASKS[name])
    return kind


@functools.cache
def parameters() -> dict[str, Any]:
    """Return every parameter of every task, by name: its pydantic field."""
    fields = {key: field for name in TASKS for key, field in info(name).model_fields.items()}
    del fields["name"]
    return fields
