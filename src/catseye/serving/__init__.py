"""An exported model behind HTTP: model, batcher, application, page. No torch.

Enters: requests. Leaves: JSON. Called by cli, and by AWS Lambda.

    command.py       the walk behind `catseye serve`
    settings.py      the options of `catseye serve`, and the limits
    server.py        one process: load, measure, listen, answer, drain
    app.py           the routes, one handler each
    queries.py       ?top=5&explain=cam
    engine.py        bytes to probabilities: decoding threads, then the batcher
    lanes.py         queues before the decoders: ordinary images, and those that take much memory
    batcher.py       batches whatever is queued; never waits for more
    tuning.py        concurrent calls x images per call, measured at start-up
    runtimes.py      opens an exported file with the requested runtime
    gpu_session.py   measures which ONNX Runtime options are fastest on a GPU
    served_model.py  rows in, probabilities out
    schemas.py       the JSON of the responses
    heat_map.py      the class-activation map, as a PNG to lay over the image
    inference_v2.py  the Open Inference Protocol
    metrics.py       /metrics
    metrics_folder.py the folder in which several workers keep their counters
    progress.py      whether calls of the model still finish
    front.py         the path prefix of a proxy, and CORS
    tensor_text.py   long arrays of numbers in JSON
    openapi.py       /openapi.json
    aws_lambda.py    the same responses without a server, for AWS Lambda
    aws_events.py    events of API Gateway and function URLs, read as requests
    reload.py        --watch: a new model file, checked before it is served
    supervisor.py    --workers: processes started, watched, replaced
    worker.py        one of them
    page.py          the files of the page, in memory
"""
