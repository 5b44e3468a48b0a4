"""`pointer-bench compare` and `why`: numbers of two machines, and the rows behind a number."""

import itertools
import json

import pytest
import synthetic
from synthetic import LAPTOP, SERVER, copied, counted, store, timed

from workflow.bench import cli
from workflow.report import estimates, frame
from workflow.report.__main__ import main as report


def machine(name, factor=1.0, ratio=2.0, repeats=3, **values):
    """Timings on a machine `factor` times as slow, where the pointer is `ratio` times as fast."""
    rows = []
    for repeat in range(repeats):
        noise = 1 + 0.01 * repeat
        at = {"length": 512, "repeat": repeat, "machine": name, **values}
        rows.append(timed("transformer", step_ms=100 * factor, **at))
        rows.append(timed("pointer", step_ms=100 * factor * noise / ratio, **at))
    return rows


@pytest.fixture
def folders(tmp_path):
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def compared(capsys, folders):
    """Return a function: two lists of rows -> exit code and JSON of comparing them."""

    def compare(a, b):
        for folder, rows in zip(folders, (a, b), strict=True):
            store(rows, folder)
        code = cli.main(["compare", *map(str, folders), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return compare


def agreements(found):
    names = ("quantity", "phase", "experiment", "against", "model", "x")
    return {", ".join(str(c[n]) for n in names if c[n]): c["agreement"] for c in found["cells"]}


def test_a_slower_machine_with_the_same_ratios_agrees(compared):
    code, found = compared(machine(SERVER), machine(LAPTOP, factor=7.0))
    assert code == 0
    assert agreements(found) == {
        "speedup, training, efficiency, transformer, pointer, 512": "agree",
        "speedup, inference, efficiency, transformer, pointer, 512": "agree",
    }
    assert found["cells"][0]["low"] < 2 / 1.01 < found["cells"][0]["high"]
    assert found["cells"][0]["rows"].count(".json") == 6
    assert (found["a"], found["b"]) == (SERVER, LAPTOP)


@pytest.mark.parametrize(("repeats", "code", "word"), [(3, 1, "differ"), (1, 0, "undecided")])
def test_other_ratios_differ_but_one_repeat_decides_nothing(compared, repeats, code, word):
    ended, found = compared(machine(SERVER), machine(LAPTOP, ratio=3.0, repeats=repeats))
    assert (ended, list(agreements(found).values())) == (code, [word] * 2)
    assert found["counts"][word] == 2
    assert (found["cells"][0]["low_b"] is None) == (repeats == 1)


def test_accuracies_and_counted_work(compared):
    a = [copied("pointer", 512, 0.99, seed=seed) for seed in range(3)]
    a += [copied("longformer", 512, 0.05)]
    a += [counted("pointer", 512, 1), counted("transformer", 512, 2)]
    b = [copied("pointer", 512, 0.991, seed=seed) for seed in range(3)]
    b += [copied("longformer", 512, 0.2)]
    b += [counted("pointer", 512, 1), counted("transformer", 512, 2, flops_step=1)]
    code, found = compared(a, [row | {"machine": LAPTOP} for row in b])
    assert code == 1
    expected = {
        "accuracy, copy, pointer, 512": "agree",
        "accuracy, copy, longformer, 512": "differ",
        "flops_step, complexity, pointer, 512": "agree",
        "flops_step, complexity, transformer, 512": "differ",
        "saved_bytes_per_sequence, complexity, transformer, 512": "agree",
    }
    assert expected.items() <= agreements(found).items()


def test_devices_are_compared_where_none_is_shared(compared):
    cuda = machine("H100", factor=0.01, device="cuda")
    code, found = compared(machine(SERVER), cuda)
    assert (code, found["counts"]["agree"]) == (0, 2)
    assert {(cell["device"], cell["device_b"]) for cell in found["cells"]} == {("cpu", "cuda")}
    code, found = compared(machine(SERVER), cuda + machine(LAPTOP, ratio=3.0))
    assert (code, found["counts"]["differ"], found["alone"]) == (1, 2, [0, 2])


def test_what_cannot_be_compared_is_bad_input(capsys, folders, tmp_path):
    store(machine(SERVER), folders[0])
    store([copied("pointer", 512, 0.9)], folders[1])
    assert cli.main(["compare", *map(str, folders)]) == 2
    assert "share at least one number" in capsys.readouterr().err
    assert cli.main(["compare", str(folders[0]), str(tmp_path / "nowhere")]) == 2
    row = next(folders[1].glob("[0-9]*.json"))
    row.write_text(row.read_text().replace("0.9", "0.8"))
    assert cli.main(["compare", *map(str, folders)]) == 2
    assert "pointer-bench verify" in capsys.readouterr().err


def test_sizes_of_k_hop_are_numbers_of_their_own(compared):
    """Four sizes pooled would have one mean on both sides."""
    known = {"experiment": "khop", "task": "khop", "length": 256}
    right = (0.9, 0.7, 0.5, 0.3)
    a = [copied("pointer", 0, share, hops=k, **known) for k, share in enumerate(right, start=1)]
    b = [copied("pointer", 0, share, hops=4 - k, **known) for k, share in enumerate(right)]
    code, found = compared(a, b)
    assert (code, found["counts"]["differ"]) == (1, 4)
    assert [cell["x"] for cell in found["cells"]] == [1, 2, 3, 4]


def test_another_budget_or_text_is_not_compared_and_the_reason_is_given(capsys, folders, compared):
    shared = [copied("pointer", 256, 0.99)]
    a = [copied("pointer", 512, 0.99, seed=seed) for seed in range(3)]
    b = [copied("pointer", 512, 0.2, seed=seed, tokens_budget=10**6) for seed in range(3)]
    code, found = compared(shared + a, shared + b)
    assert (code, found["counts"]["differ"], found["alone"]) == (0, 0, [1, 1])
    assert found["not_compared"] == {"tokens 100000 and 1000000": 1}
    assert cli.main(["compare", *map(str, folders)]) == 0
    words = "Not compared (1 times): tokens 100000 and 1000000 in A and B."
    assert words in capsys.readouterr().out
    store(a, folders[0] / "alone")
    store(b, folders[1] / "alone")
    assert cli.main(["compare", *(str(folder / "alone") for folder in folders)]) == 2
    assert "nearest: tokens 100000 and 1000000" in capsys.readouterr().err


def test_tables_of_estimates_are_compared_like_rows(capsys, folders):
    store(machine(SERVER), folders[0])
    estimates.write(frame.load(folders[0]), folders[1])
    (folders[1] / "contracts").mkdir()
    (folders[1] / "contracts" / "pointer.json").write_text("{}")  # of a results folder, and no row
    for side in (folders[1], folders[1] / "estimates.parquet"):
        assert cli.main(["compare", str(folders[0]), str(side)]) == 0
        assert "2 agree" in capsys.readouterr().out


def test_threads_are_compared_only_where_both_sides_share_them(compared):
    code, found = compared(machine(SERVER), machine(LAPTOP, threads=8))
    assert (code, found["counts"]["agree"]) == (0, 2)
    both = machine(LAPTOP, threads=8, ratio=3.0) + machine(LAPTOP, threads=2)
    code, found = compared(machine(SERVER), both)
    assert (code, found["counts"]["agree"], found["alone"]) == (0, 2, [0, 2])


STEPS_MS = {"pointer": 100.0, "transformer": 250.0}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Rows of a reference, with nothing computed from them yet."""
    out = tmp_path_factory.mktemp("why")
    rows = []
    machines = ("first machine", "second machine")
    for model, machine, repeat in itertools.product(STEPS_MS, machines, range(3)):
        at = {"machine": machine, "repeat": repeat, "command": f"run {model} {machine} {repeat}"}
        rows.append(timed(model, 2048, STEPS_MS[model], **at))
    for distance, tokens in itertools.product((512, 1024), (5, 6)):
        rows.append(copied("pointer", distance, 0.99, tokens_budget=tokens))
    synthetic.store(rows, out / "reference")
    return out


def ask(reference, *arguments):
    places = ["--results", str(reference / "results"), "--reference", str(reference / "reference")]
    return cli.main(["why", *arguments, *places])


SPEEDUP = ("speedup", "--model", "pointer", "--against", "transformer", "--length", "2048")


def test_a_number_is_shown_with_interval_rows_and_commands(reference, capsys):
    assert ask(reference, *SPEEDUP, "--machine", "first") == 0
    text = capsys.readouterr().out
    assert text.startswith("speedup: 2.500 ratio\n")
    assert "interval 2.500 to 2.500; runs from 2.500 to 2.500; 3 of 3 finished runs have it" in text
    assert "machine=first machine" in text
    assert text.count(".json") == 6
    assert "      run transformer first machine 2\n" in text
    assert "second machine" not in text
    assert text.rstrip().endswith(f"From {reference / 'reference'}.")
    assert ask(reference, *SPEEDUP) == 0  # of every machine
    assert capsys.readouterr().out.count("speedup: 2.500 ratio") == 2


def test_the_estimates_of_a_results_folder_come_first(tmp_path, capsys):
    times = {"pointer": 100.0, "transformer": 300.0}
    rows = [timed(model, 512, step, machine="m") for model, step in times.items()]
    manifest = synthetic.store(rows, tmp_path / "rows")
    results = tmp_path / "results"
    assert report(["collect", "--manifest", str(manifest), "--out", str(results)]) == 0
    parquet = str(results / "rows.parquet")
    assert report(["estimates", "--rows", parquet, "--out", str(results)]) == 0
    capsys.readouterr()
    assert ask(tmp_path, "speedup", "--model", "pointer") == 0
    text = capsys.readouterr().out
    assert text.startswith("speedup: 3.000 ratio\n")
    assert text.rstrip().endswith("estimates.parquet.")


def test_candidates_are_listed_where_more_than_the_place_is_open(reference, capsys):
    assert ask(reference, "accuracy", "--distance", "512") == 0
    text = capsys.readouterr().out
    assert text.startswith("2 estimates match; say more by --tokens:")
    assert ask(reference, "accuracy", "--distance", "512", "--tokens", "5") == 0
    assert capsys.readouterr().out.startswith("accuracy: 0.990")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("speedups",), "Did you mean 'speedup'?"),
        (("speedup", "--model", "pointr"), "Did you mean 'pointer'?"),
        (("speedup", "--length", "4096"), "accepted: 2048"),
        (("speedup", "--length", "many"), "accepted: 2048"),
        (("accuracy", "--pairs", "4"), "Known: distance"),
        (("speedup", "--layer", "4"), "none: it does not apply"),
    ],
)
def test_no_match_says_what_is_nearest(reference, capsys, arguments, hint):
    assert ask(reference, *arguments) == 2
    assert hint in capsys.readouterr().err
