"""Dequantises with the gguf package, which is written in numpy: what tests/gguf_python.rs compares with.

    dequantize.py types                     prints the names of the types that it can dequantise
    dequantize.py rows TYPE BYTES           writes the floats of the blocks in the file BYTES to stdout, little-endian
    dequantize.py model FILE                prints name, number of elements and CRC-32 of the floats of every tensor
    dequantize.py errors FILE REFERENCE     prints name, RMSE, relative error, SQNR, cosine and bias of every tensor
    dequantize.py distribution FILE NAME P… prints mean, RMS, deviation, the quantiles P, and numpy's histogram of 64 bins
"""

import sys
import zlib

import gguf
import numpy as np
from gguf.quants import _type_traits, dequantize


def tensors(path, only=None):
    for tensor in gguf.GGUFReader(path).tensors:
        if only is not None and tensor.name != only:
            continue
        yield tensor.name, dequantize(tensor.data, tensor.tensor_type).astype("<f4").ravel()


what, *args = sys.argv[1:]
# Scales of random bytes are not all finite.
np.seterr(all="ignore")
if what == "types":
    print(*(t.name for t in _type_traits))
elif what == "rows":
    blocks = np.fromfile(args[1], dtype=np.uint8)
    sys.stdout.buffer.write(dequantize(blocks, gguf.GGMLQuantizationType[args[0]]).astype("<f4").tobytes())
elif what == "model":
    for name, floats in tensors(args[0]):
        print(name, floats.size, zlib.crc32(np.ascontiguousarray(floats)))
elif what == "errors":
    reference = dict(tensors(args[1]))
    for name, floats in tensors(args[0]):
        x, r = floats.astype("f8"), reference[name].astype("f8")
        noise, signal = np.mean((x - r) ** 2), np.mean(r**2)
        cosine = np.dot(x, r) / np.sqrt(np.dot(x, x) * np.dot(r, r))
        print(name, np.sqrt(noise), np.sqrt(noise / signal), 10 * np.log10(signal / noise), cosine, np.mean(x - r))
elif what == "distribution":
    _, floats = next(tensors(args[0], args[1]))
    wide = floats.astype("f8")
    print(np.mean(wide), np.sqrt(np.mean(wide**2)), np.std(wide))
    print(*(np.quantile(floats, float(p), method="inverted_cdf") for p in args[2:]))
    print(*np.histogram(wide, bins=64)[0])
