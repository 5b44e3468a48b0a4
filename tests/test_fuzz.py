"""Bad input, by the hundred: config, rows and command line never end in a traceback.

Every refusal names the key, the value and what is accepted. Whatever is accepted gives cells whose
command makes the same cell again, in a path that stays under results/runs. About 500 cases; twenty
times as many under --full."""

import copy
import itertools
import json
import math
import re
from pathlib import PurePosixPath

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import copied

from pointer.errors import InputError
from workflow.bench import cli, config
from workflow.bench.cell import OPTIONS, option
from workflow.bench.rows import RowError, read_row, write_row

DEEP = 20  # deep runs (--full) take this many times the cases

# fmt: off
TEXTS = (
    "", " ", ".", "..", "../../etc/passwd", "/etc/passwd", "a/b", "~", "-", "--help",
    "x; touch pwned", "$(touch pwned)", "`touch pwned`", "a' b\" c", "x\ny", "x\x00y", "\ud800",
    "\u202epointer", "роinter", "poınter", "𝟙", "١", "null", "true", "nan", "NaN", "Infinity",
    "1e999", "0x10", "1_000", "9" * 30, "9" * 5000, "{x}", "{{x}}", "%s%n", "é" * 300,
    "!!python/object:os.system", "<script>", "pointer\n", "None", "[]", "__class__", "*",
    "x=os:system", "x=../../x:Y", "x=no.such.module:Z", "=", "a=b=c", "x=:",
)
NUMBERS = (
    0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**40, 0.0, -0.0, 0.5, 1.0, 2.0, 1e-320, 1e308,
    math.nan, math.inf, -math.inf,
)
OTHERS = (
    None, True, False, [], {}, [[]], {"a": {"b": [1]}}, [None], {"": 0}, [1, 1], ["x", 1],
    {"__proto__": 1},
)
# fmt: on

known = st.sampled_from(TEXTS) | st.sampled_from(NUMBERS) | st.sampled_from(OTHERS)
drawn = st.text(max_size=12) | st.integers() | st.floats()
short = st.integers(-2, 5) | st.text(max_size=3) | st.floats()
values = known | drawn | st.lists(short, max_size=3)


def places(content, prefix=()):
    if prefix:
        yield prefix
    if isinstance(content, list):
        content = dict(enumerate(content))
    if isinstance(content, dict):
        for key, entry in content.items():
            yield from places(entry, (*prefix, key))


def changed(content, place, value):
    result = copy.deepcopy(content)
    inner = result
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return result


@pytest.fixture
def fuzz(request):
    """Check a property on a number of cases, twenty times as many under --full."""
    times = DEEP if request.config.getoption("--full") else 1

    def check_all(cases, strategy, check):
        always = {"derandomize": True, "database": None, "deadline": None}
        always["suppress_health_check"] = list(HealthCheck)
        settings(max_examples=cases * times, **always)(given(strategy)(check))()

    return check_all


TIER = yaml.safe_load("""{
tier: mine, models: [pointer, longformer], controls: [chance], devices: [cpu], dtypes: [float32],
seeds: [0, 1], repeats: 2, lengths: [64], distances: [8, 16], threads: 1, tokens: 9000, lr: 0.001,
symbols: 20, batch: 1, stop_accuracy: 0.9, timeout_s: 60, machine: my box, evaluate_symbols: 100,
mixer: {pointer: {local: 64}}, restrict: {linear: {repeats: 1, seeds: [0]}},
experiments: {
  copy: {tokens: 9000, restrict: {control: {distances: [8]}}}, complexity: {lengths: [32]},
  efficiency: {batch: 2}, interpretability: {models: [pointer]}
}}""")
NO_FILES = dict.fromkeys(("out", "keep", "optional"))
RUN = ("run", "--experiment", "copy", "--model", "chance")
MOST_CELLS = 5000  # of a fuzzed tier: more is right, and slow


def refused(error):
    """The message is a line with what a user needs."""
    message = str(error)
    assert "\n" not in message
    assert len(message) < 4000
    assert re.search(r"accepted: |Known: |cannot be read|Change it there", message), message
    assert re.search(r"Change it in|Change it there|cannot be read", message), message


def size(tier):
    """At most how many cells a tier has, for each of its experiments."""
    sizes = []
    for block in tier["experiments"].values():
        asked = {**tier, **(block or {})}
        axes = [len(asked.get(axis, "x")) for axis in ("seeds", "dtypes", "lengths", "distances")]
        sizes.append(40 * asked.get("repeats", 1) * math.prod(max(1, axis) for axis in axes))
    return max(sizes, default=0)


