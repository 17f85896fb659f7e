"""`everybatch sweep`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from everybatch.cli._parser import Commands, command
from everybatch.cli.sweep._file import read_sweep
from everybatch.cli.sweep._run import add_ways, carry_out

__all__ = ["add", "run"]

_LONG = """\
The TOML file names the data and the settings to go through; each combination is trained with each seed, and each run
is kept. What is stored already is not trained again: the same command goes on where it was ended.

  data = "mnist"                     # as --data of everybatch train; also train_images, test_images, data_seed,
                                     # image_size = [28, 28], background = 0 (or [r, g, b]) and download = false.
                                     # Paths are seen from the file
  store = "sweeps/lenet"             # seen from here; sweeps/NAME_OF_THE_FILE unless given
  seeds = 2                          # how many, from 0 on, or a list of them
  backend = "processes"              # also serial, packed (one GPU) and ray; or with options, as in
                                     # help(eb.sweeps.ray): { name = "ray", address = "auto", workers = 8 }
                                     # threads, device and keep_models as in help(eb.sweep)
  [fixed]                            # arguments of eb.train that all trials share, and the network: a builder, or a
  network = "lenet5"                 # file of Network.to_json
  epochs = 1

  [grid]                             # every combination of these
  lr = [1e-3, 5e-3]
  network.dropout = [0.25, 0.5]      # an option of the builder; "network.dropout" beside a list of networks
  schedule = ["constant", { name = "one_cycle", pct_start = 0.2 }]
  augment = [{ shift = 2 }, { shift = 2, rotate = 10 }]

  [pruning]                          # needs validation = 0.1 in [fixed]
  rule = "median"                    # or successive_halving; options as in help(eb.sweeps.median)

In place of [grid], [random] or [sobol] draw n = 20 configs with seed = 0 from [random.space] or [sobol.space], where
lr = { low = 1e-4, high = 1e-2, log = true } is a range and whole = true makes its numbers whole; or each table
[[trials]] is one config."""
_EXAMPLE = """\
  everybatch sweep space.toml
  everybatch sweep space.toml --store sweeps/again --backend serial --retry-failed"""


def add(commands: Commands) -> None:
    """Describe the arguments of `sweep`."""
    parser = command(
        commands,
        "sweep",
        run,
        short="train every combination of settings that a TOML file names",
        long=_LONG,
        example=_EXAMPLE,
    )
    parser.add_argument("file", metavar="FILE.toml", type=Path, help="what to go through")
    parser.add_argument("--store", metavar="FOLDER", help="keep the trials there; before the file's store")
    add_ways(parser)


def run(args: Namespace) -> int:
    """Read the file, train, print."""
    file = read_sweep(args.file)
    return carry_out(file, args.store or file.store, args)
