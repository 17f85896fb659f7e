"""A run as a Parquet file."""

from __future__ import annotations

import json
import os

import numpy as np

from everybatch._arguments import flag
from everybatch._disk import whole_file
from everybatch.export._given import as_run, missing_package
from everybatch.run import Run
from everybatch.runs._tables import columns

__all__ = ["parquet"]


def parquet(run: Run, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the whole history as Parquet: one row per number of optimizer steps taken, 0 to `Run.steps`.

    The columns are those of `Run.history` in the types that they were recorded in; null where nothing was measured.
    The schema's metadata has ``Run.config`` as JSON under the key ``everybatch.config``.

    Parameters
    ----------
    run
        What `everybatch.train` or `everybatch.load_run` returned.
    path
        The file, as a rule ``.parquet``. Its folder must be there.
    overwrite
        Replace a file that is there already.

    Raises
    ------
    ImportError
        pyarrow is not installed.
    FileExistsError, IsADirectoryError, FileNotFoundError, OSError
        `path` is taken, is a folder, lies in no folder, or cannot be written. Nothing is left behind.
    """
    run = as_run(run)
    try:
        import pyarrow
        from pyarrow import parquet as writer
    except ImportError as error:
        raise missing_package("parquet", "pyarrow", "parquet") from error
    table = pyarrow.table(
        {name: pyarrow.array(column.data, mask=np.ma.getmaskarray(column)) for name, column in columns(run).items()},
        metadata={"everybatch.config": json.dumps(run.config)},
    )
    with whole_file(path, overwrite=flag(overwrite, "overwrite")) as file:
        writer.write_table(table, file)
