"""Model files of every format, opened: ONNX, OpenVINO, torch's, TensorRT, runs.

Enters: a path. Leaves: an `OpenedModel` that classifies, or the contents of the file. Called by every command that
takes a model.

    formats.py          the one table of suffixes: reader, trust, runtimes
    loading.py          `open_model`, the one way in, and `catseye.load`
    model_file.py       `OpenedModel`: an opened model of any format, and the checks that all share
    weights.py          run folders and model.safetensors, computed by torch
    reopening.py        a loaded model in another process, pickled or forked
    onnx.py             ONNX Runtime; no torch, safe to open from a stranger
    onnx_bound.py       a session with buffers at fixed addresses, for CUDA and its graphs
    onnx_structure.py   what is inside an ONNX file, from its bytes alone
    openvino.py         OpenVINO .xml and .bin
    openvino_structure.py  checks of an IR's text and of the model that OpenVINO read from it
    trial.py            a call that may crash native code, made in a child process first
    torch.py            TorchScript, torch.export and AOTInductor files, with trust only
    torch_archive.py    what is inside a TorchScript file or a .pt2, from its bytes alone
    tensorrt.py         a TensorRT engine on the GPU it was built for
    tensorrt_engine_file.py  manifest and plan of an engine in one file
    inspection.py       the walk behind `catseye info`
"""
