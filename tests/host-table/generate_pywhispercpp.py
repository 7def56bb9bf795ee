"""What a Python program does with pywhispercpp: ggml without llama.cpp and without a GGUF. Prints the tokens of one second of sound.

    python generate_pywhispercpp.py
"""
import pathlib
import struct
import tempfile

import numpy as np
from pywhispercpp.model import Model

VOCAB, AUDIO_CTX, STATE, HEADS, LAYERS, TEXT_CTX, MELS, FFT = 51864, 1500, 64, 2, 1, 64, 80, 201
F16 = 1
rng = np.random.default_rng(1)


def tensors():
    """Names and shapes, ggml's order, of whisper.cpp's loader."""
    yield "encoder.positional_embedding", (STATE, AUDIO_CTX)
    yield "encoder.conv1.weight", (3, MELS, STATE)
    yield "encoder.conv1.bias", (1, STATE)
    yield "encoder.conv2.weight", (3, STATE, STATE)
    yield "encoder.conv2.bias", (1, STATE)
    yield from pair("encoder.ln_post", STATE)
    yield "decoder.positional_embedding", (STATE, TEXT_CTX)
    yield "decoder.token_embedding.weight", (STATE, VOCAB)
    yield from pair("decoder.ln", STATE)
    for side, attentions in (("encoder", ["attn"]), ("decoder", ["attn", "cross_attn"])):
        for block in (f"{side}.blocks.{i}" for i in range(LAYERS)):
            yield from pair(f"{block}.mlp_ln", STATE)
            yield from pair(f"{block}.mlp.0", STATE, 4 * STATE)
            yield from pair(f"{block}.mlp.2", 4 * STATE, STATE)
            for attention in attentions:
                yield from pair(f"{block}.{attention}_ln", STATE)
                for matrix in ("query", "value", "out"):
                    yield from pair(f"{block}.{attention}.{matrix}", STATE, STATE)
                yield f"{block}.{attention}.key.weight", (STATE, STATE)


def pair(name, *shape):
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[-1:]


def write(path):
    """A model with random weights, in the format of whisper.cpp's converter."""
    with open(path, "wb") as out:
        out.write(struct.pack("<12I", 0x67676D6C, VOCAB, AUDIO_CTX, STATE, HEADS, LAYERS, TEXT_CTX, STATE, HEADS, LAYERS, MELS, F16))
        out.write(struct.pack("<2I", MELS, FFT) + rng.random(MELS * FFT, dtype=np.float32).tobytes())
        out.write(struct.pack("<I", 256) + b"".join(struct.pack("<I", 1) + bytes([i]) for i in range(256)))
        for name, shape in tensors():
            kind = F16 if name.endswith("weight") and len(shape) > 1 else 0
            out.write(struct.pack(f"<3I{len(shape)}I", len(shape), len(name), kind, *shape) + name.encode())
            values = rng.standard_normal(shape, dtype=np.float32) * 0.1
            out.write(values.astype(np.float16 if kind == F16 else np.float32).tobytes())


with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "tiny.bin"
    write(path)
    model = Model(str(path), n_threads=1, max_tokens=8, single_segment=True, print_progress=False, print_realtime=False, print_timestamps=False, no_speech_thold=1.1, logprob_thold=-1e9, entropy_thold=-1.0, temperature_inc=0.0)
    sound = np.sin(np.arange(16000, dtype=np.float32) / 20)
    print([segment.text for segment in model.transcribe(sound)])
