# slim.sh VENV: remove what serving never imports, and compile what it does: a read-only image cannot do that later.
set -eu
cd "$1"/lib/python3*/site-packages
# Tools of ONNX Runtime that make models, tools of NumPy that compile or test.
rm -rf onnxruntime/transformers onnxruntime/tools onnxruntime/quantization onnxruntime/datasets onnxruntime/backend
rm -rf numpy/f2py numpy/distutils
rm -f numpy/_core/_simd.* numpy/_core/_*_tests.*
# AVIF images are not accepted, and no log colours source code.
rm -f PIL/_avif.* pillow.libs/libavif-* pygments/lexers/[a-z]*.py
find . -type d -name tests -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.a' \) -delete
# Not everything, which would be 19 MB: only what a start imports.
PYTHONDONTWRITEBYTECODE=1 "$1"/bin/python - <<'END'
import py_compile
import sys

import catseye.cli
import catseye.runtimes.inspection
import catseye.serving.command
import catseye.serving.reload
import catseye.serving.worker
import catseye.serving.server
import catseye.serving.supervisor
import httptools
import PIL.BmpImagePlugin, PIL.GifImagePlugin, PIL.JpegImagePlugin, PIL.PngImagePlugin, PIL.WebPImagePlugin
import prometheus_client.multiprocess
import uvicorn.protocols.http.httptools_impl
import uvloop

for module in list(sys.modules.values()):
    path = getattr(module, "__file__", None) or ""
    if path.startswith(sys.prefix) and path.endswith(".py"):
        py_compile.compile(path, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
END
