"""The figure of a bench: images per second of each file. Called by cli."""

from typing import Any

from catseye.exporting.bench import Bench


def bench_figure(bench: Bench) -> Any:
    """One group of bars per file, one bar per batch size, on a logarithmic axis.

    Each bar is the best thread setting; the label has the accuracy.
    """
    from matplotlib.figure import Figure

    batches = sorted({row.batch for row in bench.rows})
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(bench.files) * len(batches)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(batches)
    labels = []
    for place, file in enumerate(bench.files):
        accuracy = "" if file.accuracy is None else f"\n{file.accuracy:.2%}"
        labels.append(f"{file.file} ({file.num_bytes / 1e6:.1f} MB){accuracy}")
        for number, batch in enumerate(batches):
            best = max(
                (row for row in bench.rows if (row.file, row.batch) == (file.file, batch)),
                key=lambda row: row.images_per_s,
            )
            position = place + (number - (len(batches) - 1) / 2) * height
            axes.barh(
                position, best.images_per_s, height * 0.9, color=f"C{number}", label=None if place else f"batch {batch}"
            )
            axes.text(
                best.images_per_s, position, f" {best.images_per_s:,.0f}, × {best.ratio:.1f}", va="center", size=7
            )
    axes.set_yticks(range(len(labels)), labels, size=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel(f"images per second, best thread setting; × is against {bench.base} at the same setting")
    axes.legend(fontsize=7)
    return figure
