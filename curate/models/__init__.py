"""Models: the only place, with `curate.train`, that imports torch, and only once a model is asked for.

Importing this package costs nothing and needs neither torch nor ray. It leaves a note for the import system: the
torchvision of the package index is built for CUDA, and beside a CPU build of torch its import fails, because its
compiled operators cannot be loaded and it registers fakes for two of them. `open_clip`, `timm` and most of
`transformers` import torchvision, so they would fail too. The note declares the two operators first. Where
torchvision's own library loads, as on a GPU machine, they are there already and nothing is declared.
"""

from curate.models._torchvision import prepare_torchvision

__all__: list[str] = []

prepare_torchvision()
