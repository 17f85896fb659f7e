"""The build backend (PEP 517): maturin, told where torch is.

The extension is compiled and linked against the torch that it will run with. Left alone, torch-sys (the crate
that binds libtorch) asks whatever ``python3`` comes first on PATH, which in an environment that is not
activated is the wrong one, and Cargo remembers the answer, which after a build in pip's temporary environment
is a folder that is gone. So this backend finds torch itself and hands Cargo the same, lasting path every
time: a link in ``target/``.

The Makefile also runs this file:

    python build_backend/everybatch_build.py requirements GROUP...
        lists requirements; the groups are `build`, `runtime` and the extras of pyproject.toml
    python build_backend/everybatch_build.py env
        shell lines that give a plain `cargo` the environment that maturin gets, to reuse what it built
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LINKS = ROOT / "target" / "libtorch"
Settings = Mapping[str, Any] | None
WHERE_IS_TORCH = """
import importlib.metadata
torch = importlib.metadata.distribution("torch")
print(torch.version)
print(torch.locate_file("torch"))
"""


# ---------------------------------------------------------------- the hooks that pip calls


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """Ask for torch (gigabytes) only where the environment being installed into lacks it."""
    check_tools()
    return [] if target_torch() else [torch_requirement()]


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    """Nothing is compiled for a source distribution."""
    return []


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    """Write the ``.dist-info`` folder; nothing is compiled."""
    check_tools()
    return _maturin().prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Compile the extension and pack it with the Python sources."""
    _enter_build_environment()
    return _maturin().build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Compile the extension into ``python/everybatch`` and point the environment there (``pip -e``)."""
    _enter_build_environment()
    for earlier in (ROOT / "python" / "everybatch").glob("_core.*.so"):
        earlier.unlink()  # one that is named for one version of Python would be imported before the new one
    return _maturin().build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """Pack the sources."""
    check_tools()
    return _maturin().build_sdist(sdist_directory, config_settings)


get_requires_for_build_editable = get_requires_for_build_wheel
prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def _maturin() -> Any:
    # Not imported at the top: the Makefile also runs this file before maturin is installed.
    import maturin

    # Its Python part runs the program of the same name from PATH, which without build isolation, in an
    # environment that is not activated, has another maturin or none.
    for file in importlib.metadata.files("maturin") or []:
        if file.stem == "maturin" and file.parent.name in {"bin", "Scripts"}:
            folder = Path(str(file.locate())).resolve().parent
            os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return maturin


# ---------------------------------------------------------------- what the build needs


def check_tools() -> None:
    """Stop with advice, before gigabytes are fetched, if a compiler or Python's headers are missing."""
    if not shutil.which("cargo"):
        sys.exit(
            "everybatch is compiled from Rust here, and `cargo` is not on PATH. "
            "Install Rust from https://rustup.rs (or your system's packages), open a new shell and try again."
        )
    compiler = os.environ.get("CXX") or "c++"
    if not shutil.which(shlex.split(compiler)[0]):
        sys.exit(
            f"everybatch needs a C++ compiler, and `{compiler}` is not on PATH. "
            "On Debian or Ubuntu: sudo apt install g++; on Fedora: sudo dnf install gcc-c++."
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            f"everybatch needs the C headers of Python {version}, and {headers}/Python.h is not there. "
            f"On Debian or Ubuntu: sudo apt install python{version}-dev."
        )


def torch_requirement() -> str:
    """Return the line of pyproject.toml that asks for torch, such as ``torch==2.11.0``."""
    return next(line for line in requirements("runtime") if re.match(r"torch\b", line))


def requirements(group: str) -> list[str]:
    """Return the requirements of one group, as written in pyproject.toml.

    Parameters
    ----------
    group
        ``"build"`` (with torch), ``"runtime"``, or the name of an extra.
    """
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if group == "build":
        return [*settings["build-system"]["requires"], torch_requirement()]
    if group == "runtime":
        return list(settings["project"]["dependencies"])
    extras = settings["project"]["optional-dependencies"]
    if group not in extras:
        sys.exit(f"unknown group of requirements {group!r}; there are build, runtime, {', '.join(extras)}")
    return list(extras[group])


# ---------------------------------------------------------------- where torch is


