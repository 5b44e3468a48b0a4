"""Do the tables of the further tasks say what the rows say, task by task and size by size?"""

import pytest
from synthetic import ablated, cell, copied, make, row

from workflow.bench.measure.statistics import wilson
from workflow.report import intervals


def learned(task, model, accuracy, **values):
    low, high = wilson(1000 * accuracy, 1000)
    known = {"experiment": task, "task": task, "model": model, "tokens_budget": 300_000}
    known |= {"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high}
    known |= {"n_evaluated": 1000, "chance": 1 / 128}
    known["tokens_used"] = 200_000 if accuracy > 0.95 else 300_000
    known["tokens_to_95"] = 150_000 if accuracy > 0.95 else None
    return row(**known | values)


def mqar(model, pairs, accuracy, **values):
    return learned("mqar", model, accuracy, **{"pairs": pairs, "length": 16 * pairs} | values)


def test_recall_gives_accuracy_interval_tokens_and_chance_of_each_task():
    rows = [
        mqar("pointer", 4, 0.31),
        mqar("transformer", 4, 0.99),
        mqar("transformer", 16, 0.5, tokens_to_95=90_000),  # a lucky look
        learned("induction", "transformer", 0.07, length=256, chance=1 / 15),
    ]
    table = make("recall", rows)
    until, share = "mqar by pairs: tokens until 95%", "mqar by pairs: accuracy, %"
    assert cell(table, 16, quantity=until, model="transformer") == "never"
    known = intervals.wilson(990, 1000)
    low, high = 100 * known.low, 100 * known.high
    text = cell(table, 4, quantity=share, model="transformer")
    assert text == f"99.00 ({low:.2f} to {high:.2f})"
    assert cell(table, 4, quantity="mqar by pairs: tokens used", model="transformer") == "200,000"
    assert cell(table, 4, quantity=until, model="transformer") == "150,000"
    assert cell(table, 4, quantity=until, model="pointer") == "never"
    assert cell(table, 16, quantity=share, model="pointer") == "–"
    other = "induction by length N: accuracy, %"
    assert cell(table, 256, quantity=other, model="transformer").startswith("7.00")
    assert any("mqar 0.78%; induction 6.67%" in note for note in table.notes)
    assert any("may stop early: mqar 300,000; induction 300,000." in note for note in table.notes)


def test_notes_name_what_is_no_better_than_identity_and_the_sources_budget():
    shares = {"identity": 0.05, "gla": 0.06, "transformer": 0.5}
    known = {"tokens_budget": 500_000, "batch": 4}
    rows = [mqar(model, 16, share, **known) for model, share in shares.items()]
    notes = make("recall", rows).notes
    assert "No better than identity, which mixes nothing, on mqar: gla (at 16)." in notes
    (source,) = [note for note in notes if "times fewer" in note]
    assert "here it is 1,952 sequences, 4 a step: 3,279 times fewer" in source


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("selective-copy", "trains on 25,600,000 sequences, 64 a step; here"),
        ("induction", "trains on 1,638,400 sequences, 8 a step; here"),
        ("khop", "trains on 3,200,032 sequences, 32 a step; here"),
        ("listops", "trains on 160,000 sequences, 32 a step; here"),
        ("string-copy", "states neither sequences nor steps of its training."),
    ],
)
def test_a_note_sets_the_budget_of_every_tasks_source_beside_ours(task, words):
    notes = make("recall", [learned(task, "transformer", 0.5)]).notes
    assert [note for note in notes if note.startswith(f"The source of {task} {words}")]


def test_lengths_that_do_not_follow_from_the_size_are_cells_of_their_own():
    table = make("recall", [mqar("transformer", 16, 0.9), mqar("transformer", 16, 0.6, length=512)])
    lines = table.wide[table.wide["quantity"] == "mqar by pairs: accuracy, %"]
    assert [text.partition(" ")[0] for text in lines["16"]] == ["90.00", "60.00"]
    assert list(lines["N"]) == ["16 a pair", "512"]


