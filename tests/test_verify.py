"""`pointer-bench verify`: clean rows pass, and each planted fault is named."""

import itertools
import json

import pytest
import synthetic
import yaml
from synthetic import copied

from workflow.bench import cli, config, rows
from workflow.bench.rows import attachment, provenance, row_texts, verify, write_row
from workflow.bench.sessions import Session, by_file

TIER = yaml.safe_load("""
{tier: tiny, devices: [cpu], lengths: [128, 256], distances: [64], seeds: [0, 1], experiments: {
  complexity: null,
  interpretability: {models: [pointer], controls: none, seeds: [0], tasks: [copy, bytes]},
  copy: {models: [pointer], controls: [chance], restrict: {control: {distances: [64]}}},
  efficiency: {models: [pointer, transformer], controls: none, seeds: [0], repeats: 2}}}
""")


def cells():
    return config.cells(config.tiers(TIER)[1]["tiny"])


def measured(cell, place):
    """A plausible row, ten seconds after the one before it."""
    settings = cell.resolved()
    row = {**provenance.identity(cell), "status": "ok", "git_dirty": False}
    row |= {f"seed_{kind}": settings.seed for kind in ("data", "init", "order")}
    if cell.timing:
        row |= {"step_ms": 99.0, "step_ms_mean": 100.0, "rounds_ms": [99.0, 101.0]}
        row |= {"tokens_per_s": settings.batch * settings.length / 0.1}
    else:
        row |= {"correct_by_sequence": [8, 10], "accuracy": 0.9, "n_evaluated": 20}
        row |= {"accuracy_low": 0.7, "accuracy_high": 0.97, "tokens_used": 100}
    return row | times(place)


def times(place):
    """Eight seconds in the ten that begin at `place`."""
    return synthetic.times(10 * place, 8)


@pytest.fixture
def results(tmp_path):
    """A finished folder: rows, a trace, a manifest, benchmarks, a hidden work folder."""
    planned = by_file(cells())
    for place, (file, members) in enumerate(planned.items()):
        cell, path = members[0], tmp_path / file
        if cell.timing:
            of_session = {"session": path.stem, "attempt": 0}
            for timed in members:
                name = Session(members).row_name(timed, 0)
                put(path.parent / name, measured(timed, place) | of_session)
            continue
        row = measured(cell, place)
        if cell.experiment == "interpretability":
            attachment(path, "trace.json").parent.mkdir(parents=True, exist_ok=True)
            attachment(path, "trace.json").write_text('{"targets": []}')
            hashes = {"trace": rows.file_hash(attachment(path, "trace.json"))}
            row |= {"files": {"trace": "trace.json"}, "files_sha256": hashes}
        write_row(path, row)
    folder = tmp_path / "results"
    (folder / "manifest.txt").write_text("".join(f"{file}\n" for file in planned))
    (folder / "benchmarks.json").write_text("{}")
    work = (tmp_path / next(iter(planned))).parent / ".old.work"
    work.mkdir()
    write_row(work / "old.json", measured(cells()[0], 0))
    return folder


def path_of(results, twin=False, **wanted):
    """Return the path of a row with these values."""
    for path, row in rows.read_rows(results / "runs"):
        if row.items() >= wanted.items() and row["settings"].get("twin", False) == twin:
            return path
    raise AssertionError(wanted)


def put(path, row):
    """Writes a row to its file, or into the lines of its session's."""
    if not row.get("session"):
        write_row(path, row)
        return
    file = path.parent.with_suffix(".jsonl")
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = dict(row_texts([file]))
    lines[path] = rows.as_json(rows.seal(row, path), file=f"{row['session']}/{path.name}")
    file.write_text("".join(f"{line}\n" for line in lines.values()))


def read(path):
    file = path if path.is_file() else path.parent.with_suffix(".jsonl")
    return rows.parse(dict(row_texts([file]))[path], path)


def change(path, **values):
    """Changes a row and seals it anew, as somebody would who knows how."""
    put(path, read(path) | values)


def found(capsys, *argv):
    code = cli.main(["verify", *map(str, argv), "--json"])
    said = json.loads(capsys.readouterr().out)
    return code, [problem["check"] for problem in said["problems"]], said


