"""Many texts or numbers as compressed bytes."""

from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, pairwise
from zlib import compress, decompress

_END = "\0"


def packed_texts(texts: Iterable[str]) -> bytes:
    """Return texts without zero characters, compressed."""
    return compress("".join(text + _END for text in texts).encode(errors="surrogatepass"), 1)


def texts_in(packed: bytes) -> list[str]:
    """Return the texts that `packed_texts` compressed."""
    return decompress(packed).decode(errors="surrogatepass").split(_END)[:-1]


def packed_numbers(numbers: Iterable[int]) -> bytes:
    """Return numbers, compressed. Those with the same difference from one to the next take hardly any space."""
    return packed_texts(str(number - before) for before, number in pairwise(chain([0], numbers)))


def numbers_in(packed: bytes) -> Iterator[int]:
    """Return the numbers that `packed_numbers` compressed."""
    return accumulate(map(int, texts_in(packed)))
