"""From a run to a file that runs elsewhere, with proof of equal answers.

Enters: a run. Leaves: one self-describing file, or an error and no file. Called by cli and `catseye.export`.

    export.py           what `catseye export` does, step by step
    offered.py          the formats by name, and the checks of the options; no torch
    drafts.py           how each format is built, and the tolerance of its proof
    graph.py            the network from image bytes to probabilities, behind every format
    onnx_file.py        that graph as ONNX
    torchscript.py      as TorchScript
    torch_export.py     as a torch.export program or an AOTInductor package
    openvino_ir.py      as OpenVINO IR
    hub.py              as a folder for the Hugging Face Hub, for timm
    hub_card.py         its README.md
    tensorrt_engine.py  as a TensorRT engine; without a GPU, its parser as a check
    int8.py             INT8 by ONNX Runtime: calibrated; measures which layers are sensitive
    int8_openvino.py    INT8 by NNCF
    proving.py          writes a file only with proof that it answers as the run does
    held_out.py         the images for the proof and for INT8
    parity.py           the gate: compares run and file
    parity_result.py    what it allows and what it found
    familiarity_proof.py  the same for familiarity, which detects unknown images
    map_proof.py        the same for heat maps, against torch's Grad-CAM
    head_gradient.py    Grad-CAM in a graph without autograd
    bench.py            compares the speed of files, in turn and repeatedly
    bench_worker.py     one process per measured file
    bench_figure.py     the figure of a bench
    model_card.py       export.md
    examples.py         a few images inside the file, on request
    golden.py           images, tensors and answers to test ports to other languages
"""
