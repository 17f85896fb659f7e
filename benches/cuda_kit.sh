#!/bin/sh
# Tests and benchmarks on a machine with an NVIDIA GPU that has Python and torch, and neither Rust nor a network.
# `make cuda-kit` puts this file, with all that it needs, into the folder cuda-kit/:
#
#     sh run.sh            # with python3: tests, then cuda.py
#     sh run.sh python3.12 --quick
#     sh run.sh python3.12 first --limit 420
#
# Nothing is installed but into the folder lib/ beside this file. What comes after the interpreter goes to cuda.py; with
# `first` before it, to cuda_first.py, which tries everything in a few minutes and ends with one table.
set -eu
cd "$(dirname "$0")"
python=${1:-python3}
[ $# -eq 0 ] || shift
# torch itself is the machine's own, and so is what else it has; `--no-deps` keeps pip from looking for it.
wanted=$("$python" - wheels/*.whl <<'END'
import importlib.util, pathlib, sys
modules = {"pillow": "PIL", "python_dateutil": "dateutil"}
for wheel in sys.argv[1:]:
    name = pathlib.Path(wheel).name.split("-")[0]
    if name == "everybatch" or not importlib.util.find_spec(modules.get(name, name)):
        print(wheel)
END
)
[ -d lib ] || "$python" -m pip install --quiet --no-index --no-deps --no-compile --target lib $wanted
export PYTHONPATH="$PWD/lib" PYTHONDONTWRITEBYTECODE=1
# Plugins of the machine's own pytest may need what is not there.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
[ ! -d data ] || export EVERYBATCH_DATA="$PWD/data"
"$python" -c 'import torch, everybatch; print("torch", torch.__version__, "everybatch", everybatch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name(0))'
if [ "${1:-}" = first ]; then
    shift
    exec "$python" benches/cuda_first.py "$@"
fi
# Only these files: others import what is not in the kit.
"$python" -m pytest -m cuda -p no:cacheprovider tests/test_cuda*.py tests/test_meter_module.py && passed=0 || passed=$?
"$python" benches/cuda.py "$@"
exit $passed
