"""From rows to what people read: one tidy frame, the paper's tables and figures, and a verdict on
each of its claims.

Reads result rows and the published numbers in `results/paper/`, never a model: nothing here imports
torch. Run it with `python -m workflow.report collect|tables|figures|claims|page|keep|readme
--help`."""

from workflow.bench.sources import ROOT

LEDGER = ROOT / "config" / "claims.yaml"
