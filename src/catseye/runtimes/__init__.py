"""Model files of every format, opened: ONNX, OpenVINO, TorchScript, torch.export, TensorRT, and run folders.

Enters: a path. Leaves: an `OpenedModel` that answers, or what is inside the file. Called by every verb that takes a
model.

    formats.py          the one table of suffixes: reader, trust, runtimes
    loading.py          `open_model`, the one way in, and `catseye.load`
    model_file.py       `OpenedModel`: an opened model of any format, and the checks that all share
    weights.py          run folders and model.safetensors, computed by torch
    reopening.py        a loaded model in another process, pickled or forked
    onnx.py             ONNX Runtime; no torch, safe to open from a stranger
    onnx_bound.py       a session asked through buffers that stay where they are, for CUDA and its graphs
    onnx_structure.py   what is inside an ONNX file, from its bytes alone
    openvino.py         OpenVINO .xml and .bin
    openvino_structure.py  what an IR says, and the model that OpenVINO has read, judged
    trial.py            a call that native code may not survive, made in a child process first
    torch.py            TorchScript, torch.export and AOTInductor files, with trust only
    torch_archive.py    what is inside a TorchScript file or a .pt2, from its bytes alone
    tensorrt.py         a TensorRT engine on the GPU it was built for
    tensorrt_engine_file.py  manifest and plan of an engine in one file
    inspection.py       the walk behind `catseye info`
"""