def plan_it(tier):
    chosen, tiers = config.tiers(tier)
    if size(tiers[chosen]) > MOST_CELLS:
        return
    for cell in config.cells(tiers[chosen]):
        parts = PurePosixPath(cell.path).parts
        assert (parts[:2], len(parts)) == (("results", "runs"), 5), cell.path
        assert ".." not in parts, cell.path
        assert cell.path.isprintable(), cell.path
        asked = cli.cell_of(cli.run.make_context("run", cell.argv()).params | NO_FILES)
        assert asked == cell.model_copy(update={"twin": False})
    json.dumps(tiers[chosen], allow_nan=False).encode()


def test_any_value_at_any_key_of_a_config(fuzz):
    def check(case):
        place, value = case
        tier = changed(TIER, place, value)
        try:
            plan_it(tier)
        except InputError as error:
            refused(error)

    for key, text in itertools.product(("lengths", "threads", "machine", "tier"), TEXTS):
        check(((key,), text))
    fuzz(150, st.tuples(st.sampled_from(list(places(TIER))), values), check)


def test_any_damage_to_a_row(tmp_path, fuzz):
    path = tmp_path / "row.json"
    sound = write_row(path, copied("pointer", 512, 0.9, files={"trace": "trace.json"}))
    whole = path.read_bytes()
    damage = st.tuples(st.integers(0, len(whole) - 1), st.binary(max_size=3))
    cut = damage.map(lambda case: whole[: case[0]] + case[1] + whole[case[0] + 1 :])
    short = st.integers(0, len(whole) - 2).map(lambda end: whole[:end])

    def check(content):
        path.write_bytes(content)
        try:
            assert read_row(path) == sound  # a changed blank between two keys
        except RowError as error:
            named = str(path) in str(error)
            assert named, str(error)  # noqa: PT017

    nested = [b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}", b"null", b"[]", b"NaN"]
    nested += [b'"\\ud800"', b"\xff\xfe"]
    contents = st.one_of(cut, short, st.sampled_from(nested), st.binary(max_size=20))
    fuzz(60, contents, check)


def test_any_command_line(tmp_path, monkeypatch, capsys, fuzz, measured):
    monkeypatch.chdir(tmp_path)
    # argv holds neither of these.
    texts = st.sampled_from([text for text in TEXTS if not {"\x00", "\ud800"} & {*text}])
    text = texts | st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8)
    options = [option(name) for name in OPTIONS] + ["--out", "--nonsense", "-x"]
    settings = st.tuples(st.just("--set"), text.map(lambda value: f"k={value}"))
    pairs = st.lists(st.tuples(st.sampled_from(options), text) | settings, min_size=1, max_size=3)
    run = pairs.map(lambda pairs: [*RUN, *itertools.chain.from_iterable(pairs)])
    files = st.sampled_from(["--config", "--configfile"])
    tier = st.tuples(st.sampled_from(["plan", "estimate"]), files, text).map(list)
    asked = text | st.sampled_from(["--row", "--position", "--head"])
    traced = st.lists(asked, max_size=4).map(lambda rest: ["trace", *rest])
    other = st.lists(text, max_size=3)

    def check(argv):
        try:
            code = cli.main(argv)
        except SystemExit as ended:  # --help
            code = ended.code if {"--help", "-h"} & set(argv) else None
        out, err = capsys.readouterr()
        assert code in (0, 1, 2), (argv, code)
        assert "Traceback" not in err
        assert len(err.splitlines()) <= 1, err
        if code == 2:
            helpful = "accepted: |Known: |See `pointer-bench|cannot be read|Change it there"
            assert re.search(helpful, err), err
        if code == 0 and argv[0] == "run" and not {"--help", "-h"} & set(argv):
            assert json.loads(out)["command"].startswith("pointer-bench run")
        assert not (tmp_path / "pwned").exists()

    fuzz(150, st.one_of(run, tier, traced, other), check)


@pytest.mark.parametrize(
    "name", ["../../x.json", "/etc/passwd", "a/b.json", "..", "x", "trace.json\n", ".json", ""]
)
def test_a_file_of_a_row_cannot_lie_elsewhere(tmp_path, name):
    with pytest.raises(RowError, match="files"):
        write_row(tmp_path / "row.json", copied("pointer", 512, 0.9) | {"files": {"trace": name}})
