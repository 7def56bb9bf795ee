"""What a Python program does with llama-cpp-python: one prompt, one answer, through ctypes. Prints the ids.

    python generate.py MODEL
"""
import sys

from llama_cpp import Llama

llama = Llama(model_path=sys.argv[1], n_ctx=256, n_threads=1, verbose=False)
ids = []
for token in llama.generate(llama.tokenize(b"The capital of France is"), temp=0.0, top_k=1):
    ids.append(token)
    if len(ids) == 8:
        break
print(ids)
