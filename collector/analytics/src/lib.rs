//! Graph analytics on the CPU and on CUDA: numbers about nodes and edges, whatever these stand for.
