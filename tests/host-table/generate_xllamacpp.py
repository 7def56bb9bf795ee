"""What a Python program does with xllamacpp: the server inside the process, one answer. Prints its text.

    python generate_xllamacpp.py MODEL
"""
import sys

import xllamacpp as x
p = x.CommonParams()
p.model.path = sys.argv[1]
p.n_ctx = 256
p.n_predict = 8
p.n_parallel = 1
p.warmup = False
p.cpuparams.n_threads = 1
p.cpuparams_batch.n_threads = 1
s = x.Server(p)
r = s.handle_completions({"prompt": "The capital of France is", "max_tokens": 8, "temperature": 0})
print(r["choices"][0]["text"])
