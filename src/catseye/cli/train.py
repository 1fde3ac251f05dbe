"""`catseye train`, and two verbs that train to measure: `lr-find`, `timeline`."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from catseye.cli.early import require_device, require_network, require_settings
from catseye.cli.options import (
    DataDir,
    Device,
    GroupColumn,
    ImageColumn,
    LabelColumn,
    Layout,
    NoCache,
    Out,
    Seed,
    SplitColumn,
    Strict,
)
from catseye.cli.places import one_data, require_data, require_model, require_out_folder
from catseye.cli.printing import common_options, headline, next_step, print_json, show, stderr, tell
from catseye.errors import UsageError
from catseye.machine.cores import process_age_s
from catseye.settings.merge import own_settings
from catseye.settings.promise import promised_s, refuse_beside_time
from catseye.settings.typed import parse_duration, parse_track


def train_verb(
    data: Annotated[
        str | None, typer.Argument(help="Folder of class folders, .zip, .csv, or digits, mnist, cifar10 …")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A name from `catseye models`.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", "-r", help="auto (default), quick, photos, transfer, classic or a TOML file."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", "-e", help="Short for --set training.epochs.")] = None,
    time_limit: Annotated[
        str | None,
        typer.Option("--time", help="90s, 10m, 1h: the best model that trials find in that time."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="A file of your settings, which override the recipe.")
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. training.lr=0.05.")] = None,
    no_skip: Annotated[bool, typer.Option("--no-skip", help="residual or tower without skips.")] = False,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Start from published ImageNet weights.")] = False,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", help="With --pretrained: auto, feature-extraction, fine-tune, full, scratch."),
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="A local file of published weights.")] = None,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", help="Also learn from this run's answers (distillation).")
    ] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Continue this interrupted run.")] = None,
    place: Annotated[
        str | None, typer.Option("--data", help="With --resume: where the run's images are now, if they were moved.")
    ] = None,
    corrections: Annotated[
        Path | None,
        typer.Option("--corrections", help="Decisions of `catseye review`, matched by content.", show_default=False),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            "--track", help="Also report to tensorboard, mlflow[:URI] or wandb[:PROJECT].", show_default=False
        ),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Short for --track tensorboard.")] = False,
    nproc: Annotated[int, typer.Option("--nproc", min=1, help="Processes of this machine, one per GPU.")] = 1,
    max_restarts: Annotated[
        int, typer.Option("--max-restarts", min=0, help="With --nproc: restart from the checkpoint at most this often.")
    ] = 0,
    layout: Layout = "auto",
    image_column: ImageColumn = "",
    label_column: LabelColumn = "",
    split_column: SplitColumn = "",
    group_column: GroupColumn = "",
    out: Out = None,
    seed: Seed = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    strict: Strict = False,
    no_cache: NoCache = False,
) -> None:
    """Train a classifier on labelled images and measure it on held-out ones."""
    data = one_data(data, place)
    require_data(data)
    if resume is None:
        require_out_folder(out, Path("runs"))
    if teacher is not None:
        require_model(teacher)
    require_device(device)
    if track is not None:
        parse_track(track)
    if time_limit is not None:  # before torch is loaded, which takes seconds
        promised_s(time_limit)
        named = {"epochs": epochs, "resume": resume, "teacher": teacher, "track": track, "tensorboard": tensorboard}
        own = own_settings(config=config, overrides=overrides or [], values={})
        if strategy:
            own.setdefault("transfer", {})["strategy"] = strategy
        refuse_beside_time({**named, "recipe": recipe, "nproc": nproc}, own)
    options: dict[str, Any] = {
        "recipe": recipe,
        "model": model,
        "epochs": epochs,
        "time": time_limit,
        "seed": seed,
        "config": config,
        "set": overrides or [],
        "no_skip": no_skip,
        "strict": strict,
        "corrections": corrections,
        "out": out,
        "resume": resume,
        "pretrained": pretrained,
        "strategy": strategy,
        "weights": weights,
        "teacher": teacher,
        "layout": layout,
        "image_column": image_column,
        "label_column": label_column,
        "split_column": split_column,
        "group_column": group_column,
    }
    require_settings(data, options)
    if max_restarts and nproc == 1:
        raise UsageError("--max-restarts would do nothing without --nproc 2 or more; leave it out")
    if nproc > 1:
        from catseye.training.launch import launch

        raise typer.Exit(launch(nproc, max_restarts, sys.argv[1:]))
    import catseye
    from catseye.evaluation.guessing import beats_guessing, too_few_to_decide
    from catseye.training.auto import next_thing
    from catseye.training.progress import EpochProgress

    trained = catseye.train(
        data,
        **options,
        max_restarts=max_restarts,
        device=device,
        data_dir=data_dir,
        track=track or (),
        tensorboard=tensorboard,
        console=stderr,
        progress=EpochProgress,
        begun_s=time.monotonic() - process_age_s(),
    )
    if not trained.first:
        return
    if common_options.json:
        print_json({"run": str(trained.path), "split": trained.side, **trained.metrics.to_json()})
        return
    tell(f"{headline(trained.metrics)} on the {trained.side} split", bold=True)
    if not beats_guessing(trained.metrics):
        settings, source, few = trained.run.settings, trained.run.data["source"], too_few_to_decide(trained.metrics)
        tell(f"try: {next_thing(settings, source, trained.input_px, too_few=few)}")
    tell(f"run folder: {trained.path}")
    next_step("catseye", "evaluate", trained.path)
    next_step("catseye", "predict", trained.path, "IMAGE…")


def lr_find_verb(
    data: Annotated[str, typer.Argument(help="As in train.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="A name from `catseye models`.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="quick, transfer, classic or a TOML file.")] = "quick",
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as in train.")] = None,
    steps: Annotated[int, typer.Option("--steps", min=10, max=10_000, help="Largest number of steps.")] = 100,
    out: Out = None,
    seed: Seed = None,
    device: Device = "auto",
    data_dir: DataDir = None,
) -> None:
    """Find a learning rate: where the loss falls fastest while the rate grows.

    It trains only briefly.
    """
    require_data(data)
    require_out_folder(out, Path("runs"))
    require_device(device)
    require_settings(data, {"recipe": recipe, "model": model, "set": overrides or [], "seed": seed})
    import catseye
    from catseye.evaluation.figures import save_figure
    from catseye.runs import create_run

    curve = catseye.lr_find(
        data,
        recipe=recipe,
        model=model,
        set=overrides or [],
        steps=steps,
        seed=seed,
        device=device,
        data_dir=data_dir,
        console=stderr,
    )
    folder = create_run(out, f"{Path(data).stem}-lr-find").path
    save_figure(curve.plot(), folder / "lr-find.png")
    if common_options.json:
        points = {"rates": curve.rates.tolist(), "losses": curve.losses.tolist()}
        print_json({"suggestion": curve.suggestion, **points})
        return
    tell(f"suggestion: --set training.lr={curve.suggestion:.2g}", bold=True)
    tell(f"written: {folder / 'lr-find.png'}")


def timeline_verb(
    data: Annotated[str, typer.Argument(help="As in train.")],
    budget: Annotated[str, typer.Option("--budget", help="Training time of each network: 90s, 10m, 1h.")] = "10m",
    models: Annotated[list[str] | None, typer.Option("--model", "-m", help="Only these; may be repeated.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as in train.")] = None,
    out: Out = None,
    seed: Seed = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    no_cache: NoCache = False,
) -> None:
    """Train networks from LeNet-5 to ConvNeXt on the same images for equal time."""
    require_data(data)
    require_out_folder(out, Path("runs"))
    require_device(device)
    parse_duration(budget)
    for name in models or []:
        require_network(name)
    import catseye
    from catseye.training.timeline import timeline_table

    timeline = catseye.timeline(
        data,
        budget=budget,
        model=models or [],
        set=overrides or [],
        seed=seed,
        out=out,
        device=device,
        data_dir=data_dir,
        console=stderr,
    )
    if common_options.json:
        print_json([vars(result) for result in timeline.results])
        return
    show(timeline_table(timeline.results))
    tell(f"written: {timeline.folder / 'timeline.json'}, timeline.md, timeline.png")
