"""`catseye serve`: answers over HTTP. Every limit of the server is an option here."""

from pathlib import Path
from typing import Annotated, Any

import typer

from catseye.cli.options import Debug, Json, Trust
from catseye.cli.printing import print_json, stdout
from catseye.errors import MissingDependency


def serve(
    model: Annotated[Path, typer.Argument(help="A file that `catseye export` wrote.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; others than this machine need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    uds: Annotated[
        Path | None, typer.Option("--uds", help="A unix socket to listen at instead.", show_default=False)
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A name to answer by, besides this machine's own.", show_default=False),
    ] = None,
    root_path: Annotated[
        str, typer.Option("--root-path", help="The prefix that a proxy serves us under: /cats.", show_default=False)
    ] = "",
    cors_origin: Annotated[
        list[str] | None,
        typer.Option("--cors-origin", help="A site whose pages may ask; * for all.", show_default=False),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=256, help="Processes; one is replaced when it dies.")
    ] = 1,
    watch: Annotated[
        bool, typer.Option("--watch", help="Take a new version of the file in, once it is proved.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            envvar="CATSEYE_TOKEN_FILE",
            help="Callers have to send what stands in it.",
            show_default=False,
        ),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without a token.")] = False,
    runtime: Annotated[str, typer.Option("--runtime", help="auto, cpu, cuda, tensorrt, openvino.")] = "auto",
    trust: Trust = False,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=0, max=256, help="Calls side by side; 0: measured.")
    ] = 0,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=0, max=1024, help="Images per call at most; 0: measured.")
    ] = 0,
    max_body: Annotated[int, typer.Option("--max-body", min=1024, help="Bytes of a request's body.")] = 20_000_000,
    max_pixels: Annotated[int, typer.Option("--max-pixels", min=1, help="Pixels of an image.")] = 50_000_000,
    max_header: Annotated[int, typer.Option("--max-header", min=1024, help="Bytes of a request's headers.")] = 16_384,
    max_parts: Annotated[int, typer.Option("--max-parts", min=1, help="Parts of a form.")] = 64,
    max_queue: Annotated[int, typer.Option("--max-queue", min=1, help="Images that wait; more get 503.")] = 512,
    max_connections: Annotated[int, typer.Option("--max-connections", min=1, help="More get 503.")] = 2048,
    max_per_address: Annotated[
        int, typer.Option("--max-per-address", min=0, help="Connections of one address; 0: half of all.")
    ] = 0,
    deadline: Annotated[
        float, typer.Option("--deadline", min=0.01, help="Seconds until an image's answer, else 504.")
    ] = 10.0,
    header_time: Annotated[
        float, typer.Option("--header-time", min=0.1, help="Seconds for a request's headers.")
    ] = 10.0,
    body_time: Annotated[float, typer.Option("--body-time", min=0.1, help="Seconds for its body.")] = 30.0,
    write_time: Annotated[
        float, typer.Option("--write-time", min=0.1, help="Seconds in which a caller reads nothing of its answer.")
    ] = 30.0,
    hang_time: Annotated[
        float, typer.Option("--hang-time", min=1, help="Seconds without a sign of life until a worker is replaced.")
    ] = 5.0,
    drain: Annotated[float, typer.Option("--drain", min=0, help="Seconds of `not ready` before a stop.")] = 0.5,
    quiet: Annotated[bool, typer.Option("--quiet", help="Log no request that went well.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer over HTTP: a page at /, POST /predict, the Open Inference Protocol, metrics."""
    try:
        from catseye.serving.command import run_serve as run_server
    except ImportError as error:
        raise MissingDependency(error.name or "uvicorn", "serve") from None
    from catseye.http.limits import Limits
    from catseye.serving.settings import ServerSettings

    limits = Limits(
        body_bytes=max_body,
        max_pixels=max_pixels,
        header_bytes=max_header,
        max_parts=max_parts,
        max_queued=max_queue,
        max_connections=max_connections,
        max_per_address=max_per_address,
        write_s=write_time,
        deadline_s=deadline,
        header_s=header_time,
        body_s=body_time,
    )
    settings = ServerSettings(
        model=model,
        host=host,
        port=port,
        uds=uds,
        allow_hosts=tuple(allow_host or ()),
        root_path=root_path,
        cors_origins=tuple(cors_origin or ()),
        workers=workers,
        hang_s=hang_time,
        watch=watch,
        token_file=token_file,
        insecure=insecure,
        runtime=runtime,
        trust=trust,
        concurrency=concurrency,
        batch_size=batch_size,
        drain_s=drain,
        quiet=quiet,
        limits=limits,
    )

    def ready(facts: dict[str, Any]) -> None:
        if as_json:
            print_json(facts)
            return
        stdout.print(f"[bold]{facts['address']}[/bold]  the page; /docs says how to ask", highlight=False)
        stdout.print(f"curl -X POST -F file=@cat.jpg {facts['address']}/predict", highlight=False)

    code = run_server(settings, ready)
    if code:
        raise typer.Exit(code)
