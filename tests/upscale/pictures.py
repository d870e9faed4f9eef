"""Photos as cameras and programs write them."""

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a/></x:xmpmeta>'
IPTC = b"\x1c\x02\x78\x00\x05Hello"


def camera_exif(orientation: int = 1) -> Image.Exif:
    """Maker, date, exposure, place, the picture's own size and a preview's place."""
    exif = Image.Exif()
    exif.update(
        {
            ExifTags.Base.Make: "Maker",
            ExifTags.Base.Orientation: orientation,
            ExifTags.Base.DateTime: "2026:01:02 03:04:05",
            ExifTags.Base.XResolution: 300.0,
            ExifTags.Base.YResolution: 300.0,
        }
    )
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {
            ExifTags.Base.ExposureTime: IFDRational(1, 60),
            ExifTags.Base.ExifImageWidth: 6,
            ExifTags.Base.ExifImageHeight: 4,
        }
    )
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (52.0, 30.0, 1.5)})
    return exif


def app13(record: bytes = IPTC) -> bytes:
    """A JPEG's block with an IPTC record."""
    body = b"Photoshop 3.0\x008BIM" + struct.pack(">H2sI", 0x0404, b"\0\0", len(record)) + record
    body += b"\0" * (len(record) % 2)
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def file_of(pixels: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    """A file's content."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Pixels that are no two alike."""
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
