"""A run's class-activation map for an image, as a PNG overlay. Called by app.py."""

import threading

import torch

from catseye.data.augment import normalise_batch, to_unit
from catseye.data.sources import ImageSet
from catseye.errors import UsageError
from catseye.explanation.cam import explain_batch
from catseye.preprocess import preprocess_sized
from catseye.runtimes.model_file import OpenedModel
from catseye.serving.heat_map import heat_map_png


class Heat:
    """Grad-CAM of one run, over the images of a desk."""

    def __init__(self, model: OpenedModel, images: ImageSet) -> None:
        self.model, self.images = model, images
        self._lock = threading.Lock()

    def over(self, index: int, label: str) -> bytes:
        """The map of a class over an image.

        Raises:
            UsageError: the run does not know the class, or there is no such image. ImageError: it cannot be read.

        """
        classes, spec = self.model.manifest.classes, self.model.manifest.preprocessing
        if label not in classes:
            raise UsageError(f"the run knows {', '.join(classes[:20])}; got {label!r}; choose one of these")
        if not 0 <= index < len(self.images):
            raise UsageError(f"images have numbers 0 to {len(self.images) - 1:,}; got {index}")
        pixels, size_px = preprocess_sized(self.images.read(index), spec)
        with self._lock:
            x = torch.from_numpy(pixels[None]).to(self.model.device).permute(0, 3, 1, 2)
            target = torch.tensor([classes.index(label)], device=x.device)
            maps = explain_batch(self.model.layers(), normalise_batch(to_unit(x), spec), target)  # type: ignore[arg-type]
        return heat_map_png(maps[0].cpu().numpy(), size_px, spec)
