"""What is known of the named data sets: files, checksums, mirrors, classes. Data only, no code that acts."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["FASHION_MNIST", "KMNIST", "MNIST", "SETS", "IdxFile", "IdxSet"]


@dataclass(frozen=True)
class IdxFile:
    """One file of a set. At least one of the two checksums is known."""

    stem: str
    """Name without ``.gz``."""
    shape: tuple[int, ...]
    content_sha256: str | None = None
    """SHA-256 of the uncompressed file: holds for plain files and however they were compressed."""
    gzip_sha256: str | None = None
    """SHA-256 of the ``.gz`` file as its publisher offers it."""

    @property
    def size(self) -> int:
        """Bytes of the uncompressed file: magic number, 4 for each dimension's length, 1 for each value."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)


@dataclass(frozen=True)
class IdxSet:
    """A data set of four IDX files: training images and labels, test images and labels."""

    name: str
    title: str
    folders: tuple[str, ...]
    """Sub-folders it may lie in, the cache's own first, torchvision's last."""
    mirrors: tuple[str, ...]
    """Addresses of folders, tried in this order; ``stem + ".gz"`` is appended."""
    files: tuple[IdxFile, IdxFile, IdxFile, IdxFile]
    classes: tuple[str, ...]
    archive: str | None = None
    """Keras's name of one ``.npz`` file with all of it."""


def _files(*, content: tuple[str, ...] = (), gzip: tuple[str, ...] = ()) -> tuple[IdxFile, IdxFile, IdxFile, IdxFile]:
    def file(index: int, stem: str, *shape: int) -> IdxFile:
        return IdxFile(stem, shape, content[index] if content else None, gzip[index] if gzip else None)

    return (
        file(0, "train-images-idx3-ubyte", 60_000, 28, 28),
        file(1, "train-labels-idx1-ubyte", 60_000),
        file(2, "t10k-images-idx3-ubyte", 10_000, 28, 28),
        file(3, "t10k-labels-idx1-ubyte", 10_000),
    )


# Mirrors: torchvision's own, and the one that the CVDF keeps with its authors' leave
# (github.com/cvdfoundation/mnist). yann.lecun.com has been empty since 2024. Checksums: of the four files as
# first published in 1998.
MNIST = IdxSet(
    name="mnist",
    title="MNIST",
    folders=("mnist", "MNIST/raw"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files=_files(
        content=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    classes=tuple("0123456789"),
    archive="mnist.npz",
)

# Checksums: the labels' were computed from the repository's own files, whose MD5 is the one in its README;
# the images' are those on which several independent projects agree that also publish the labels' sums given
# here.
FASHION_MNIST = IdxSet(
    name="fashion_mnist",
    title="Fashion-MNIST",
    folders=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw"),
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    files=_files(
        content=(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)

# Only sums of the compressed files are published: these are torchvision-ruby's
# (lib/torchvision/datasets/kmnist.rb). The authors' server is the only one that offers IDX files, and it is
# not always up (github.com/rois-codh/kmnist#29).
KMNIST = IdxSet(
    name="kmnist",
    title="KMNIST",
    folders=("kmnist", "KMNIST/raw"),
    mirrors=(
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ),
    files=_files(
        gzip=(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ),
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)

SETS = (MNIST, FASHION_MNIST, KMNIST)
