"""Bad input, by the hundred: config, rows and command line never end in a traceback.

Every refusal names the key, the value and what is accepted.
Whatever is accepted gives cells whose command makes the same cell again, in a path that stays
under results/runs. About 500 cases; twenty times as many under --full."""

from __future__ import annotations

from typing import Any

import yaml

TIER: dict[str, Any] = yaml.safe_load("""
tier: mine
models: [pointer, longformer]
controls: [chance]
devices: [cpu]
dtypes: [float32]
seeds: [0, 1]
repeats: 2
lengths: [64]
distances: [8, 16]
threads: 1
tokens: 9000
lr: 0.001
symbols: 20
batch: 1
stop_accuracy: 0.9
timeout_s: 60
machine: my box
evaluate_symbols: 100
mixer: {pointer: {local: 64}}
restrict: {linear: {repeats: 1, seeds: [0]}}
experiments:
  copy: {tokens: 9000, restrict: {control: {distances: [8]}}}
  complexity: {lengths: [32]}
  efficiency: {batch: 2}
  interpretability: {models: [pointer]}
""")
