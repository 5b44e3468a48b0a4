"""Made-up rows for tables, figures and verdicts: plausible, every status, several machines."""

import itertools
import json
import math
import zlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from workflow.bench.experiments import EXPERIMENTS, TASKS
from workflow.bench.measure.statistics import wilson
from workflow.bench.rows import complete, write_row
from workflow.report import LEDGER, claims, estimates, frame, ledger, models, tables

SIZES = ("distance", "pairs", "items", "hops", "letters")
FIRST = datetime(2022, 1, 1, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>"
TEXNICAL = r"50%_{x}&$\alpha$~^#"
LAPTOP, SERVER = "2-core laptop", "Intel(R) Xeon(R) Processor @ 2.10GHz, 2 cores"
LENGTHS = (256, 512, 1024, 2048)
DISTANCES = (512, 1024, 1536, 2048)
MODELS = ("pointer", "pointer-dense", "transformer", "transformer-unfused", "longformer")
POSITION = dict.fromkeys(("pointer", "pointer-dense"), "learned offset table")
POSITION |= {"identity": "none", "uniform": "none"}


def row(**values):
    """A complete row, a task said flat; only rows of a session ran at the same time."""
    model, seed = values.get("model", "pointer"), values.get("seed", 0)
    known = {
        "experiment": "efficiency", "model": model, "n_params": 3_206_144, "n_tables": 12_288,
        "settings": {"mixer": {}, "session": "paper"}, "status": "ok", "digest": "0" * 64,
        "position": POSITION.get(model, "learned absolute"), "device": "cpu", "device_name": SERVER,
        "machine": SERVER, "ram_bytes": 8 * 2**30, "dtype": "float32", "threads": 2, "length": 2048,
        "batch": 2, "symbols": 20, "seed": 0, "seed_data": 3 * seed, "seed_init": 3 * seed + 1,
        "seed_order": 3 * seed + 2, "repeat": 0, "command": "python -m workflow.bench run",
        "git_commit": "0" * 40, "git_dirty": False, "source_hash": "0" * 64,
        "versions": {"torch": "2.13.0"}, **times_of(sorted(values.items(), key=str)),
    }  # fmt: skip
    made = {key: value for key, value in (known | values).items() if key != "digest"}
    sizes = {key: made.pop(key) for key in SIZES if key in made}
    task = made.pop("task", None) or getattr(EXPERIMENTS.get(made["experiment"]), "task", "")
    if task:
        known = {key: sizes[key] for key in sizes.keys() & TASKS[task].model_fields.keys()}
        made["task"] = {"name": task, **{k: size for k, size in known.items() if size is not None}}
        made["settings"] = {**made["settings"], "task": made["task"]}
    made["axis"] = TASKS[task].axis if task else "length"
    made["x"] = sizes.get(made["axis"]) or made["length"]
    made.setdefault("trunk", {"layers": 6, "width": 256, "heads": 8})
    return complete(made) | {"digest": "0" * 64}


def times_of(what):
    """Nine seconds in which this ran."""
    return times(10 * (zlib.crc32(repr(what).encode()) % 10**7), 9)


def times(begin, seconds):
    start = FIRST + timedelta(seconds=begin)
    return {"started": start.isoformat(), "ended": (start + timedelta(seconds=seconds)).isoformat()}


def failed(status, reason, **values):
    """A row that ended badly; of a session if it is of none other."""
    length = values.get("length", 2048)
    keys = {"status": status, "reason": reason, "batch": max(1, 4096 // length)}
    if values.get("experiment", "efficiency") == "efficiency":
        keys |= {"session": session_of(length, values.get("repeat", 0)), "attempt": 0}
    return row(**keys | values)


def timed(model, length, step_ms, **values):
    """A row of a session of 4096 tokens a step; inference takes a third of the time."""
    batch = max(1, 4096 // length)
    session = session_of(length, values.get("repeat", 0))
    place = [values.get(key) for key in ("machine", "device", "dtype", "session")]
    rate, inference = 1000 * batch * length / step_ms, step_ms / 3
    known = {
        "model": model, "length": length, "batch": batch, **times_of((session, place)),
        "session": session, "attempt": 0, "others_share": 0.01, "step_ms": step_ms,
        "step_ms_mean": step_ms, "rounds_ms": [0.99 * step_ms, 1.01 * step_ms],
        "tokens_per_s": rate, "inference_rounds_ms": [inference, inference],
        "inference_ms": inference, "inference_ms_mean": inference,
        "inference_tokens_per_s": 3 * rate,
    }  # fmt: skip
    return row(**known | values)


def session_of(length, repeat):
    return f"paper-n{length}-r{repeat}-00000000"


def twin(model, length, step_ms, **values):
    settings = {"mixer": {}, "session": "paper", "twin": True}
    return timed(model, length, step_ms, settings=settings, **values) | {"digest": "1" * 64}


def peak(model, length, size, **values):
    keys = {"experiment": "memory", "batch": max(1, 4096 // length)}
    keys |= {"peak_memory_bytes": size, "memory_method": "resident high-water mark"}
    return row(**{**keys, "model": model, "length": length, **values})


def copied(model, distance, accuracy, **values):
    """A copy row: 10,240 symbols scored, chance 1/20."""
    n, loss = 10_240, max(0.001, (1 - accuracy) / 0.95 * math.log(20))
    low, high = wilson(accuracy * n, n)
    solved = accuracy >= 0.95
    curve = [[4096 * (i + 1), loss + (3.1 - loss) * math.exp(-i / 4)] for i in range(25)]
    known = {
        "experiment": "copy", "model": model, "distance": distance, "length": distance + 128,
        "batch": 1, "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high,
        "n_evaluated": n, "chance": 0.05, "loss": loss, "loss_curve": curve, "steps": 24,
        "tokens_budget": 100_000, "tokens_used": 49_152 if solved else 98_304,
        "tokens_to_95": 40_960 if solved else None, "seconds_to_95": 21.5 if solved else None,
    }  # fmt: skip
    return row(**known | values)


def learned(task, model, accuracy, **values):
    """A row of a further task: 1000 symbols scored."""
    low, high = wilson(1000 * accuracy, 1000)
    known = {"experiment": task, "task": task, "model": model, "tokens_budget": 300_000}
    known |= {"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high}
    known |= {"n_evaluated": 1000, "chance": 1 / 128}
    known["tokens_used"] = 200_000 if accuracy > 0.95 else 300_000
    known["tokens_to_95"] = 150_000 if accuracy > 0.95 else None
    return row(**known | values)


def mqar(model, pairs, accuracy, **values):
    return learned("mqar", model, accuracy, **{"pairs": pairs, "length": 16 * pairs} | values)


def variants(mixer, until, experiment="ablation", distance=512):
    """A row for each seed of a variant, which reached 95% after so many tokens, or never."""
    rows = []
    for seed, tokens in enumerate(until):
        known = {"experiment": experiment, "seed": seed, "settings": {"mixer": mixer}}
        known |= {"tokens_to_95": tokens, "tokens_budget": 200_000}
        known["evaluations"] = [[10_000, 2.0, 0.1, 0.1], [20_000, 2.0, 0.1, 0.1]]
        rows.append(copied("pointer", distance, 1.0 if tokens else 0.05, **known))
    return rows


def ablated():
    return [
        *variants({}, (40_000, 50_000, 60_000)),
        *variants({"credit": "none"}, (None, None, None)),
        *variants({"credit": "candidates"}, (None, 40_000, None)),
        *variants({"k": 128}, (20_000, 20_000, 20_000)),
        *variants({"k": 16, "window": 8}, (90_000, 100_000, 110_000)),
    ]


def counted(model, length, power, **values):
    """A complexity row, linear (power 1) or quadratic (2) in N beyond the trunk's own work."""
    mixing = 40_000 * length * (length / 256 if power == 2 else 1)
    work = int(60_000_000 * length / 10 + 30 * mixing)
    known = {"experiment": "complexity", "model": model, "length": length, "batch": 1}
    known |= {"flops_forward": work, "flops_step": 3 * work}
    return row(**known | {"saved_bytes": int(60_000 * length + mixing)} | values)


def traced(distance, **values):
    """An interpretability row of 6 layers that names a trace; `store` writes it."""
    known = {
        "experiment": "interpretability", "distance": distance, "length": distance + 128,
        "batch": 1, "files": {"trace": "trace.json"}, "accuracy": 1.0, "n_evaluated": 10_240,
        "hops_mean": [3.5, 41.0, distance, 12.0, 55.5, 1.0],
        "hops_max": [63, 448, distance, 63, 640, 4],
    }  # fmt: skip
    return row(**known | values)


def trace(distance, heads=2):
    """Tokens and targets of 6 layers: the third looks `distance` back, the others near."""
    hops, n = (3, 41, distance, 12, 55, 1), distance + 128
    edges = [0, *(2**k for k in range((n - 1).bit_length() + 1))]
    back = [[hop + head for head in range(heads)] for hop in hops]
    targets = [[[max(0, i - far) for i in range(n)] for far in layer] for layer in back]
    counts = [[128 * (low <= hop < high) for low, high in pairwise(edges)] for hop in hops]
    tokens = [i * i % 20 for i in range(n)]
    return {
        "tokens": tokens, "targets": targets, "hop_edges_tokens": edges, "hop_counts": counts,
    }  # fmt: skip


KINDS = ("efficiency", "copy", "complexity", "interpretability", "ablation", "mqar")
FAILURES = [failed("error", None, experiment=kind, distance=512) for kind in KINDS]


def grid():
    """Everything at once: two machines, three repeats, three seeds, all statuses, hostile names."""
    lost = {"experiment": "interpretability", "distance": 512, "model": HOSTILE}
    rows = [*_efficiency(), *_copies(), *_complexity(), traced(512), traced(2048)]
    return [*rows, failed("error", "RuntimeError: no trace\nfor this model (mixer.py:9)", **lost)]


STEPS_MS = {
    "pointer": 450.0, "pointer-dense": 700.0, "transformer": 430.0, "transformer-unfused": 440.0,
    "longformer": 480.0, HOSTILE: 600.0, "identity": 300.0,
}  # fmt: skip
GROWTH = {"pointer-dense": 0.9, "transformer": 0.35, "transformer-unfused": 0.6}


def _efficiency():
    cells = itertools.product(((SERVER, 1.0), (LAPTOP, 1.7)), STEPS_MS.items(), LENGTHS)
    for (machine, factor), (model, step), length in cells:
        at = {"model": model, "length": length, "machine": machine}
        if model == "pointer-dense" and length == 2048:
            yield failed("oom", "DefaultCPUAllocator: can't allocate memory", **at)
            continue
        for repeat in range(3):
            growth = (length / 256) ** GROWTH.get(model, 0.0) * (1 + 0.03 * repeat)
            yield timed(step_ms=factor * step * growth, repeat=repeat, **at)
            if model == "pointer":
                yield twin(step_ms=1.01 * factor * step * growth, repeat=repeat, **at)
        yield peak(size=300 * 2**20 * (1 + (model in GROWTH)), **at)
    yield failed("timeout", "ran past 60 s", model="transformer", repeat=3)
    yield failed("unsupported", "no CUDA device here", device="cuda", machine=LAPTOP)


def _copies():
    for distance in DISTANCES:
        for seed in range(3):
            yield copied("pointer", distance, 0.9990 - 0.0002 * seed - distance / 10**6, seed=seed)
            yield copied("transformer", distance, 0.049 + 0.002 * seed, seed=seed)
            yield copied("longformer", distance, 0.051 - 0.001 * seed, seed=seed)
        yield copied("oracle-copy", distance, 1.0, loss_curve=None, tokens_used=0)
        yield copied("chance", distance, 0.0503, loss_curve=None, tokens_used=0)
    yield copied("pointer-dense", 512, 0.62)
    yield copied(TEXNICAL, 512, 0.33)
    copy = {"experiment": "copy", "model": "pointer-dense", "distance": 1024, "length": 1152}
    yield failed("diverged", "loss is NaN at step 17", **copy)
    copy |= {"model": HOSTILE, "distance": 512, "length": 640}
    yield failed("error", f"ValueError: {HOSTILE} | in `x.py`", **copy)


def _complexity():
    for model in MODELS:
        power = 1 if model in ("pointer", "longformer") else 2
        for length in (*LENGTHS, 4096, 8192):
            if model == "pointer-dense" and length == 8192:
                at = {"experiment": "complexity", "model": model, "length": length}
                yield failed("oom", "DefaultCPUAllocator: can't allocate memory", **at)
            else:
                yield counted(model, length, power)


def table_of(rows):
    """The frame that `collect` would make of these rows."""
    return frame.tidy({"path": f"{number}.json", **made} for number, made in enumerate(rows))


def make(name, rows):
    return tables.make(name, estimates.build(table_of(rows)))


def cell(table, column, **labels):
    """The text in `column` of the one line whose labels are these."""
    wide = table.wide
    for label, value in labels.items():
        if label in wide or label not in ("machine", "device", "dtype"):  # else in a note
            wide = wide[wide[label] == (models.title(value) if label == "model" else value)]
    assert len(wide) == 1, wide
    return str(wide[str(column)].iloc[0])


def judged(rows, numbers=None, tier=""):
    """The lines of the suite's ledger for a frame of rows, and their estimates."""
    numbers = estimates.build(rows) if numbers is None else numbers
    return claims.judge(numbers, ledger.read(LEDGER), tier, claims.unsound_rows(rows))


def store(rows, folder):
    """Writes row files as the suite does, and their manifest; returns the manifest."""
    paths = []
    for number, made in enumerate(rows):
        paths.append(folder / f"{number}.json")
        write_row(paths[-1], made)
        if made["files"]:
            beside = paths[-1].with_suffix(".trace.json")
            beside.write_text(json.dumps(trace(made["x"])), encoding="utf-8")
    manifest = folder / "manifest.txt"
    manifest.write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    return manifest
