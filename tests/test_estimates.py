"""Rows -> frame -> estimates, one line a number: nothing lost, bad input named."""

import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import synthetic
from synthetic import HOSTILE, copied, failed, row, table_of, timed, traced

from pointer.errors import InputError
from workflow.bench import cli
from workflow.bench.measure import statistics
from workflow.bench.rows import as_json, seal
from workflow.bench.sources import REFERENCE
from workflow.report import estimates, frame, intervals, tables
from workflow.report.__main__ import main
from workflow.report.estimates import KEY, select


def of(rows, quantity, **keys):
    return select(estimates.build(table_of(rows)), quantity, **keys)


def one(rows, quantity, **keys):
    (line,) = of(rows, quantity, **keys).itertuples()
    return line


def test_the_key_names_every_estimate_of_the_reference_and_its_rows():
    rows = frame.load(REFERENCE)
    reference = estimates.build(rows)
    assert not reference.duplicated(KEY).any()
    assert set(reference["quantity"]) <= set(estimates.NAMES)
    assert (reference["rows"] != "").all()
    assert not reference["model"].str.contains("{", regex=False).any()
    paths = {path for rows in reference["rows"] for path in rows.split(estimates.SEPARATOR)}
    last = rows.groupby("session")["attempt"].transform("max")
    repeated = rows["attempt"] < last  # a disturbed session, of which the last attempt counts
    assert paths == set(rows.loc[~repeated.fillna(value=False).astype(bool), "path"])


@pytest.mark.parametrize("pairs", [3, 20])
def test_a_speedup_is_the_geometric_mean_of_pairs_with_its_interval(pairs):
    ratios = [2 + 0.1 * repeat for repeat in range(pairs)]
    rows = [timed("pointer", 512, 100.0, repeat=repeat) for repeat in range(pairs)]
    other = enumerate(ratios)
    rows += [timed("transformer", 512, 100 * ratio, repeat=repeat) for repeat, ratio in other]
    speedup = one(rows, "speedup", phase="training", against="transformer")
    logs = [math.log(ratio) for ratio in ratios]
    found = (speedup.value, speedup.low, speedup.high, speedup.least, speedup.most)
    numbers = (*statistics.ratio(logs, intervals.LEVEL), min(ratios), max(ratios))
    assert found == pytest.approx(numbers)
    assert (speedup.n, speedup.runs, speedup.doubt) == (pairs, pairs, "")
    assert set(speedup.rows.split("; ")) == {f"{number}.json" for number in range(2 * pairs)}
    assert sorted(estimates.from_json(speedup.values)) == pytest.approx(ratios)


def test_a_pair_is_of_one_session_on_one_machine():
    rows = [timed("pointer", 512, 100.0), timed("transformer", 512, 300.0, machine="another")]
    rows += [timed("transformer", 512, 300.0, repeat=1), timed("transformer", 1024, 300.0)]
    assert of(rows, "speedup").empty


def test_a_ratio_is_taken_inside_each_round():
    """Something disturbs half of the rounds threefold, both models alike."""
    slow = [3.0, 3.0, 1.0, 1.0]
    rows = [timed("pointer", 512, 100.0, rounds_ms=[100 * by for by in slow])]
    rows.append(timed("transformer", 512, 200.0, rounds_ms=[200 * by for by in slow]))
    speedup = one(rows, "speedup", phase="training", against="transformer")
    assert speedup.value == pytest.approx(2.0)
    assert (speedup.n, math.isnan(speedup.low), speedup.doubt) == (1, True, "one session")


