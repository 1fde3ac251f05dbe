"""The CIFAR-10 training loop of the textbooks, written as everyone writes it: what catseye is measured against.

    python benchmarks/baselines/article_loop.py FOLDER --epochs 50

FOLDER holds train/ and test/ with one folder per class. torchvision transforms on Pillow images, two loader
workers, the default memory layout, fp32, SGD with momentum, OneCycleLR per batch. The network is catseye's
`residual`, so that the loop is all that differs.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from catseye.models.residual import ResidualNet

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
BATCH, LR, MOMENTUM, WEIGHT_DECAY, WORKERS = 128, 0.1, 0.9, 1e-4, 2


class Cifar(Dataset[tuple[Tensor, int]]):
    """Decoded images in one array, a Pillow image per access: as torchvision.datasets.CIFAR10 does it."""

    def __init__(self, folder: Path, transform: Callable[[Image.Image], Tensor]) -> None:
        files = datasets.ImageFolder(folder)
        self.data = np.stack([np.asarray(files.loader(path)) for path, _ in files.samples])
        self.targets = list(files.targets)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def make_loader(folder: Path, batch_size: int = BATCH) -> DataLoader[tuple[Tensor, int]]:
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(brightness=0.2, contrast=0.2),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return DataLoader(Cifar(folder / "train", transform), batch_size=batch_size, shuffle=True, num_workers=WORKERS)


def make_model() -> nn.Module:
    return ResidualNet(num_classes=10, in_channels=3, dropout=0.3)


def make_optimizer(model: nn.Module) -> Optimizer:
    return SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def steps(loader: DataLoader[tuple[Tensor, int]], model: nn.Module, optimizer: Optimizer, epochs: int) -> Iterator[int]:
    """Train; after every step the number of images in it."""
    criterion = nn.CrossEntropyLoss()
    scheduler = OneCycleLR(optimizer, max_lr=LR, epochs=epochs, steps_per_epoch=len(loader))
    for epoch in range(epochs):
        model.train()
        running_loss, correct, seen = 0.0, 0, 0
        for images, labels in loader:
            optimizer.zero_grad()
            logits = model(images)
            loss = criterion(logits, labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
            running_loss += loss.item() * len(images)
            correct += (logits.argmax(1) == labels).sum().item()
            seen += len(images)
            yield len(images)
        print(f"epoch {epoch + 1}: loss {running_loss / seen:.3f}, accuracy {correct / seen:.2%}")


def accuracy(model: nn.Module, folder: Path) -> float:
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    loader = DataLoader(Cifar(folder / "test", transform), batch_size=BATCH, num_workers=WORKERS)
    model.eval()
    correct = total = 0
    with torch.no_grad():
        for images, labels in loader:
            correct += int((model(images).argmax(1) == labels).sum())
            total += len(labels)
    return correct / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=50)
    options = parser.parse_args()
    model = make_model()
    for _ in steps(make_loader(options.folder), model, make_optimizer(model), options.epochs):
        pass
    print(f"test accuracy {accuracy(model, options.folder):.2%}")


if __name__ == "__main__":
    main()
