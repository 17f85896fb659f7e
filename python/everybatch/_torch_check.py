"""The first thing that ``import everybatch`` does: make sure that the torch it was compiled against is there.

The extension calls libtorch's C++ interface, which changes with every release of torch. Loaded next to
another one it would fail with an unreadable list of missing symbols, or worse, not fail.
"""

from __future__ import annotations

import sys

__all__ = ["TORCH_VERSION", "require_torch"]

#: The one release of torch that this package is built for; the same as in pyproject.toml.
TORCH_VERSION = "2.11.0"


def require_torch() -> None:
    """Import torch and check its version.

    The part after a plus sign, as in ``2.11.0+cpu``, names the flavour (CPU, CUDA release) and may be
    anything.

    Raises
    ------
    ImportError
        If torch is missing, is a different release, or cannot be loaded. The message says which release is
        needed, which was found, and the command that puts it right.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise ImportError(_explain(f"torch lacks its module {error.name!r}")) from error
        raise ImportError(_explain("torch is not installed")) from error
    except (ImportError, OSError) as error:
        raise ImportError(_explain(f"torch is installed, but cannot be loaded ({error})")) from error
    found = getattr(torch, "__version__", None)
    if found is None:
        # A folder called torch in the working directory, say, which Python takes for an empty package.
        where = getattr(torch, "__file__", None) or list(getattr(torch, "__path__", []))
        raise ImportError(_explain(f"the torch found at {where} is not PyTorch"))
    if str(found).partition("+")[0] != TORCH_VERSION:
        raise ImportError(_explain(f"found torch {found}"))


def _explain(found: str) -> str:
    return (
        f"everybatch needs torch {TORCH_VERSION}, the release that it is compiled against; {found}. "
        f'To put it right: {sys.executable} -m pip install "torch=={TORCH_VERSION}"'
    )
