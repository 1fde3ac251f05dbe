"""The epochs of a run: rows that can be read, tabulated and drawn.

Enters: the rows of history.jsonl. Leaves: `EpochRows`, a figure. Called by runs.py and training/finish.py. No torch.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from catseye.notebook import MAX_SHOWN, as_frame, html_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class EpochRows(list[dict[str, Any]]):
    """One row per finished epoch.

    `epoch` is from 1, losses are in nats, accuracies 0 to 1; then `lr`, `seconds` and `images_per_s`. A value that was
    not finite in training is None.
    """

    def plot(self) -> "Figure":
        """Loss and accuracy per epoch, training beside held-out, as a matplotlib figure."""
        return curves_figure(self)

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame.

        Raises:
            MissingDependency: pandas is not installed.

        """
        return as_frame(list(self))

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for row in self for name in row))
        return html_table(names, ([_four_digits(row.get(name)) for name in names] for row in self[-MAX_SHOWN:]))


def _four_digits(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else value


def curves_figure(history: Sequence[Mapping[str, Any]]) -> "Figure":
    """Loss and accuracy per epoch, training beside held-out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for side in ("train", "val", "test"):
            values = [row.get(f"{side}_{quantity}") for row in history]
            if any(value is not None for value in values):
                axes.plot(epochs, values, marker=".", label=side)
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
