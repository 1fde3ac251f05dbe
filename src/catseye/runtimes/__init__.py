"""Model files of every format, opened: ONNX, OpenVINO, TorchScript, torch.export, TensorRT, and run folders.

Enters: a path. Leaves: a `ModelFile` that answers, or what is inside the file. Called by every verb that takes a model.

    loading.py          which reader opens a path; the table of suffixes, and which formats need trust
    reopening.py        a loaded model in another process, pickled or forked
    model_file.py       `ModelFile`: an opened file of any format
    onnx.py             ONNX Runtime; no torch, safe to open from a stranger
    onnx_structure.py   what is inside an ONNX file, from its bytes alone
    openvino.py         OpenVINO .xml and .bin
    torch.py            TorchScript, torch.export and AOTInductor files, with trust only
    torch_archive.py    what is inside a TorchScript file or a .pt2, from its bytes alone
    tensorrt.py         a TensorRT engine on the GPU it was built for
    tensorrt_engine_file.py  manifest and plan of an engine in one file
    inspection.py       the walk behind `catseye info`
"""
