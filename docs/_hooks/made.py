"""A file of the site that does not lie in docs/."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

__all__ = ["DOCS", "ROOT", "Made"]

DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent


@dataclasses.dataclass(frozen=True)
class Made:
    """Where it goes, as if it lay in docs/, and what it is: contents, or a file that has them."""

    uri: str
    content: str | bytes | None = None
    path: Path | None = None

    def file(self, config: Any) -> Any:
        """Return it as MkDocs takes it."""
        from mkdocs.structure.files import File

        if self.path is not None:
            return File.generated(config, self.uri, abs_src_path=str(self.path))
        return File.generated(config, self.uri, content=self.content or "")
