"""Peak memory of everybatch against PyTorch on the CPU: steps, each with a full test pass after it.

    python benches/bench_memory.py                 # all rows, some minutes
    python benches/bench_memory.py --only lenet5
    python benches/bench_memory.py --write         # and puts the table into benches/README.md

Each side (see peers.py for the peers) runs in a fresh process, which reports the most memory that was resident from the
time when the data set was loaded; for a peer, from the time when it was set up, so that neither the arrays that it
passes through on the way nor torch.compile count. The base is a process that loads the same packages and the same data
and does nothing. Needs Linux, whose kernel does the counting.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import everybatch as eb
from peers import Peer
from report import Report, arguments

NETWORKS: dict[str, tuple[str, int, Callable[[], eb.Network]]] = {
    "resnet": ("reference ResNet, batch 60", 60, eb.networks.resnet),
    "lenet5": ("LeNet-5, batch 64", 64, eb.networks.lenet5),
}
OURS = {
    "float32": ("float32", "exact"),
    "float32, fused": ("float32", "fused"),
    "bfloat16": ("bfloat16", "fused"),
}  # precision and kernels
PEERS = ("plain", "best")
PLANNED = 20  # steps: so many measurements make everybatch try its ways to measure, which is part of its peak
STEPS = 3  # taken
REFUSED = "refused: "


def forget_peak() -> None:
    """Let the kernel count this process's peak anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> float:
    """MiB: the most resident memory since then."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    if found is None:
        raise OSError("/proc/self/status does not tell the peak")
    return int(found[1]) / 1024


def stop(step: eb.Step) -> None:
    """End the run when it has taken its steps."""
    if step.step == STEPS:
        raise eb.StopTraining


def work(network: str, side: str) -> None:
    """What a fresh process does: one side's work, or nothing for the base."""
    data = eb.datasets.default()
    _, batch_size, build = NETWORKS[network]
    peer = Peer(build(), data, batch_size, len(data.test_labels), side) if side in PEERS else None
    forget_peak()
    if peer is not None:
        for _ in range(STEPS):
            peer.step()
            peer.measure()
    elif side in OURS:
        precision, kernels = OURS[side]
        try:
            eb.train(
                build(),
                data,
                steps=PLANNED,
                batch_size=batch_size,
                precision=precision,
                kernels=kernels,
                device="cpu",
                progress=False,
                callbacks=stop,
            )
        except eb.errors.DeviceError as reason:
            print(f"{REFUSED}{reason}")
            return
    print(peak())


def measured(network: str, side: str) -> float | str:
    """MiB: the peak of a fresh process; or why there is none."""
    command = [sys.executable, __file__, "--work", network, side]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
    return answer if answer.startswith(REFUSED) else float(answer)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=tuple(NETWORKS), help="rows of this network")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return
    base = measured("lenet5", "base")
    assert isinstance(base, float)
    report = Report(__file__)
    report.head(eb.datasets.default(), f"one process for each figure; the base is {base:,.0f} MiB")
    report.add(
        "| step + full test pass | everybatch in | MiB (above base) | "
        + " | ".join(f"{peer}, MiB (above base)" for peer in PEERS)
        + " | "
        + " | ".join(f"everybatch / {peer} (above base)" for peer in PEERS)
        + " |",
        "|---|---|---:|" + "---:|" * len(PEERS) + "---|" * len(PEERS),
    )

    def cell(found: float) -> str:
        return f"{found:,.0f} ({found - base:,.0f})"

    for network in [options.only] if options.only else NETWORKS:
        theirs = [measured(network, peer) for peer in PEERS]
        for side in OURS:
            mine = measured(network, side)
            start = f"| {NETWORKS[network][0]} | {side} | "
            if isinstance(mine, str):
                report.add(f"{start}{mine} |" + " |" * 2 * len(PEERS))
                continue
            ratios = [f"**{mine / other:.2f}** ({(mine - base) / (other - base):.2f})" for other in theirs]
            report.add(start + " | ".join([cell(mine), *map(cell, theirs), *ratios]) + " |")
    if options.write:
        report.write()


if __name__ == "__main__":
    sys.exit(main())
