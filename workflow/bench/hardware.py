"""What this machine is: devices present, their names, memory, its label. Loads no torch."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess

import psutil

from workflow.bench.settings import affinity


@functools.cache
def gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs that this process may see; empty where there is no driver."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    if hidden or shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip())


def devices() -> list[str]:
    """The devices of this machine, cpu first."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return ["cpu", *(["cuda"] if gpus() else []), *(["mps"] if apple else [])]


@functools.cache
def cpu_name() -> str:
    """The CPU as its vendor names it, or its architecture where py-cpuinfo is not installed."""
    try:
        import cpuinfo
    except ImportError:
        return platform.processor() or platform.machine()
    name: str = cpuinfo.get_cpu_info().get("brand_raw") or platform.processor() or platform.machine()
    return name


def device_name(device: str) -> str:
    """The name of what a row ran on."""
    if device == "cuda":
        return gpus()[0] if gpus() else "no CUDA device"
    return cpu_name()


def machine_label(device: str, own: str = "") -> str:
    """The user's label, or the device's name with the number of cores (CPU) that the process may use.

    On a cluster the node's name comes first, also before the user's label: its nodes are different machines.
    """
    label = own or (device_name(device) if device == "cuda" else f"{cpu_name()}, {affinity()} cores")
    return f"{node}: {label}" if (node := os.environ.get("SLURMD_NODENAME")) else label


def ram_bytes() -> int:
    """The machine's memory."""
    total: int = psutil.virtual_memory().total
    return total
