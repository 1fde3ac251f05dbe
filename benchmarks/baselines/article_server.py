"""The server of the tutorials: FastAPI, TorchScript, torchvision, all in one `async def`. For comparison only.

    python article_server.py MODEL.torchscript CLASSES SIDE PORT

It decodes and computes in the event loop, with torch's default threads, as such servers are commonly written.
"""

import io
import json
import sys

import torch
import torch.nn.functional as F
import uvicorn
from fastapi import FastAPI, File, UploadFile
from PIL import Image
from torchvision import transforms

path, classes, side, port = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
app = FastAPI()
model = torch.jit.load(path)
model.eval()
transform = transforms.Compose(
    [
        transforms.Resize((side, side)),
        transforms.ToTensor(),
        transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ]
)


@app.post("/predict")
async def predict(file: UploadFile = File(...)):  # noqa: B008 - FastAPI's own way of saying it
    image = Image.open(io.BytesIO(await file.read())).convert("RGB")
    with torch.no_grad():
        probabilities = F.softmax(model(transform(image).unsqueeze(0)), dim=1)[0]
    confidence, index = torch.max(probabilities, 0)
    return {
        "class": classes[index.item()],
        "confidence": round(confidence.item() * 100, 2),
        "all_probabilities": {
            name: round(share.item() * 100, 2) for name, share in zip(classes, probabilities, strict=True)
        },
    }


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False)
