"""Rows: one flat JSON file a cell, or one line a row in a .jsonl; sealed, closed schema.

In memory a row has every key of the schema, None where it is not written. A timing session is one
.jsonl, and so is what the repository keeps of a machine (`rows.jsonl`). A line holds in `file` the
path of a row, relative to the folder: what belongs to the row lies beside. A key that does not
apply, or is not known, is left out of the file.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, ValidationError

from workflow.bench.cell import Trunk
from workflow.bench.validation import Closed, Flag, input_error

Row = dict[str, Any]
LINES = "rows.jsonl"  # of a machine, in the repository
LONGEST_MESSAGE = 500  # characters of a complaint, which quotes the value

Count = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
Positive = Annotated[int, Strict(), Field(ge=1, lt=2**63)]
Amount = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
Maybe = Annotated[float, Strict(), Field(allow_inf_nan=False)] | None
Word = Annotated[str, Strict()]
FileName = Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _opt(description: str) -> Any:  # a key that a row may lack
    return Field(default=None, description=description)


class Record(Closed):
    """What a row holds: the schema by which rows are written, read, verified and tabled."""

    version: Literal[2] = Field(alias="schema", description="version of this schema")
    experiment: Word = Field(description="what was measured")
    model: Word = Field(description="the registry's name, or the user's for a model outside")
    model_path: Word | None = _opt("module and class of its mixer")
    model_hash: Word | None = _opt("hash of the file of that module")
    settings: dict[str, Any] = Field(description="every setting of the cell, as given")
    n_params: Count | None = _opt("parameters, position tables left out")
    n_tables: Count | None = _opt("parameters in position tables, which grow with N")
    position: Word | None = _opt("what the model knows of position")
    device: Word = Field(description="cpu, cuda or mps")
    device_name: Word | None = _opt("the device as its vendor names it")
    machine: Word = Field(description="the machine's label")
    host: Word | None = _opt("a hash that tells machines of one label apart")
    ram_bytes: Count | None = _opt("memory of the machine")
    dtype: Word = Field(description="float32, or bfloat16 by autocast")
    threads: Positive = Field(description="CPU threads of torch")
    length: Positive = Field(description="sequence length N in tokens")
    task: dict[str, Any] | None = _opt("what the model learned: name and parameters")
    axis: Word = Field(description="the setting along which rows of its kind lie")
    x: Positive = Field(description="the value along the axis")
    trunk: Trunk = Field(description="sizes of the trunk")
    batch: Positive = Field(description="sequences a step")
    symbols: Positive = Field(description="vocabulary size V")
    seed: Count = Field(description="the cell's seed")
    seed_data: Count | None = _opt("seed of the training data")
    seed_init: Count | None = _opt("seed of the initialisation")
    seed_order: Count | None = _opt("seed of the order of the data and of the noise")
    repeat: Count = Field(description="which repetition")
    tokens_budget: Count | None = _opt("training budget in tokens")
    tokens_used: Count | None = _opt("tokens trained on")
    steps: Count | None = _opt("training steps")
    status: Literal["ok", "oom", "unsupported", "diverged", "timeout", "error", "skipped"] = Field(
        description="how it ended"
    )
    reason: Word | None = _opt("why the status is not ok")
    warnings: list[Word] = Field(default=[], description="what a reader of the row must know")
    session: Word | None = _opt("the timing session: its rows were timed in turn, in one process")
    attempt: Count | None = _opt("how often it was tried before: disturbed, or cut by a deadline")
    others_share: Share | None = _opt("share of the cores' time that other programs took")
    rounds_ms: list[Amount] | None = _opt("training step in each round, wall milliseconds")
    rounds_processor_ms: list[Amount] | None = _opt("the same in processor milliseconds")
    inference_rounds_ms: list[Amount] | None = _opt("hard inference in each round, wall")
    inference_rounds_processor_ms: list[Amount] | None = _opt("the same in processor milliseconds")
    step_ms: Amount | None = _opt("training step, median of the rounds")
    step_ms_mean: Amount | None = _opt("training step, mean of the rounds")
    period: Positive | None = _opt("steps after which the work of training repeats")
    tokens_per_s: Amount | None = _opt("training throughput")
    inference_ms: Amount | None = _opt("hard inference without gradients, median of the rounds")
    inference_ms_mean: Amount | None = _opt("hard inference, mean of the rounds")
    inference_tokens_per_s: Amount | None = _opt("inference throughput")
    peak_memory_bytes: Positive | None = _opt("peak memory of a training step")
    memory_method: Word | None = _opt("how the peak was taken")
    saved_bytes: Count | None = _opt("tensors kept for the backward pass")
    flops_forward: Count | None = _opt("counted operations of a forward pass of the batch")
    flops_step: Count | None = _opt("counted operations of a training step of the batch")
    loss: Amount | None = _opt("cross-entropy in nats a symbol, evaluation")
    accuracy: Share | None = _opt("hard-argmax inference, fresh sequences")
    accuracy_train_mode: Share | None = _opt("the same in training mode")
    n_evaluated: Count | None = _opt("symbols scored")
    chance: Share | None = _opt("accuracy of guessing")
    accuracy_low: Share | None = _opt("Wilson 95% interval, low end")
    accuracy_high: Share | None = _opt("Wilson 95% interval, high end")
    accuracy_by_size: list[tuple[Amount, Share, Amount]] | None = _opt(
        "size, accuracy and symbols scored, at sizes that training never showed"
    )
    bits_per_byte: Amount | None = _opt("loss in bits a byte of text, evaluation")
    bits_per_byte_guessing: Amount | None = _opt("entropy of the training text's byte frequencies")
    data_hash: Word | None = _opt("hash of the text")
    correct_by_sequence: list[Count] | None = _opt("right symbols by sequence, hard inference")
    tokens_to_95: Count | None = _opt("training tokens until 95% accuracy; absent if never")
    seconds_to_95: Amount | None = _opt("training seconds until 95% accuracy; absent if never")
    train_seconds: Amount | None = _opt("seconds of training steps, evaluation left out")
    loss_curve: list[tuple[Maybe, Maybe]] | None = _opt("tokens trained on and training loss")
    evaluations: list[tuple[Maybe, Maybe, Maybe, Maybe]] | None = _opt(
        "tokens, loss, hard accuracy, training-mode accuracy, during training"
    )
    rates: list[tuple[Amount, Count, Count | None, Maybe]] | None = _opt(
        "learning rate, tokens, tokens until 95% accuracy, loss: what a search tried"
    )
    lr_chosen: Amount | None = _opt("the learning rate that a search chose")
    utilisation: Share | None = _opt("share of pointers that leave their own position")
    hops_mean: list[Maybe] | None = _opt("mean hop distance in tokens, lowest layer first")
    hops_max: list[Maybe] | None = _opt("longest hop in tokens, lowest layer first")
    files: dict[str, FileName] | None = _opt("files beside the row, by kind (weights, trace)")
    started: Word = Field(description="start of the measurement, UTC")
    ended: Word = Field(description="end of the measurement, UTC")
    command: Word = Field(description="the command that makes this row")
    git_commit: Word | None = _opt("commit of the working tree")
    git_dirty: Flag | None = _opt("whether the tree differed from the commit")
    source_hash: Word = Field(description="hash of the modules that make this number")
    shared_hash: Word | None = _opt("hash of what all models share: task, recipe, trunk, clock")
    files_sha256: dict[str, Sha256] | None = _opt("sha256 of each of `files`, by kind")
    versions: dict[str, Word] = Field(description="package versions")
    digest: Sha256 = Field(description="sha256 of the row without this key")


class RowError(ValueError):
    """A row that cannot be trusted: its file is unreadable, altered, or not of the schema."""

    def __init__(self, message: str, kind: str = "schema") -> None:
        super().__init__(message)
        self.kind = kind  # schema, unreadable or altered


@functools.cache
def keys() -> tuple[str, ...]:
    """Return every key of a row, in the schema's order."""
    return tuple(field.alias or name for name, field in Record.model_fields.items())


