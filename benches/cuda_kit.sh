#!/bin/sh
# Tests and benchmarks on a machine with an NVIDIA GPU that has Python and torch, and neither Rust nor a network.
# `make cuda-kit` puts this file, with all that it needs, into the folder cuda-kit/:
#
#     sh run.sh            # with python3
#     sh run.sh python3.12 --quick
#
# Nothing is installed but into the folder lib/ beside this file. What comes after the interpreter goes to cuda.py.
set -eu
cd "$(dirname "$0")"
python=${1:-python3}
[ $# -eq 0 ] || shift
# torch itself is the machine's own; `--no-deps` keeps pip from looking for it.
[ -d lib ] || "$python" -m pip install --quiet --no-index --no-deps --target lib wheels/*.whl
export PYTHONPATH="$PWD/lib" PYTHONDONTWRITEBYTECODE=1
[ ! -d data ] || export EVERYBATCH_DATA="$PWD/data"
"$python" -c 'import torch, everybatch; print("torch", torch.__version__, "everybatch", everybatch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name(0))'
# Only these files: others import what is not in the kit.
"$python" -m pytest -m cuda -p no:cacheprovider tests/test_cuda*.py && passed=0 || passed=$?
"$python" benches/cuda.py "$@"
exit $passed
