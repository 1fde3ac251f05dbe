"""Coverage-guided fuzzing of everything that reads bytes of strangers: `make fuzz` (atheris, Linux and macOS).

An input may only lead to an answer or to a refusal of ours. Anything else, a run of more than 5 s or a process of more
than 1 GB is a finding; its input is kept under `regressions/TARGET/` and replayed by the fast suite.

    targets.py           the table of targets and what each of them accepts
    of_http.py           connections, forms, parameters, tensors, events of Lambda
    of_models.py         ONNX, OpenVINO, safetensors, torch archives, TensorRT engine files
    of_data.py           lists, zips, images, settings and plans
    in_child.py          native readers, in a fork that is measured
    entries.py           a zip written down as its entries, so that no checksum stands in a mutation's way
    mutators.py          mutations that keep a format's frame
    seeds.py             writes `seeds/`; python -m tests.fuzz.seeds
    one_target.py        one target under atheris: python -m tests.fuzz.one_target TARGET …
    campaign.py          all targets, findings confirmed and kept: python -m tests.fuzz.campaign --help
    test_replay.py       fast: every seed and every regression, through its target
    test_fuzzing.py      slow: two minutes each
"""
