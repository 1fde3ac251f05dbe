"""An exported model behind HTTP: model, batcher, application, page. No torch anywhere in this room.

Enters: requests. Leaves: JSON. Called by cli, and by AWS Lambda.

    command.py       the walk behind `catseye serve`
    settings.py      all it can be told, and its limits
    server.py        one process: load, measure, listen, answer, drain
    app.py           the routes, one handler each
    queries.py       ?top=5&explain=cam
    engine.py        bytes to probabilities: decoding threads, then the batcher
    lanes.py         queues before the decoders: ordinary images, and those that take much memory
    batcher.py       takes what waits, never waits for more
    tuning.py        calls side by side x images per call, measured at start-up
    runtimes.py      opens any exported file, with the runtime of one's choice
    gpu_session.py   how ONNX Runtime is asked on a GPU, measured
    served_model.py  rows in, probabilities out
    schemas.py       the shapes of the answers
    heat_map.py      where the class was seen, as a PNG over the image
    inference_v2.py  the Open Inference Protocol
    metrics.py       /metrics
    metrics_folder.py where several workers count together
    progress.py      whether the threads of the model still come back
    front.py         behind a path prefix, and asked by pages of other sites
    tensor_text.py   long arrays of numbers in JSON
    openapi.py       /openapi.json
    aws_lambda.py    the same answers without a server, for AWS Lambda
    aws_events.py    what API Gateway and function URLs send, as a request
    reload.py        --watch: a new file, proved before it answers
    supervisor.py    --workers: processes started, watched, replaced
    worker.py        one of them
    page.py          the files of the page, in memory
"""