def target_torch() -> Path | None:
    """Return torch's folder in the environment being installed into, None if the right release is not there.

    pip hides that environment while it builds, but runs the same interpreter. A second one, started without
    pip's variables (``-E``) and away from this folder (``-P``), sees the environment as it is.
    """
    done = subprocess.run([sys.executable, "-EPc", WHERE_IS_TORCH], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return _if_right(lines[0], Path(lines[1])) if done.returncode == 0 and len(lines) == 2 else None


def isolated_torch() -> Path | None:
    """Return torch's folder in the build environment that pip made, or None."""
    try:
        found = importlib.metadata.distribution("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    return _if_right(found.version, Path(str(found.locate_file("torch"))))


def _if_right(version: str, folder: Path) -> Path | None:
    wanted = torch_requirement().partition("==")[2].strip()
    complete = (folder / "lib").is_dir() and (folder / "include").is_dir()
    return folder if complete and version.partition("+")[0] == wanted else None


def flavour(torch: Path) -> str:
    """Name what decides whether compiled code can be used again: torch's full version, Python's version."""
    text = (torch / "version.py").read_text(encoding="utf-8")
    match = re.search(r"__version__ = '([^']+)'", text)
    version = match.group(1) if match else "unknown"
    return f"{version}-cp{sys.version_info.major}{sys.version_info.minor}"


def _point(link: Path, folder: Path) -> None:
    # A fresh link renamed over the old one, so that a build that runs at the same time never sees none.
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.symlink_to(folder, target_is_directory=True)
    fresh.replace(link)


# ---------------------------------------------------------------- what Cargo is told


def build_environment() -> dict[str, str]:
    """Check the tools, find torch and return the variables that the build needs."""
    check_tools()
    lasting = target_torch()
    torch = lasting or isolated_torch()
    if torch is None:
        sys.exit(
            f"everybatch is compiled against {torch_requirement()}, which {sys.executable} does not have. "
            f'Install it first ("{sys.executable}" -m pip install "{torch_requirement()}"), '
            "or build without --no-build-isolation."
        )
    name = flavour(torch)
    link = LINKS / name
    _point(link, torch)
    if lasting:
        # .cargo/config.toml names this one, for `cargo test --no-default-features` in a plain shell.
        _point(LINKS / "current", lasting)
    python = _base_python()
    newer = {} if sys.version_info < (3, 14) else {"PYO3_USE_ABI3_FORWARD_COMPATIBILITY": "1"}  # than this PyO3 knows
    return newer | {
        "LIBTORCH": str(link),
        "LIBTORCH_INCLUDE": str(link),
        "LIBTORCH_LIB": str(link),
        "LIBTORCH_CXX11_ABI": "1",
        # The two that maturin sets, to the values that it would choose.
        "PYO3_PYTHON": python,
        "PYO3_ENVIRONMENT_SIGNATURE": f"cpython-{sys.version_info.major}.{sys.version_info.minor}-64bit",
        # Not the environment's own interpreter: its path would make Cargo compile anew in every environment.
        "MATURIN_PEP517_USE_BASE_PYTHON": "1",
        "PATH": f"{_interpreter_folder(python)}{os.pathsep}{os.environ['PATH']}",
    }


def _enter_build_environment() -> None:
    for name in ("LIBTORCH_USE_PYTORCH", "LIBTORCH_STATIC"):  # torch-sys would look elsewhere for torch
        os.environ.pop(name, None)
    os.environ.update(build_environment())


def _base_python() -> str:
    base = getattr(sys, "_base_executable", "")
    return str(Path(base).resolve()) if base and Path(base).exists() else sys.executable


def _interpreter_folder(python: str) -> Path:
    # torch-sys asks `python3` or `python` for the folder of Python's headers. Beside an interpreter such as
    # /usr/bin/python3.12 these may be missing or another version, so both names are made here.
    folder = LINKS / f"python-cp{sys.version_info.major}{sys.version_info.minor}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("python", "python3"):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(python)} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    return folder


def main(arguments: list[str]) -> None:
    """Answer the Makefile's questions; see the top of this file."""
    match arguments:
        case ["requirements", *groups] if groups:
            print("\n".join(dict.fromkeys(line for group in groups for line in requirements(group))))
        case ["env"]:
            for name, value in build_environment().items():
                print(f"export {name}={shlex.quote(value)}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