def test_rows_without_a_fault_are_clean(results, capsys):
    assert cli.main(["verify", str(results)]) == 0
    skipped = "1 skipped (hidden folder), 2 skipped (trace beside a row)"
    assert capsys.readouterr().out == f"{len(cells())} rows: clean, {skipped}\n"
    code, checks, said = found(capsys, results)
    assert (code, checks, said["rows"], said["notes"]) == (0, [], len(cells()), [])


def test_two_timings_at_once_are_refused(results, capsys):
    timed = {"experiment": "efficiency", "length": 128}
    before = read(path_of(results, **timed, repeat=0))
    for model in ("pointer", "transformer"):
        path = path_of(results, **timed, model=model, repeat=1)
        change(path, started=before["started"], ended=before["ended"])
    code, checks, said = found(capsys, results)
    assert (code, checks) == (1, ["overlap"])
    assert "ran at once for 8 s" in said["problems"][0]["message"]
    assert len(said["problems"][0]["files"]) == 2
    assert [argv[0] for argv in said["problems"][0]["rerun"]] == ["rm", "snakemake"] * 2


def test_training_beside_a_timing_is_refused_but_not_beside_training(results, capsys):
    trained = [path_of(results, experiment="copy", model="pointer", seed=seed) for seed in (0, 1)]
    for path in trained:
        change(path, **times(100))
    assert found(capsys, results)[:2] == (0, [])
    change(path_of(results, experiment="efficiency"), **times(100.76))  # by a clock set back 0.4 s
    assert found(capsys, results)[:2] == (0, [])
    change(path_of(results, experiment="efficiency"), **times(100.5))
    assert found(capsys, results)[:2] == (1, ["overlap", "overlap"])
    change(path_of(results, experiment="efficiency"), host="another")
    assert found(capsys, results)[:2] == (0, [])
    change(path_of(results, experiment="efficiency"), machine="another box")
    assert "overlap" not in found(capsys, results)[1]


def test_a_row_that_is_edited_cut_or_of_another_schema_is_refused(results, capsys):
    path = path_of(results, experiment="copy", model="pointer")
    whole = path.read_text()
    unknown = json.loads(whole) | {"acuracy": 1.0}
    for text, check, words in (
        (whole.replace('"accuracy": 0.9', '"accuracy": 0.99'), "altered", "digest"),
        (whole[:-50], "unreadable", "not a readable row"),
        (json.dumps(unknown | {"digest": rows.digest(unknown)}), "schema", "acuracy"),
    ):
        path.write_text(text)
        code, checks, said = found(capsys, results)
        assert (code, checks, said["problems"][0]["files"]) == (1, [check], [str(path)])
        assert words in said["problems"][0]["message"]


@pytest.mark.parametrize(
    ("check", "values", "words"),
    [
        ("contradiction", {"accuracy": 0.99}, "accuracy lies outside its interval"),
        ("contradiction", {"n_evaluated": 0}, "accuracy of no evaluated symbol"),
        ("contradiction", {"accuracy": None}, "an interval without an accuracy"),
        ("contradiction", {"status": "error", "reason": "x"}, "error, yet with accuracy"),
        ("contradiction", {"machine": "a\0b"}, "control characters"),
        ("contradiction", {"model": "transformer"}, "settings.model is not model"),
        ("contradiction", {"ended": "2021-12-31T00:00:00+00:00"}, "before it started"),
        ("contradiction", {"started": "yesterday"}, "is no time"),
        ("sources", {"shared_hash": "0" * 16}, "task, recipe, trunk or clock"),
        ("sources", {"source_hash": "0" * 16}, "other sources"),
        ("sources", {"versions": {"torch": "1.0"}}, "other packages"),
    ],
)
def test_a_row_that_contradicts_itself_or_others_is_refused(results, capsys, check, values, words):
    experiment = "copy" if check == "contradiction" else "efficiency"
    path = path_of(results, experiment=experiment, model="pointer")
    change(path, **values)
    code, checks, said = found(capsys, results)
    assert (code, checks, said["problems"][0]["files"]) == (1, [check], [str(path)])
    assert words in said["problems"][0]["message"]


def test_a_missing_cell_is_named_with_its_command(results, capsys):
    path = path_of(results, experiment="copy", model="pointer", seed=1)
    path.unlink()
    code, checks, said = found(capsys, results)
    assert (code, checks) == (1, ["missing"])
    (command,) = said["problems"][0]["rerun"]
    name = str(path.relative_to(results.parent))
    assert command == ["snakemake", "--cores", "4", "--directory", f"{results.parent}/", "--", name]