def complete(known: Row) -> Row:
    """Return `known` in the schema's order, None (or no warnings) for every key it lacks."""
    return dict.fromkeys(keys()) | {"schema": 2, "warnings": []} | known


def digest(row: Row) -> str:
    """Return the sha256 of a row without its digest and without keys that are None."""
    content = {key: value for key, value in row.items() if key != "digest" and value is not None}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def seal(row: Row, path: Path | str) -> Row:
    """Return the row, completed and checked, with its digest; an error names `path`."""
    sealed = complete(row)
    sealed["digest"] = digest(sealed)
    return _checked(sealed, path)


def as_json(row: Row, indent: int | None = None, **further: Any) -> str:
    """Return a row as JSON, without the keys that are None, behind `further` keys."""
    content = {**further, **{key: value for key, value in row.items() if value is not None}}
    return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)


def write_row(path: Path | str, row: Row) -> Row:
    """Seal a row, write it atomically, and return what was written."""
    sealed = seal(row, path)
    write_atomically(Path(path), as_json(sealed, indent=1) + "\n")
    return sealed


def read_row(path: Path | str) -> Row:
    """Return the row in a file; raise RowError where there is none that can be trusted."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RowError(f"{path}: not a readable row ({error})", "unreadable") from error
    return parse(text, path)


def parse(text: str, path: Path | str) -> Row:
    """Return the row that a file or a line holds; an error names `path`."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError(f"{path}: not a readable row ({error})", "unreadable") from error
    if isinstance(row, dict):
        row.pop("file", None)
    checked = _checked(row, path)
    if checked["digest"] != digest(checked):
        message = f"{path}: the digest does not fit; the row was changed after it was written"
        raise RowError(message, "altered")
    return checked


