"""The sentence for what cannot be a layer: where it is, what it is, what to do."""

from __future__ import annotations

from everybatch.errors import UnsupportedModuleError

__all__ = ["METER", "refused"]

METER = "eb.Meter measures any module as it is, in a loop of your own"


def refused(path: str, what: str, do: str = METER) -> UnsupportedModuleError:
    """Return the error.

    Parameters
    ----------
    path
        Of the submodule, as in `named_modules`; empty for the module itself.
    what
        What it does that cannot be had, after "from_torch: <path> ".
    do
        A way out.
    """
    if not do.startswith(("eb.", "torch.")):
        do = do[0].upper() + do[1:]
    return UnsupportedModuleError(f"from_torch: {path or 'the module'} {what}. {do}.")
