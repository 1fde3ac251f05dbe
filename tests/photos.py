"""Images with the spectrum of photographs, and what people do to them on the way from one folder to the next."""

import io

import numpy as np
from PIL import Image, ImageEnhance


def photo(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """(H, W, 3) uint8: three channels of 1/f noise that have most of it in common, as in photographs."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width)[None] * width)
    planes = [
        np.fft.ifft2(np.fft.fft2(rng.normal(size=(height, width))) / np.maximum(frequency, 1)).real for _ in range(4)
    ]
    planes = [plane / plane.std() for plane in planes]
    channels = np.stack([planes[0] + 0.4 * plane for plane in planes[1:]], axis=2)
    return (channels * rng.uniform(30, 55) + rng.uniform(90, 160)).clip(0, 255).astype(np.uint8)


def as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def resized(pixels: np.ndarray, factor: float) -> np.ndarray:
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((round(width * factor), round(height * factor))))


def brighter(pixels: np.ndarray, factor: float) -> np.ndarray:
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(factor))


def contrasted(pixels: np.ndarray, factor: float) -> np.ndarray:
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(pixels)).enhance(factor))


def shifted(pixels: np.ndarray, px: int) -> np.ndarray:
    """Moved right and down; the border is repeated."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((px, 0), (px, 0), (0, 0)), "edge")[:height, :width]
