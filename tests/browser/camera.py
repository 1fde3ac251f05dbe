"""Films for Chromium's fake camera: uncompressed YUV4MPEG2, drawn here."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, NUM_FRAMES = 160, 120, 40


def film(path: Path, kind: str, seed: int = 0) -> Path:
    """A thing that moves before a noisy ground: "disc", "bars", "cross" or "nothing", which is noise alone."""
    rng = np.random.default_rng([seed, len(kind), ord(kind[0])])
    with path.open("wb") as stream:
        stream.write(b"YUV4MPEG2 W%d H%d F10:1 Ip A1:1 C420jpeg\n" % (WIDTH, HEIGHT))
        for number in range(NUM_FRAMES):
            ground = rng.normal(110, 25, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8)
            image = Image.fromarray(ground)
            x, y = WIDTH / 2 + 14 * np.sin(number / 4), HEIGHT / 2 + 10 * np.cos(number / 3)
            _draw(ImageDraw.Draw(image), kind, x, y)
            luma, blue, red = image.convert("YCbCr").split()
            half = (WIDTH // 2, HEIGHT // 2)
            stream.write(b"FRAME\n" + luma.tobytes())
            stream.write(blue.resize(half).tobytes() + red.resize(half).tobytes())
    return path


def _draw(pen: ImageDraw.ImageDraw, kind: str, x: float, y: float) -> None:
    if kind == "disc":
        pen.ellipse((x - 34, y - 34, x + 34, y + 34), fill=(220, 60, 40))
    elif kind == "bars":
        for place in range(-2, 3):
            pen.rectangle((x + 18 * place - 4, y - 40, x + 18 * place + 4, y + 40), fill=(30, 60, 200))
    elif kind == "cross":
        pen.rectangle((x - 40, y - 8, x + 40, y + 8), fill=(250, 230, 60))
        pen.rectangle((x - 8, y - 40, x + 8, y + 40), fill=(250, 230, 60))
