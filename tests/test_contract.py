"""Does the contract refuse planted faults, each with its reason, and pass models that keep it?"""

import re
import time
from functools import partial

import faulty_mixers as faulty
import pytest

from pointer.errors import InputError
from pointer.trunk import Trunk
from workflow.bench import registry
from workflow.bench.measure import contract
from workflow.bench.measure.causality import LENGTH, SYMBOLS, Subject
from workflow.bench.outcomes import EnvironmentFault


def trunk(mixer, length=LENGTH, layers=2, width=64):
    sizes = {"length": length, "layers": layers, "width": width, "heads": 4}
    sizes["ffn_width"] = 4 if mixer is faulty.Heavy else round(3.53 * width)
    return Trunk(mixer, symbols=SYMBOLS, learned_positions=False, **sizes)


def planted(mixer):
    """A mixer on the trunk as a model under test, sized as the registry sizes it."""
    return Subject("planted", partial(trunk, mixer), partial(trunk, mixer, layers=6, width=256))


@pytest.mark.parametrize("mixer", [faulty.Good, faulty.StartsAtZero, faulty.NearTie])
def test_a_model_that_keeps_the_contract_passes(mixer):
    assert [check for check in contract.check_subject(planted(mixer)) if not check.ok] == []


@pytest.mark.parametrize(
    ("mixer", "check", "reason"),
    [
        (faulty.Leaky, "causal", r"^output 0 .* from 1 on change: it sees the future$"),
        (faulty.LateLeak, "causal", r"^output 200 .* from 201 on change: it sees the future$"),
        (faulty.GatedLeak, "causal", r"^output 0 .* from 1 on change: it sees the future$"),
        (faulty.KnowsLength, "causal", r"^output 0 differs by .* with only 1 tokens given"),
        (faulty.AcrossBatch, "independent of batch", r"^output 0 differs by .* when sequence 0"),
        (faulty.Remembers, "repeatable", r"^two inference calls on the same tokens differ at"),
        (faulty.Normalises, "same in training", r"^output 0 differs by .* in training mode \("),
        (faulty.Pooled, "shapes", r"^the mixer of layer 0 returns y \[3, 1, 64\] for x"),
        (faulty.Lonely, "shapes", r"^the mixer of layer 0 returns Tensor; expected a pair \(y,"),
        (faulty.Heavy, "parity", r"^12,\d{3},\d{3} parameters without position tables; accepted:"),
        (faulty.Hidden, "parity", r"^blocks.0.mixer.secret_table \[256, 256\] is not counted,"),
        (faulty.Square, "cost", r"^counted work .* grows [23]\.\d+-fold .* say `cost: quadratic`$"),
        (faulty.Unbuildable, "builds", r"^raised ValueError: no such thing \(faulty_mixers.py,"),
        (faulty.Random, "repeatable", r"^two training passes of one seed differ in the gradient"),
        (faulty.Explodes, "finite", r"^logits are not finite from position 40 in inference mode,"),
        (faulty.Deep, "as measured", r"^output 7 .* from 8 on change, at full size .*: it sees"),
        (faulty.LateInTraining, "as measured", r"^output \d .* from 8 on change, .*: it sees the"),
        (faulty.FourTogether, "as measured", r"^output 0 differs by .* when sequence 0 is run"),
        (faulty.Stale, "as measured", r"^output 8 differs by .* when sequence 0 is run alone"),
        (faulty.Outside, "work in torch", r"^data leaves torch by Tensor.numpy, where no work is"),
        (faulty.Understates, "work as declared", r"^processor time grows \d+.\d-fold from N = 20"),
        (faulty.KeepsOutputs, "work on known tokens", r"^tokens that it has seen take [\d,]+ oper"),
        (faulty.Seeds, "shared state", r"^a forward pass sets the seed of torch's global gener"),
        (faulty.InPlace, "shared state", r"^the mixer of layer 0 changes its input in place$"),
        (faulty.Lazy, "parity", r"^blocks.0.mixer.late is created in the first forward pass: not"),
        (faulty.Filters, "parity", r"^blocks.0.mixer.filter \[2048\] grows with N: .* whose name"),
        (faulty.WideTable, "parity", r"^blocks.0.mixer.up_table \[256, 2048\] is not counted,"),
        (faulty.Complex, "builds", r"^blocks.0.mixer.spectrum is complex and would count once"),
        (faulty.Told, "builds", r"^rename the setting `distance`: that name is reserved and"),
        (faulty.Slow, "builds", r"^Slow.period is 10000: that name is reserved .* accepted: 1 to"),
        (faulty.Quits, "shapes", r"^raised SystemExit: 0 \(faulty_mixers.py, line \d+\)$"),
        (faulty.Doubles, "shapes", r"^the mixer of layer 0 returns torch.float64 for"),
        (faulty.Unused, "gradients", r"^no gradient reaches blocks.0.mixer.spare.weight, nor"),
        (faulty.Drops, "same in training", r"^output 0 differs by .* in training mode \(at the"),
        (faulty.DropsByName, "builds", r"^blocks.0.mixer.drop is a Dropout: the recipe of all"),
        (faulty.Forgets, "saved and loaded", r"^a model loaded from saved weights gives other"),
        (faulty.Counts, "saved and loaded", r"^a training that is resumed loses .*mixer._passes:"),
        (faulty.Lists, "saved and loaded", r"^a training that is resumed loses .*mixer.seen: keep"),
        (faulty.Closure, "saved and loaded", r"^a training that is resumed has another gradient"),
        (faulty.EvenOnly, "shapes", r"^at N = 1: raised .* \(faulty_mixers.py, line \d+\)$"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_planted_fault_is_refused_with_its_reason(mixer, check, reason):
    checks = {function.__name__: function for function in contract.applicable(planted(mixer))}
    found = contract.run_check(checks[check.replace(" ", "_")], planted(mixer))
    assert (found.name, found.ok) == (check, False)
    assert re.search(reason, found.reason), found.reason


def test_a_check_that_takes_long_says_its_name_first(monkeypatch, capsys):
    def slow(_):
        time.sleep(0.2)

    monkeypatch.setattr(contract, "PATIENCE_S", 0.05)
    for check in (slow, lambda _: None):
        contract.run_check(check, planted(faulty.Good))
    assert capsys.readouterr().out == "...   slow\n"


def test_a_machine_without_memory_is_no_verdict_on_the_model():
    class Huge(faulty.Good):
        def forward(self, x, carry):
            raise MemoryError("no memory")

    with pytest.raises(EnvironmentFault, match="MemoryError: no memory"):
        contract.run_check(contract.finite, planted(Huge))


@pytest.mark.parametrize("name", registry.names())
def test_every_registered_model_keeps_the_contract(name):
    found = list(contract.check(name))
    assert [check for check in found if not check.ok] == []
    assert len(found) >= 4
    entry = registry.info(name)
    assert ("causal" in {check.name for check in found}) == (entry.trained and entry.causal)


@pytest.mark.parametrize(
    "mixer",
    [
        {"candidates": "offsets+chain+content+blocks", "k": 96},
        {"hard": False, "k": 40},
        pytest.param({"k": 4096}, marks=pytest.mark.full),  # the largest that is accepted
    ],
)
def test_a_variant_keeps_what_makes_its_numbers_fair(mixer):
    found = list(contract.check("pointer", mixer))
    assert [check for check in found if not check.ok] == []
    assert {"causal", "independent of batch", "parity", "cost"} <= {check.name for check in found}


def test_a_bad_setting_is_no_fault_of_the_model():
    with pytest.raises(InputError, match="window is 99; accepted: 1 to 64"):
        contract.check("pointer", {"window": 99})
    with pytest.raises(InputError, match="window is 4096; accepted: sizes far below N = 2048"):
        contract.check("local", {"window": 4096})
