"""From a network for images to its sister for waveforms."""


def window(dims: int, side: int) -> int:
    """Return the window, stride or pooling size that covers as much in `dims` dimensions as `side` does in an image.

    In one dimension that is the square: a 3x3 kernel becomes one of 9 samples, stride 2 becomes 4. So a stage keeps
    its parameters, and the share of the input that it sees.
    """
    return side ** (3 - dims)
