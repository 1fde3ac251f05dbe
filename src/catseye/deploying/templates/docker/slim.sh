# slim.sh VENV: remove what serving never imports, and write .pyc files, which a read-only image cannot write later.
set -eu
cd "$1"/lib/python3*/site-packages
# Tools of ONNX Runtime that make models, tools of NumPy that compile.
rm -rf onnxruntime/transformers onnxruntime/tools onnxruntime/quantization onnxruntime/datasets onnxruntime/backend
rm -rf numpy/f2py numpy/distutils
find . -type d -name tests -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.a' \) -delete
"$1"/bin/python -m compileall -q --invalidation-mode unchecked-hash .
