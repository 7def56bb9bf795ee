"""Dequantises with the gguf package, which is written in numpy: what tests/gguf_python.rs compares with.

    dequantize.py rows TYPE BYTES   writes the floats of the blocks in the file BYTES to stdout, little-endian
    dequantize.py model FILE        prints name, number of elements and CRC-32 of the floats of every tensor of a model
    dequantize.py types             prints the names of the types that it can dequantise
"""

import sys
import zlib

import gguf
import numpy as np
from gguf.quants import _type_traits, dequantize

what, *args = sys.argv[1:]
# Scales of random bytes are not all finite.
np.seterr(all="ignore")
if what == "rows":
    blocks = np.fromfile(args[1], dtype=np.uint8)
    sys.stdout.buffer.write(dequantize(blocks, gguf.GGMLQuantizationType[args[0]]).astype("<f4").tobytes())
elif what == "model":
    for tensor in gguf.GGUFReader(args[0]).tensors:
        floats = dequantize(tensor.data, tensor.tensor_type).astype("<f4")
        print(tensor.name, floats.size, zlib.crc32(np.ascontiguousarray(floats)))
else:
    print(*(t.name for t in _type_traits))
