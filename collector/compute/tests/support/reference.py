"""Answers questions about graphs with networkx: the reference of the tests.

Reads one JSON list of cases from standard input and writes one JSON list of answers. A case is a graph (`nodes`, `edges`,
`weights` or null, `directed`, `multi`) and a list of `ask`: each [name of a function below, its arguments].
"""

import json
import math
import random
import sys

import networkx as nx


def graph_of(case):
    kinds = {(False, False): nx.Graph, (True, False): nx.DiGraph, (False, True): nx.MultiGraph, (True, True): nx.MultiDiGraph}
    graph = kinds[case["directed"], case["multi"]]()
    graph.add_nodes_from(range(case["nodes"]))
    weights = case["weights"] or [1.0] * len(case["edges"])
    for (a, b), weight in zip(case["edges"], weights):
        graph.add_edge(a, b, weight=weight)
    return graph


def by_node(values, n):
    return [values.get(node, math.inf) for node in range(n)]


class Drawn(random.Random):
    """Draws what it was told to."""

    def sample(self, population, k):
        return self.picked


def pagerank(g, weight, alpha, personalization, dangling):
    vector = lambda values: None if values is None else dict(enumerate(values))
    ranks = nx.pagerank(g, alpha, vector(personalization), 1000, 1e-15, None, weight, vector(dangling))
    return by_node(ranks, len(g))


def betweenness(g, weight, normalized, endpoints, sources):
    draw = Drawn()
    draw.picked = sources
    k = None if sources is None else len(sources)
    return by_node(nx.betweenness_centrality(g, k, normalized, weight, endpoints, draw), len(g))


def degrees(g, weight):
    into = g.in_degree(weight=weight) if g.is_directed() else g.degree(weight=weight)
    out = g.out_degree(weight=weight) if g.is_directed() else g.degree(weight=weight)
    return [by_node(dict(d), len(g)) for d in (into, out, g.degree(weight=weight))]


def louvain(g, weight, resolution):
    """The best modularity of five runs."""
    runs = [nx.community.louvain_communities(g, weight, resolution, seed=seed) for seed in range(5)]
    return max(nx.community.modularity(g, run, weight, resolution) for run in runs)


def modularity(g, weight, resolution, of):
    parts = {}
    for node, part in enumerate(of):
        parts.setdefault(part, set()).add(node)
    return nx.community.modularity(g, list(parts.values()), weight, resolution)


def cores(g):
    g = g.copy()
    g.remove_edges_from(list(nx.selfloop_edges(g)))
    return by_node(nx.core_number(g), len(g))


def sets(parts):
    return sorted(sorted(part) for part in parts)


def weak(g):
    return sets(nx.weakly_connected_components(g) if g.is_directed() else nx.connected_components(g))


def strong(g):
    return sets(nx.strongly_connected_components(g) if g.is_directed() else nx.connected_components(g))


def distances(g, source, weight):
    if weight is None:
        return by_node(nx.single_source_shortest_path_length(g, source), len(g))
    return by_node(nx.single_source_dijkstra_path_length(g, source, weight=weight), len(g))


def all_shortest(g, source, target, weight):
    try:
        return sorted(nx.all_shortest_paths(g, source, target, weight))
    except nx.NetworkXNoPath:
        return []


def k_shortest(g, source, target, weight, k):
    """The lengths of the k shortest simple paths."""
    lengths = []
    try:
        for path in nx.shortest_simple_paths(g, source, target, weight):
            if len(lengths) == k:
                break
            lengths.append(nx.path_weight(g, path, weight) if weight else len(path) - 1)
    except nx.NetworkXNoPath:
        pass
    return lengths


def longest(g, weight):
    return nx.dag_longest_path_length(g, weight)


def main():
    answers = []
    for case in json.load(sys.stdin):
        graph = graph_of(case)
        answers.append([globals()[name](graph, *arguments) for name, *arguments in case["ask"]])
    json.dump(answers, sys.stdout, default=float)


main()
