"""Times networkx's PageRank on the edges that benches/graphs.rs wrote: prints the seconds for building its graph and the
seconds of the call, and writes the ranks."""

import sys
import time

import networkx as nx
import numpy as np

source, ranks, nodes, tolerance = sys.argv[1:]
edges = np.fromfile(source, dtype="<u4").reshape(-1, 2)
start = time.perf_counter()
graph = nx.DiGraph()
graph.add_nodes_from(range(int(nodes)))
graph.add_edges_from(edges.tolist())
built = time.perf_counter() - start
start = time.perf_counter()
scores = nx.pagerank(graph, tol=float(tolerance))
print(built, time.perf_counter() - start)
np.fromiter((scores[node] for node in range(int(nodes))), dtype="<f8").tofile(ranks)