def test_the_twin_gives_the_noise_floor_over_all_rounds_and_stands_in_no_other_number():
    rows = [timed("pointer", 512, 100.0, repeat=repeat) for repeat in range(3)]
    rows += [synthetic.twin("pointer", 512, 101.0 + repeat, repeat=repeat) for repeat in range(3)]
    floor = one(rows, "twin", phase="training", model="pointer", against="pointer", x=512)
    assert floor.value == pytest.approx((1.01 * 1.02 * 1.03) ** (1 / 3))
    assert floor.low < 1.01 < 1.03 < floor.high
    assert (floor.n, floor.doubt) == (3, "")
    assert one(rows, "throughput", phase="training").value == pytest.approx(40_960)


def test_a_twin_that_is_off_puts_every_number_of_its_length_in_doubt():
    rows = [timed("pointer", n, 100.0, repeat=repeat) for n in (256, 512) for repeat in range(3)]
    rows += [timed("transformer", 512, 200.0, repeat=repeat) for repeat in range(3)]
    rows += [synthetic.twin("pointer", 512, 110.0, repeat=repeat) for repeat in range(3)]
    doubts = of(rows, "throughput", phase="training", model="pointer").set_index("x")["doubt"]
    assert doubts[256] == ""
    assert doubts[512].startswith("two equal models differ: 1.100")
    for quantity in ("speedup", "training_time"):
        assert one(rows, quantity, phase="training", model="pointer", x=512).doubt == doubts[512]


def test_a_disturbed_session_has_no_say_beside_others_and_alone_decides_nothing():
    marked = {"warnings": ["disturbed: others had 40% of the cores' time"]}
    rows = [timed("pointer", 512, 100.0, repeat=0), timed("pointer", 512, 102.0, repeat=1)]
    rows.append(timed("pointer", 512, 500.0, repeat=2, **marked))
    rate = one(rows, "throughput", phase="training")
    assert (rate.n, rate.most, rate.doubt) == (2, pytest.approx(40_960), "")
    alone = one(rows[2:], "throughput", phase="training")
    assert (alone.n, alone.doubt) == (1, "others had 40% of the cores' time")
    again = [timed("pointer", 512, 500.0, **marked), timed("pointer", 512, 100.0, attempt=1)]
    last = one(again, "throughput", phase="training")
    assert (last.n, last.most, last.doubt) == (1, pytest.approx(40_960), "one session")


def test_the_references_of_a_guest_are_its_partners_and_nothing_else():
    rows = [timed("pointer", 512, 100.0, repeat=repeat) for repeat in (0, 1)]
    guests = {"settings": {"mixer": {}, "session": "gla"}, "session": "gla-n512-r0-00000000"}
    times = {"pointer": 150.0, "transformer": 300.0, "gla": 200.0}
    rows += [timed(model, 512, step, **guests) for model, step in times.items()]
    assert one(rows, "throughput", phase="training", model="pointer").n == 2
    (pair,) = of(rows, "speedup", phase="training").itertuples()
    assert (pair.model, pair.against, pair.value) == ("gla", "transformer", pytest.approx(1.5))


def test_a_pair_whose_other_side_failed_is_doubtful():
    rows = [timed("pointer", 512, 100.0, repeat=repeat) for repeat in (0, 1)]
    rows.append(timed("transformer", 512, 300.0))
    rows.append(failed("oom", "big", model="transformer", length=512, repeat=1))
    speedup = one(rows, "speedup", phase="training", against="transformer")
    assert (speedup.status, speedup.value, speedup.n) == ("ok", pytest.approx(3.0), 1)
    assert speedup.doubt == "1 of 2 runs no pair"
    assert "transformer of the same session is oom (1 of 2 runs)" in speedup.reason


def test_a_variant_is_a_column_of_sorted_settings():
    changed = {"mixer": {"k": 32, "candidates": "offsets+content"}}
    rows = [timed("pointer", 512, 100.0, settings=changed)]
    both = [*rows, timed("pointer", 512, 50.0)]
    line = one(both, "throughput", phase="training", variant="")
    assert line.value == pytest.approx(81_920)
    rate = one(rows, "throughput", phase="training")
    assert (rate.model, rate.variant) == ("pointer", "candidates=offsets+content, k=32")