def test_longer_strings_than_training_had_are_sizes_without_tokens():
    known = {"letters": 50, "length": 102, "accuracy_by_size": [[100, 0.4, 900]]}
    table = make("recall", [learned("string-copy", "transformer", 0.98, **known)])
    by = "string-copy by letters"
    assert cell(table, 50, quantity=f"{by}: tokens used", model="transformer") == "200,000"
    assert cell(table, 100, quantity=f"{by}: accuracy, %", model="transformer") == "40.00"
    assert cell(table, 100, quantity=f"{by}: tokens used", model="transformer") == "–"


def test_whole_strings_are_counted_over_the_strings_of_all_seeds():
    known = {"letters": 50, "length": 102, "accuracy_by_size": [[100, 0.4, 900]]}
    rows = []
    for seed, right in enumerate(([50, 50, 49, 0], [49, 49, 50, 49])):
        keys = {"seed": seed, "correct_by_sequence": right, **known}
        rows.append(learned("string-copy", "transformer", 0.9, **keys))
    table = make("recall", [*rows, mqar("transformer", 16, 0.9, correct_by_sequence=[16, 16])])
    by = "string-copy by letters: whole strings right, %"
    assert cell(table, 50, quantity=by, model="transformer") == "37.5"
    assert cell(table, 100, quantity=by, model="transformer") == "–"
    assert not table.wide["quantity"].str.contains("mqar by pairs: whole").any()


def test_bits_a_byte_come_from_both_experiments_that_train_on_text():
    text = {"task": "bytes", "length": 1024, "data_hash": "abc", "tokens_used": 99_328}
    text |= {"bits_per_byte_guessing": 4.6, "accuracy": 0.4}
    traced = {"experiment": "interpretability", "model": "pointer"}
    rows = [row(experiment="bytes", model="transformer", bits_per_byte=3.21, **text)]
    rows += [row(bits_per_byte=2.5, **traced, **text)]
    rows += [row(distance=512, task="copy", length=640, **traced)]
    table = make("bytes", rows)
    assert cell(table, 1024, quantity="bits a byte", model="transformer") == "3.21"
    assert cell(table, 1024, quantity="bits a byte", model="pointer") == "2.50"
    assert cell(table, 1024, quantity="next byte right, %", model="pointer") == "40.00"
    assert set(table.data["x"]) == {1024}
    assert any("4.60 bits" in note for note in table.notes)
    assert any("abc" in note for note in table.notes)


def test_a_note_names_the_models_that_use_no_context_of_text_yet():
    text = {"experiment": "bytes", "task": "bytes", "length": 1024, "data_hash": "abc"}
    text["tokens_used"] = 99_328
    bits = {"transformer": 3.6, "local": 3.7, "deltanet": 2.8, "identity": 3.6}
    rows = [row(model=model, bits_per_byte=value, **text) for model, value in bits.items()]
    fewer = row(model="gla", bits_per_byte=4.0, **text | {"tokens_used": 50_000})
    (note,) = [note for note in make("bytes", [*rows, fewer]).notes if "identity" in note]
    assert note.startswith("transformer, local do not do better than identity")
    assert not any("identity" in note for note in make("bytes", rows[2:]).notes)


def test_a_note_says_what_distance_no_layer_of_a_window_sees():
    rows = [copied(model, d, 0.05) for model in ("longformer", "local") for d in (512, 1536)]
    note = "longformer at D=1536 (1,530 back); local at D=512, 1536 (378 back)"
    assert f"Out of reach by construction: {note}." in make("copy_accuracy", rows).notes


def test_a_cell_of_an_ablation_says_mean_spread_and_how_many_seeds_got_there():
    table = make("ablation", ablated())
    until, one = "tokens until 95%", {"model": "pointer", "variant": "credit to candidates only"}
    defaults = cell(table, 512, model="pointer", variant="", quantity=until)
    assert defaults == "50,000 (40,000 to 60,000)"
    assert cell(table, 512, model="pointer", variant="no credit", quantity=until) == "never"
    assert cell(table, 512, **one, quantity=until) == "40,000, 1 of 3 seeds"
    assert cell(table, 512, **one, quantity="accuracy, %") == "36.67 (5.00 to 100.00)"
    notes = " ".join(table.notes)
    assert "10,000 tokens (D=512)" in notes
    assert "Budget: 200,000 tokens" in notes
