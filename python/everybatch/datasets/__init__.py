"""Ready-made data sets, and readers for one's own.

`mnist`, `fashion_mnist` and `kmnist` find their files on this machine or download them; `glyphs` draws digits
and needs no file; `default` is MNIST where it is at hand and the glyphs elsewhere. `from_idx`, `from_npz` and
`from_folder` read files of one's own; arrays go straight into `everybatch.Dataset`.
"""

from everybatch.datasets._builtin import default, glyphs
from everybatch.datasets._folder import from_folder
from everybatch.datasets._idx import from_idx
from everybatch.datasets._named import fashion_mnist, kmnist, mnist
from everybatch.datasets._npz import from_npz

__all__ = ["default", "fashion_mnist", "from_folder", "from_idx", "from_npz", "glyphs", "kmnist", "mnist"]
