"""Many texts as compressed bytes."""

from collections.abc import Iterable
from zlib import compress, decompress

_END = "\0"


def packed_texts(texts: Iterable[str]) -> bytes:
    """Return texts without zero characters, compressed."""
    return compress("".join(text + _END for text in texts).encode(errors="surrogatepass"), 1)


def texts_in(packed: bytes) -> list[str]:
    """Return the texts that `packed_texts` compressed."""
    return decompress(packed).decode(errors="surrogatepass").split(_END)[:-1]
