"""The codec for images of Pillow: their pixels as they are, so that no decoder of an image format reads the bytes."""

from typing import Any, Final

from .._base.text import short
from .._base.type_registry import TypeRegistry
from .value_codecs import CannotStore, ValueCodec, library
from .value_parts import Blob

_MODES: Final = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"),
    *("I", "I;16", "F"),
)


def _dump_image(image: Any) -> list[Any]:
    if image.mode not in _MODES:
        raise CannotStore(f"an image of mode {image.mode} cannot be stored", 'write image.convert("RGB")')
    pixels = Blob(image.tobytes())
    palette = [image.palette.mode, image.palette.tobytes()] if image.mode in ("P", "PA") else None
    return [image.mode, [*image.size], palette, _plain_info(image), pixels]


def _plain_info(image: Any) -> dict[str, Any]:
    """Return the notes of an image that a file can store: numbers, texts and bytes."""
    kinds = (str, int, float, bytes, tuple)
    return {str(name): note for name, note in image.info.items() if type(note) in kinds}


def _load_image(dumped: Any) -> Any:
    pillow = library("PIL.Image")
    mode, (width, height), palette, info, content = dumped
    count, size = width * height, len(content.buffer)
    # Before the image is made, which allocates all its pixels. A pixel has at least one bit.
    if mode not in _MODES or min(width, height) < 0 or count > 8 * size:
        raise ValueError(f"an image claims {width} x {height} pixels of mode {short(mode)}, in {size:,} bytes")
    made = (
        pillow.frombytes(mode, (width, height), bytes(content.buffer)) if count else pillow.new(mode, (width, height))
    )
    if palette is not None:
        made.putpalette(palette[1], palette[0])
    made.info.update(info)
    return made


def _same_image(left: Any, right: Any) -> bool:
    """Whether two images have the same pixels; one that was opened from a file comes back as a plain image."""
    if (left.mode, left.size) != (right.mode, right.size) or left.tobytes() != right.tobytes():
        return False
    return left.mode not in ("P", "PA") or bool(left.getpalette("RGBA") == right.getpalette("RGBA"))


VALUE_CODECS: Final = TypeRegistry(
    {"PIL.Image.Image": ValueCodec("PIL.Image.Image", _dump_image, _load_image, _same_image)}
)