def test_budgets_and_learning_rates_are_never_averaged():
    rows = [copied("pointer", 512, 0.9, tokens_budget=tokens) for tokens in (100_000, 200_000)]
    other = {"mixer": {}, "lr": 0.01}
    rows.append(copied("pointer", 512, 0.5, tokens_budget=100_000, settings=other))
    found = of(rows, "accuracy", experiment="copy")
    assert sorted(found["value"]) == [0.5, 0.9, 0.9]
    assert set(found["tokens"]) == {100_000, 200_000}
    assert found["learning_rate"].dropna().tolist() == [0.01]


def test_tokens_until_95_count_only_where_training_also_ends_there():
    rows = [copied("pointer", 512, 0.99, tokens_to_95=40_000)]
    rows.append(copied("pointer", 512, 0.94, seed=1, tokens_to_95=10_000))
    learned = one(rows, "tokens_to_95")
    assert (learned.value, learned.n, learned.runs) == (40_000, 1, 2)
    assert learned.values == "[40000.0, null]"


def test_hops_on_text_need_a_model_that_has_learned_more_than_the_trunk_alone():
    def trained(experiment, model, bits):
        text = {"experiment": experiment, "model": model, "task": "bytes", "length": 512}
        return traced(512, **text, tokens_budget=10**6, bits_per_byte=bits)

    for bits, doubt in ((2.0, ""), (3.0, "no better than identity on text")):
        rows = [trained("interpretability", "pointer", bits), trained("bytes", "identity", 2.5)]
        assert one(rows, "mean_hop_lower").doubt == doubt
    alone = one(rows[:1], "mean_hop_lower").doubt
    assert alone == "identity was not run in as many tokens"


def test_a_change_is_compared_with_the_model_without_it_seed_by_seed():
    def hopped(accuracy, seed, **mixer):
        settings = {"mixer": mixer}
        return row(experiment="khop", hops=2, accuracy=accuracy, seed=seed, settings=settings)

    rows = [hopped(0.9 + seed / 100, seed) for seed in range(3)]
    rows += [hopped(0.7 + seed / 100, seed, chain=False) for seed in range(3)]
    lost = one(rows, "accuracy_difference")
    assert (lost.variant, lost.against, lost.n) == ("chain=False", "pointer", 3)
    assert lost.value == pytest.approx(-0.2)
    unlearned = [row | {"accuracy": 0.3} if not row["settings"]["mixer"] else row for row in rows]
    assert one(unlearned, "accuracy_difference").status == "not learned"

    two = {"pointer_heads": 2}
    for seed in range(3):
        rows += [hopped(0.95, seed, **two), hopped(0.99, seed, chain=False, **two)]
    lost = select(estimates.build(table_of(rows)), "accuracy_difference")
    assert dict(zip(lost["variant"], lost["value"].round(2), strict=True)) == {
        "chain=False": -0.2,
        "pointer_heads=2": 0.04,
        "chain=False, pointer_heads=2": 0.04,
    }


def test_learning_over_time_is_tokens_over_the_throughput_of_sessions():
    """At 1,000 tokens/s of this trunk; a run that stopped before its budget keeps its last value"""
    small = {"trunk": {"layers": 2, "width": 64, "heads": 2}, "length": 256}
    seen = [[t, math.log(2) * (50 - t / 1000), t / 40_000, 0.0] for t in range(1000, 41_000, 1000)]
    known = {"accuracy": 0.9, "n_evaluated": 1000, "tokens_budget": 40_000, **small}
    text = row(experiment="bytes", tokens_used=40_000, evaluations=seen, **known)
    recall = row(experiment="mqar", pairs=16, tokens_used=12_000, evaluations=seen[:12], **known)
    session = timed("pointer", 256, 4096.0, trunk=small["trunk"])
    other_trunk = timed("pointer", 256, 1.0)
    built = estimates.build(table_of([text, recall, session, other_trunk]))
    bits = select(built, "bits_per_byte_by_time")
    losses = dict(zip(bits["x"], bits["value"], strict=True))
    assert losses == pytest.approx({5: 46.5, 10: 41.5, 20: 31.5, 40: 13.5})
    assert set(bits["axis"]) == {"seconds"}
    right = select(built, "accuracy_by_time", experiment="mqar")
    values = dict(zip(right["x"], right["value"], strict=True))
    assert values == pytest.approx({5: 3.5 / 40, 10: 8.5 / 40, 20: 10.5 / 40, 40: 10.5 / 40})


