"""The name that a cell's settings had before `workflow.bench.cell`; goes once no module imports it."""

from workflow.bench.cell import DEVICES, DTYPES, affinity, from_dict, threads
from workflow.bench.cell import Cell as Settings

__all__ = ["DEVICES", "DTYPES", "Settings", "affinity", "from_dict", "threads"]