def test_a_cell_of_a_tier_is_missed_wherever_rows_lie(results, capsys):
    (results / "mine.yaml").write_text(yaml.safe_dump(TIER))
    asked = [results / "runs" / "copy", "--configfile", results / "mine.yaml"]
    code, checks, said = found(capsys, *asked)
    others = [file for file, (cell, *_) in by_file(cells()).items() if cell.experiment != "copy"]
    assert (code, checks) == (1, ["missing"] * len(others))
    assert [problem["files"] for problem in said["problems"]] == [[path] for path in others]
    assert found(capsys, results, *asked[1:])[:2] == (0, [])


def test_a_copied_row_is_refused(results, capsys):
    path = path_of(results, experiment="copy", model="pointer", seed=1)
    other = path.with_name("other-machine.json")
    other.write_bytes(path.read_bytes())
    assert found(capsys, results)[:2] == (0, [])  # no report sets them side by side
    code, checks, said = found(capsys, results / "runs")
    assert (code, checks) == (1, ["duplicate"])
    assert "is there 2 times" in said["problems"][0]["message"]
    assert [argv[:2] for argv in said["problems"][0]["rerun"]] == [["rm", "-f"]]


def test_a_trace_that_was_changed_is_refused(results, capsys):
    trace = attachment(path_of(results, experiment="interpretability"), "trace.json")
    trace.write_text('{"targets": [[[0]]]}')
    assert found(capsys, results)[:2] == (1, ["attachment"])


def test_kept_rows_may_lack_their_weights(results, capsys):
    path, folder = path_of(results, experiment="interpretability"), "reference"
    kept = results / folder / "box" / path.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(path.read_bytes())
    code, checks, said = found(capsys, results / folder)
    assert (code, checks, [note["check"] for note in said["notes"]]) == (0, [], ["attachment"])


def test_doubtful_rows_are_notes(results, capsys):
    late = path_of(results, experiment="efficiency", model="pointer", length=128, repeat=0)
    for repeat, length, twin in itertools.product((0, 1), (128, 256), (False, True)):
        sizes = {"repeat": repeat, "length": length, "twin": twin}
        path = path_of(results, experiment="efficiency", model="pointer", **sizes)
        change(path, source_hash="0" * 16)
    change(late, **times(300), warnings=["training step varies"], git_dirty=True)
    failed = path_of(results, experiment="copy", model="pointer")
    change(failed, status="diverged", reason="the loss became nan")
    code, checks, said = found(capsys, results)
    notes = {note["check"]: note["message"] for note in said["notes"]}
    assert (code, checks) == (0, [])
    assert set(notes) == {"warning", "uncommitted", "status", "outdated"}
    assert notes["outdated"].startswith("8 rows")


def test_what_is_skipped_or_gone_is_said(results, capsys):
    path = path_of(results, experiment="copy", model="pointer")
    second_dot = path.with_name("lr0.001.json")
    second_dot.write_text("{")
    assert found(capsys, results)[1] == ["unreadable"]  # read, though its name has a second dot
    second_dot.unlink()
    moved = results.parent / "elsewhere"
    (results / "runs").rename(moved)
    assert set(found(capsys, results)[1]) == {"missing"}  # its manifest is there
    (results / "runs").symlink_to(moved)
    code, _, said = found(capsys, results)
    assert (code, said["rows"]) == (0, len(cells()))


def test_lines_for_people_tell_what_to_type(results, capsys):
    path = path_of(results, experiment="copy", model="chance")
    path.write_text("{")
    assert cli.main(["verify", str(results)]) == 1
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"unreadable: {path}: not a readable row")
    assert second == f"    again: rm -f {path}"
    assert third.startswith("    again: snakemake --cores 4 --directory ")
    assert last.startswith(f"{len(cells()) - 1} rows: 1 problem, 1 skipped (hidden folder)")


def test_a_model_with_a_convolution_has_sources_of_its_own():
    plain = copied("gla", 512, 0.9)
    settings = {**plain["settings"], "short_convolution": "on"}
    other = copied("gla", 512, 0.9, source_hash="1" * 64)
    made = [verify.Placed(name, row) for name, row in (("a", plain), ("b", other))]
    assert len(list(verify.mixed_sources(made))) == 1
    made[1] = verify.Placed("b", {**other, "settings": settings})
    assert list(verify.mixed_sources(made)) == []
