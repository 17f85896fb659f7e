"""Ready-made data sets, and readers for one's own and for published files.

`mnist`, `fashion_mnist` and `kmnist` find their files on this machine or download them; `glyphs` draws digits
and needs no file; `default` is MNIST where it is at hand and the glyphs elsewhere. `from_idx`, `from_npz`, `from_csv`
and `from_folder` read files of one's own; `from_cifar`, `from_emnist`, `from_medmnist`, `from_qmnist` and `from_svhn`
the published files of these sets; `from_huggingface` takes a data set of Hugging Face. Arrays go straight into
`everybatch.Dataset`, data sets of PyTorch into `everybatch.Dataset.from_torch`.
"""

from everybatch.datasets._builtin import default, glyphs
from everybatch.datasets._cifar import from_cifar
from everybatch.datasets._csv import from_csv
from everybatch.datasets._emnist import from_emnist
from everybatch.datasets._folder import from_folder
from everybatch.datasets._huggingface import from_huggingface
from everybatch.datasets._idx import from_idx
from everybatch.datasets._medmnist import from_medmnist
from everybatch.datasets._named import fashion_mnist, kmnist, mnist
from everybatch.datasets._npz import from_npz
from everybatch.datasets._qmnist import from_qmnist
from everybatch.datasets._svhn import from_svhn

__all__ = [
    "default",
    "fashion_mnist",
    "from_cifar",
    "from_csv",
    "from_emnist",
    "from_folder",
    "from_huggingface",
    "from_idx",
    "from_medmnist",
    "from_npz",
    "from_qmnist",
    "from_svhn",
    "glyphs",
    "kmnist",
    "mnist",
]
