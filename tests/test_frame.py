"""Rows -> the tidy frame: nothing lost, nothing invented, bad input named."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
import synthetic
from synthetic import HOSTILE, failed, row, timed

from workflow.bench import cli
from workflow.bench.rows import as_json, seal
from workflow.report import estimates, frame, tables
from workflow.report.__main__ import main


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