def _checked(row: Any, path: Path | str) -> Row:
    try:
        Record.model_validate(row)
    except ValidationError as error:
        message = str(input_error(error, str(path), "row key"))
        raise RowError(f"{path}: {message[:LONGEST_MESSAGE]}") from error
    return complete(row)


def read_rows(folder: Path, skipped: Counter[str] | None = None) -> list[tuple[Path, Row]]:
    """Return path and row of every row below a folder, and count in `skipped` what is none."""
    return [(path, parse(text, path)) for path, text in row_texts(row_files(folder, skipped))]


def row_texts(files: Iterable[Path]) -> list[tuple[Path, str]]:
    """Return path and text of every row in the files; one that cannot be read has no text."""
    texts = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            text = ""
        if path.suffix != ".jsonl":
            texts.append((path, text))
            continue
        for number, line in enumerate(text.splitlines(), 1):
            try:
                row_path = path.parent / str(json.loads(line)["file"])
            except (ValueError, KeyError, TypeError, RecursionError):
                row_path = path.with_name(f"{path.name}:{number}")
            texts.append((row_path, line))
    return texts


def attachment(path: Path, name: str) -> Path:
    """Return where a row's file lies: d512-s0.json has d512-s0.weights.safetensors."""
    return path.with_name(f"{path.stem}.{name}")


def row_files(folder: Path, skipped: Counter[str] | None = None) -> list[Path]:
    """Return the row files below a folder, linked folders included; count in `skipped` others, such
    as hidden folders, which hold unfinished work."""
    skipped = Counter() if skipped is None else skipped
    files, entered = [], {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        for name in list(folders):
            target = os.path.realpath(Path(place, name))
            skipped["hidden folder"] += name.startswith(".")
            if name.startswith(".") or target in entered:  # or a link to what is read already
                folders.remove(name)
            entered.add(target)
        for name in names:
            if not name.endswith((".json", ".jsonl")):
                continue
            if name.startswith("."):
                skipped["hidden file"] += 1
            elif name.endswith(".trace.json"):
                skipped["trace beside a row"] += 1
            else:
                files.append(Path(place, name))
    return sorted(files)


def skipped_words(skipped: Counter[str]) -> list[str]:
    """Return what `row_files` counted, such as "2 skipped (hidden file)"."""
    return [f"{count} skipped ({reason})" for reason, count in skipped.items() if count]


def file_hash(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a crash, sees the whole of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