def test_the_subcommand_writes_both_files_alike(tmp_path, capsys):
    rows = [timed("pointer", 512, 100.0), timed("transformer", 512, 200.0)]
    synthetic.store(rows, tmp_path / "rows")
    (tmp_path / "rows" / ".unfinished.json").touch()
    assert main(["estimates", "--rows", str(tmp_path / "rows"), "--out", str(tmp_path)]) == 0
    assert "rows: 2 rows, 1 skipped (hidden file)\n" in capsys.readouterr().err
    table = estimates.load(tmp_path / "estimates.parquet")
    text = pd.read_csv(tmp_path / "estimates.csv", keep_default_na=False)
    assert list(text.columns) == list(table.columns) == estimates.ESTIMATE
    assert list(text["quantity"]) == list(table["quantity"])
    assert text["rows"].tolist() == table["rows"].tolist()
    assert main(["estimates", "--rows", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert "rows" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"estimates\.parquet"):
        estimates.load(tmp_path / "none.parquet")


def test_collect_writes_the_same_cells_as_parquet_and_csv(tmp_path):
    lost = failed("oom", "killed, with a comma", model=HOSTILE)
    manifest = synthetic.store([timed("pointer", 512, 100.0), lost], tmp_path)
    assert main(["collect", "--manifest", str(manifest), "--out", str(tmp_path / "out")]) == 0
    kept = frame.load(tmp_path / "out" / "rows.parquet")
    text = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert list(kept.columns) == list(text.columns)
    assert list(kept["model"]) == list(text["model"]) == [HOSTILE, "pointer"]
    assert list(kept["status"]) == ["oom", "ok"]
    assert kept["reason"][0] == text["reason"][0] == "killed, with a comma"
    assert kept["tokens_per_s"][1] == text["tokens_per_s"][1] == pytest.approx(40_960)


def test_the_rows_of_a_session_are_collected_and_kept_from_its_one_file(tmp_path):
    runs = tmp_path / "results" / "runs" / "efficiency"
    runs.mkdir(parents=True)
    rows = {f"{name}.json": timed(name, 512, 100.0) for name in ("pointer", "transformer")}
    session = rows["pointer.json"]["session"]
    lines = [as_json(seal(row, name), file=f"{session}/{name}") for name, row in rows.items()]
    (runs / f"{session}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    manifest = tmp_path / "manifest.txt"
    manifest.write_text(f"{runs / session}.jsonl\n")
    collected = frame.collect(manifest, tmp_path / "out")
    assert [Path(path) for path in collected["path"]] == [runs / session / name for name in rows]
    (kept,) = frame.keep(frame.listed_rows(manifest), tmp_path / "kept", replace=True)
    files = [json.loads(line)["file"] for line in kept.read_text().splitlines()]
    assert files == [f"efficiency/{session}/{name}" for name in rows]
    assert frame.load(tmp_path / "kept")["digest"].tolist() == collected["digest"].tolist()


def test_a_spreadsheet_computes_no_text_of_a_row():
    texts = ["=1+1", "+1", "-2+3", "@x", "\tx", "a=b", "-1.5e-3", "-7", None]
    written = frame.csv_text(pd.DataFrame({"reason": texts, "value": -1.5}))
    read = pd.read_csv(io.StringIO(written), dtype={"reason": "string"}, keep_default_na=False)
    kept = ["a=b", "-1.5e-3", "-7", ""]
    assert list(read["reason"]) == ["'=1+1", "'+1", "'-2+3", "'@x", "'\tx", *kept]
    assert set(read["value"]) == {-1.5}


def test_machines_named_in_any_script_have_folders_of_their_own(tmp_path):
    rows = [timed("pointer", 512, 100.0, machine=machine) for machine in ("Москва", "東京")]
    synthetic.store(rows, tmp_path / "rows")
    frame.merge([tmp_path / "rows"], tmp_path / "kept")
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"москва", "東京"}


def test_folders_are_merged_and_a_conflict_is_named(tmp_path, capsys):
    a, b, c, into = (tmp_path / name for name in "abci")
    synthetic.store([timed("pointer", 512, 100.0, machine="one")], a)
    synthetic.store([timed("pointer", 512, 90.0, machine="two")], b)
    synthetic.store([timed("pointer", 512, 80.0, machine="two")], c)
    argv = ["merge", str(a), str(b), "--into", str(into)]
    for new in (1, 0):  # again: nothing is new
        assert cli.main(argv) == 0
        told = [f"{into}/{name}/rows.jsonl: 1 rows, {new} of them new" for name in ("one", "two")]
        assert capsys.readouterr().out.splitlines() == told
    assert sorted(frame.load(into)["step_ms"]) == [90.0, 100.0]
    assert cli.main(["merge", str(c), "--into", str(into)]) == 2
    assert f"{c}/0.json is not {into}/two/efficiency" in capsys.readouterr().err
    assert sorted(frame.load(into)["step_ms"]) == [90.0, 100.0]


def test_order_does_not_depend_on_the_manifest():
    rows = synthetic.grid()
    forth, back = (synthetic.table_of(some).drop(columns="path") for some in (rows, reversed(rows)))
    assert forth.equals(back)


def test_missing_rows_and_a_missing_frame_are_named(tmp_path, capsys):
    manifest = synthetic.store([row()], tmp_path)
    manifest.write_text(f"{manifest.read_text()}{tmp_path}/gone.json\n\n", encoding="utf-8")
    assert main(["collect", "--manifest", str(manifest), "--out", str(tmp_path)]) == 2
    assert "1 of 2 rows" in (said := capsys.readouterr().err)
    assert "gone.json" in said
    frames = [str(tmp_path / f"{name}.parquet") for name in ("rows", "estimates")]
    assert main(["make", str(tmp_path / "tables" / "speedup.csv"), "--from", *frames]) == 2
    assert "collect" in capsys.readouterr().err


def test_the_benchmarks_of_the_mixers_join_the_frame(tmp_path):
    def entry(what, seconds):
        given = {"machine": "m", "model": "pointer", "length": 256, "batch": 16, "threads": 2}
        return {"group": f"N=256 {what}", "extra_info": given, "stats": {"median": seconds}}

    content = {"commit_info": {"id": "abc"}, "datetime": "2026-11-24T05:00:00+00:00"}
    content["benchmarks"] = [entry("forward", 0.01), entry("backward", 0.03)]
    path = tmp_path / "benchmarks.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    manifest = synthetic.store([timed("pointer", 256, 100.0)], tmp_path)
    command = ["collect", "--manifest", str(manifest), "--out", str(tmp_path)]
    command += ["--benchmarks", str(path)]
    assert main(command) == 0
    joined = frame.load(tmp_path / "rows.parquet")
    assert sorted(joined["experiment"]) == ["efficiency", "mixers", "mixers"]
    numbers = tables.make("mixers", estimates.build(joined)).data.set_index("phase")["value"]
    assert numbers.to_dict() == pytest.approx({"inference": 10.0, "training": 30.0})
    path.write_text("{}", encoding="utf-8")
    assert main(command) == 2
