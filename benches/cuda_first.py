"""The first minutes on a GPU: does it work, is it right, how fast is it, and where does the time go. One short table.

    python benches/cuda_first.py                       # everything, about 7 minutes
    python benches/cuda_first.py --out logs --limit 300
    python benches/cuda_first.py --only BEF

Each part is a process of its own, so that one that breaks CUDA takes nothing along, and has a limit in seconds. Its
output goes into a file in --out, and at the end all lines that matter come again as one table.

    D  the tests marked `cuda`, first of all
    A  without graphs: where the host waits for the GPU
    B  are steps and measurements recorded, for networks, precisions and options
    C  deterministic=True in a fresh process
    E  milliseconds of a step, with and without a pass over the test images
    F  the kernels of five steps and passes
    G  cuda.py --quick, in what is left
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMITS = {"D": 240, "A": 50, "B": 90, "C": 30, "E": 75, "F": 45, "G": 400}
MARK = "|"
"""What a line begins with that belongs into the table."""


def say(*words: object) -> None:
    print(MARK, *words, flush=True)


@contextlib.contextmanager
def case(name: str) -> Iterator[None]:
    """Have what goes wrong in one case be one line, and the next one go on."""
    start = time.perf_counter()
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        say(f"{name}: FAILED after {time.perf_counter() - start:.1f} s: {type(error).__name__}: {str(error)[:300]}")


# ---------------------------------------------------------------- the parts


def hidden_waits() -> None:
    """A: what warns of a wait, by the number of steps; a wait in each step shows as a difference."""
    os.environ["EVERYBATCH_CUDA_GRAPHS"] = "0"
    import torch

    import everybatch as eb

    data = eb.datasets.default()
    network = eb.networks.lenet5()
    say(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    for measured in (1, "epoch"):
        with case(f"evaluate_every={measured!r}"):
            counts = []
            for steps in (20, 40):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    torch.cuda.set_sync_debug_mode("warn")
                    run = train(network, data, steps=steps, batch_size=60, evaluate_every=measured)
                    torch.cuda.set_sync_debug_mode("default")
                counts.append(sum("synchroniz" in str(warning.message) for warning in caught))
            say(f"evaluate_every={measured!r}: {counts[0]} waits in 20 steps, {counts[1]} in 40; {timed(run)}")


def recording() -> None:
    """B: whether everything is recorded, and what was chosen."""
    import everybatch as eb

    data = eb.datasets.default()
    augment = eb.Augment(shift=2, rotate=10, scale=0.1, elastic=0.5, erase=0.5)
    lenet, resnet = eb.networks.lenet5(), eb.networks.resnet()
    options: list[tuple[str, eb.Network, dict[str, Any]]] = [
        (f"{network.name} {precision}", network, {"precision": precision})
        for network in (lenet, resnet)
        for precision in ("float32", "tf32", "bfloat16")
    ]
    options += [
        ("dropout", eb.networks.resnet(dropout=0.3), {"precision": "bfloat16"}),
        ("one_cycle", lenet, {"schedule": "one_cycle"}),
        ("augment", lenet, {"augment": augment}),
        ("ema", resnet, {"ema": 0.99, "precision": "bfloat16"}),
        ("sgd, validation", lenet, {"optimizer": "sgd", "momentum": 0.9, "lr": 0.01, "validation": 0.1}),
        ("wide_resnet", eb.networks.wide_resnet(), {"precision": "bfloat16"}),
        ("predictions", lenet, {"record": ("predictions",), "deterministic": False}),
        ("muon", resnet, {"optimizer": "muon", "lr": 0.01, "precision": "bfloat16"}),
        ("schedules", lenet, {"augment": augment, "augment_schedule": "linear", "label_smoothing": 0.1, "ema": 0.99}),
        ("gates", eb.networks.resnet(squeeze_excitation=8), {"precision": "bfloat16", "clip_grad_norm": 1.0}),
    ]
    for name, network, arguments in options:
        with case(name):
            run = train(network, data, steps=60, batch_size=60, **arguments)
            cuda = run.config["cuda"]
            plan = cuda["evaluation"][0]
            ways = plan["convolutions"]
            say(
                f"{name}: {'recorded' if cuda['graphs'] else 'EAGER: ' + cuda['reason']}; chunk {plan['chunk']}, "
                f"{plan['layout']}, {ways.count('fused')} of {len(ways)} convolutions fused; {timed(run)}; "
                f"loss {run.train_loss[0]:.3f} to {run.train_loss[-1]:.3f}, test accuracy {run.final_accuracy:.4f}"
            )
            print(plan["columns"], plan["products"], plan["measured"])


def repeatable() -> None:
    """C: deterministic=True where nobody has set the variable of cuBLAS."""
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    import numpy as np

    import everybatch as eb

    data = eb.datasets.default()
    for precision in ("float32", "bfloat16"):
        with case(f"deterministic, {precision}"):
            one, other = (
                train(eb.networks.resnet(), data, steps=60, precision=precision, deterministic=True) for _ in range(2)
            )
            same = np.array_equal(one.train_loss, other.train_loss) and np.array_equal(one.test_loss, other.test_loss)
            say(f"deterministic, {precision}: {'equal bits' if same else 'DIFFERENT BITS'}; {timed(one)}")


def tests() -> None:
    """D: pytest -m cuda."""
    files = sorted(str(path) for path in (HERE.parent / "tests").glob("test_cuda*.py"))
    files.sort(key=lambda path: ("recording" not in path, "graphs" not in path))
    files.append(str(HERE.parent / "tests" / "test_meter_module.py"))
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-p", "no:cacheprovider", "-q", "--tb=short", "-rfE"]
    command += ["--durations=8", *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith(("FAILED", "ERROR")) or " passed" in line or " failed" in line:
                say(line.strip()[:240])


def speed() -> None:
    """E: milliseconds of a step, and of a step with a pass, as the runs recorded them."""
    import torch

    import everybatch as eb

    data = eb.datasets.default()
    for network in (eb.networks.resnet(), eb.networks.lenet5()):
        for precision in ("float32", "tf32", "bfloat16"):
            for measured in (1, "epoch"):
                what = f"{network.name}, {precision}, {'step + pass' if measured == 1 else 'step'}"
                with case(what):
                    arguments: dict[str, Any] = {"steps": 200, "batch_size": 60, "evaluate_every": measured}
                    run = train(network, data, precision=precision, **arguments)
                    say(f"{what}: {timed(run)}; peak {torch.cuda.max_memory_reserved() / 2**20:.0f} MiB")


def profile() -> None:
    """F: kernels of five steps, each with a pass, in the middle of a run."""
    import torch

    import everybatch as eb

    data = eb.datasets.default()
    for network, precision in ((eb.networks.resnet(), "bfloat16"), (eb.networks.lenet5(), "float32")):
        for measured in (1, "epoch"):
            with case(f"{network.name}, {precision}, {measured}"):
                profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])

                def watch(step: eb.Step, profiler: Any = profiler) -> None:
                    if step.step in (30, 35):
                        torch.cuda.synchronize()
                        (profiler.start if step.step == 30 else profiler.stop)()

                arguments: dict[str, Any] = {"steps": 50, "batch_size": 60, "evaluate_every": measured}
                train(network, data, precision=precision, callbacks=watch, **arguments)
                name = f"{network.name}, {precision}, {'step + pass' if measured == 1 else 'step'}"
                with tempfile.NamedTemporaryFile(suffix=".json") as trace:
                    profiler.export_chrome_trace(trace.name)
                    events = json.loads(Path(trace.name).read_text(encoding="utf-8"))["traceEvents"]
                kernels = [event for event in events if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
                report(name, kernels, steps=5)


def report(name: str, kernels: list[dict[str, Any]], steps: int) -> None:
    """Say how busy each stream was, and print the kernels that took longest."""
    first, last = min(k["ts"] for k in kernels), max(k["ts"] + k["dur"] for k in kernels)
    streams: dict[int, list[float]] = {}
    for kernel in kernels:
        streams.setdefault(kernel["args"]["stream"], []).append(kernel["dur"])
    parts = [
        f"stream {stream}: {len(times) / steps:.0f} kernels, {sum(times) / 1000 / steps:.3f} ms"
        for stream, times in sorted(streams.items())
    ]
    say(f"{name}: {(last - first) / 1000 / steps:.3f} ms a step; {'; '.join(parts)}")
    sums: dict[tuple[int, str], list[float]] = {}
    for kernel in kernels:
        sums.setdefault((kernel["args"]["stream"], kernel["name"]), []).append(kernel["dur"])
    for (stream, kind), times in sorted(sums.items(), key=lambda pair: -sum(pair[1]))[:50]:
        print(f"{sum(times) / steps:9.1f} us {len(times) / steps:6.1f} times  stream {stream}  {kind[:150]}")


def benchmark() -> None:
    """G: the table of cuda.py, as far as it comes."""
    command = [sys.executable, str(HERE / "cuda.py"), "--quick", "--without-compiled"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say(line.rstrip().removeprefix("| "))


PARTS = {
    "D": tests,
    "A": hidden_waits,
    "B": recording,
    "C": repeatable,
    "E": speed,
    "F": profile,
    "G": benchmark,
}


def train(network: Any, data: Any, **arguments: Any) -> Any:
    import everybatch as eb

    with warnings.catch_warnings(action="ignore", category=eb.errors.SelectionWarning):
        start = time.perf_counter()
        run = eb.train(network, data, **{"device": "cuda", "progress": False} | arguments)
        run.whole_seconds = time.perf_counter() - start
    return run


def timed(run: Any) -> str:
    """Milliseconds of a step with what was measured after it, and the seconds beside steps and measurements."""
    seconds = float(run.train_seconds.sum() + run.eval_seconds.sum())
    return f"{1000 * seconds / run.steps:.3f} ms a step, {run.whole_seconds - seconds:.1f} s beside"


# ---------------------------------------------------------------- one after the other


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("cuda-first"), help="folder for the whole output of each part")
    parser.add_argument("--limit", type=float, default=420, help="seconds for everything")
    parser.add_argument("--only", default="".join(PARTS), help="letters of the parts to run")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        PARTS[options.part]()
        return 0
    import torch

    if not torch.cuda.is_available():
        print("cuda_first.py: torch finds no NVIDIA GPU on this machine, so there is nothing to try.")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    table: list[str] = []
    for part in options.only:
        left = options.limit - (time.monotonic() - start)
        if left < 10:
            table.append(f"{part} not begun: the time was over")
            continue
        began = time.monotonic()
        ended = of_its_own(part, options.out / f"{part}.log", min(left, LIMITS[part]))
        lines = (options.out / f"{part}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        table.append(f"{part} {ended}, {time.monotonic() - began:.0f} s")
        table += [f"{part} {line}" for line in lines if line.startswith(MARK)]
        print(table[-1], flush=True)
    print("=" * 40, *table, sep="\n", flush=True)
    (options.out / "table.txt").write_text("\n".join(table) + "\n", encoding="utf-8")
    return 0


def of_its_own(part: str, log: Path, seconds: float) -> str:
    """Run a part as a process, and say how it ended."""
    command = [sys.executable, "-u", __file__, "--part", part]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(seconds)
            return "done" if code == 0 else f"ENDED WITH {code}"
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
            return f"CUT OFF after {seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
