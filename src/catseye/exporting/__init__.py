"""From a run to a file that runs elsewhere, and the proof that the two answer alike.

Enters: a run. Leaves: one self-describing file, or an error and no file. Called by cli and `catseye.export`.

    export.py           the walk behind `catseye export`
    offered.py          the formats by name, and what is refused; no torch
    drafts.py           how each is built, what its proof allows
    graph.py            the network from image bytes to probabilities, behind every format
    onnx_file.py        that graph as ONNX
    torchscript.py      as TorchScript
    torch_export.py     as a torch.export program or an AOTInductor package
    openvino_ir.py      as OpenVINO IR
    tensorrt_engine.py  as a TensorRT engine; without a GPU, its parser as a check
    int8.py             INT8 by ONNX Runtime: calibrated, sensitive layers found by measuring
    int8_openvino.py    INT8 by NNCF
    held_out.py         the images of the proof, and those an INT8 file is made with
    parity.py           the gate: run against file
    familiarity_proof.py  the same for familiarity, which tells strangers
    map_proof.py        the same for heat maps, against torch's Grad-CAM
    head_gradient.py    Grad-CAM in a graph that has no autograd
    bench.py            files against each other, in turn and repeatedly
    bench_worker.py     one process per measured file
    bench_figure.py     the image of a bench
    model_card.py       export.md
    examples.py         a few images inside the file, where asked for
    golden.py           images, tensors and answers for ports to other languages
"""
