"""What a Python program does with llama-cpp-python: two answers of one context, one after the other. Prints their texts.

    python generate_llama_cpp_python.py MODEL
"""
import sys

from llama_cpp import Llama

model = Llama(sys.argv[1], n_ctx=256, n_threads=1, n_threads_batch=1, verbose=False)
for prompt in ("The capital of France is", "The capital of Italy is"):
    print(model.create_completion(prompt, max_tokens=8, temperature=0)["choices"][0]["text"])
