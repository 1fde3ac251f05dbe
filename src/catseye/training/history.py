"""history.jsonl, one line per finished epoch, and the same for TensorBoard where asked for. Called by `fit.py`."""

import json
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from catseye.errors import MissingDependency
from catseye.files import write_atomically
from catseye.runs import Run


@dataclass
class History:
    """history.jsonl, and TensorBoard where asked for. Rows of epochs that are run again are dropped."""

    run: Run
    finished_epochs: int
    writer: Any = None
    rows: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.run.history[: self.finished_epochs]

    def append(self, row: dict[str, Any]) -> None:
        """Add the row of a finished epoch; a number that is none becomes null, for JSON has no NaN."""
        row = {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in row.items()}
        self.rows.append(row)
        lines = [json.dumps(each) for each in self.rows]
        write_atomically(self.run.path / "history.jsonl", "\n".join(lines) + "\n")
        if self.writer is not None:
            for name, value in row.items():
                if name != "epoch" and value is not None:
                    self.writer.add_scalar(name, value, row["epoch"])
            self.writer.flush()


def summary_writer(run: Run) -> Any:
    """TensorBoard's writer into the run folder."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingDependency("tensorboard", "tensorboard") from None
    return SummaryWriter(str(run.path / "tensorboard"))
