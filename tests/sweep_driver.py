"""A sweep in a process of its own, to be killed: python sweep_driver.py STORE TRIALS."""

from __future__ import annotations

import signal
import sys

import everybatch as eb

signal.signal(signal.SIGINT, signal.default_int_handler)
_, store, trials = sys.argv
data = eb.datasets.glyphs(train=200, test=100, seed=1)
space = {"lr": [1e-3 * (1 + number) for number in range(int(trials) // 2)]}
made = eb.sweep(space, data, network="lenet5", steps=12, seeds=2, store=store, progress=False, device="cpu")
print(made)
