//! Every measure on every shape of graph, against networkx.

mod support;

use ggscope_compute::{
    Betweenness, Error, Graph, Leiden, NodeId, PageRank, Parallel, Sources, Weights, all_shortest_paths, betweenness,
    core_numbers, degrees, distances, k_shortest_paths, leiden, longest_path, modularity, pagerank, shortest_path,
    strong_components, weak_components,
};
use serde_json::{Value, json};
use support::{Case, assert_near, networkx, numbers, zoo};

fn weight(case: &Case) -> (Weights, Option<&'static str>) {
    match case.weights.is_some() || case.multi {
        true => (Weights::Use, Some("weight")),
        false => (Weights::Ignore, None),
    }
}

/// The zoo without the cases that networkx has no answer for.
fn cases(wanted: impl Fn(&Case) -> bool) -> Vec<Case> {
    let cases: Vec<Case> = zoo().into_iter().filter(wanted).collect();
    assert!(cases.len() > 20);
    cases
}

#[test]
fn pagerank_is_that_of_networkx() {
    let cases = cases(|_| true);
    let questions: Vec<(&Case, Vec<Value>)> = cases
        .iter()
        .map(|case| {
            let weight = weight(case).1;
            let person: Vec<f64> = (0..case.nodes).map(|v| f64::from(v as u32 % 3)).collect();
            let person = (case.nodes > 1).then_some(person);
            let sinks: Vec<f64> = (0..case.nodes).map(|v| 1.0 + v as f64).collect();
            let ask = vec![
                json!(["pagerank", weight, 0.85, null, null]),
                json!(["pagerank", weight, 0.5, person, null]),
                json!(["pagerank", weight, 0.9, person, sinks]),
            ];
            (case, ask)
        })
        .collect();
    for ((case, ask), answers) in questions.iter().zip(networkx(&questions)) {
        let graph = case.graph();
        for (question, answer) in ask.iter().zip(&answers) {
            let list = |i: usize| question[i].as_array().map(|_| numbers(&question[i]));
            let (personalization, dangling) = (list(3), list(4));
            let options = PageRank {
                damping: question[2].as_f64().unwrap(),
                tolerance: 1e-15,
                max_iterations: 1000,
                weights: weight(case).0,
                personalization: personalization.as_deref(),
                dangling: dangling.as_deref(),
            };
            let ranks = pagerank(&graph, &options).unwrap();
            assert_near(&case.name, &ranks.scores, &numbers(answer), 1e-12);
            let sum: f64 = ranks.scores.iter().sum();
            assert!(case.nodes == 0 || (sum - 1.0).abs() < 1e-12, "{}: {sum}", case.name);
        }
    }
}

#[test]
fn betweenness_is_that_of_networkx() {
    let cases = cases(|_| true);
    let questions: Vec<(&Case, Vec<Value>)> = cases
        .iter()
        .map(|case| {
            let weight = weight(case).1;
            let sources: Vec<usize> = (0..case.nodes).step_by(3).collect();
            let mut ask = vec![
                json!(["betweenness", weight, true, false, null]),
                json!(["betweenness", weight, false, false, null]),
                json!(["betweenness", weight, true, true, null]),
                json!(["betweenness", weight, false, true, null]),
            ];
            if case.nodes == 929 {
                // networkx takes seconds for each.
                ask.truncate(1);
            } else if sources.len() > 1 {
                ask.push(json!(["betweenness", weight, true, false, sources]));
                ask.push(json!(["betweenness", weight, false, true, sources]));
            }
            (case, ask)
        })
        .collect();
    for ((case, ask), answers) in questions.iter().zip(networkx(&questions)) {
        let graph = case.graph_with(Parallel::Min);
        for (question, answer) in ask.iter().zip(&answers) {
            let list: Vec<NodeId> = (0..case.nodes as u32).step_by(3).map(NodeId).collect();
            let sampled = !question[4].is_null();
            let options = Betweenness {
                normalized: question[2].as_bool().unwrap(),
                endpoints: question[3].as_bool().unwrap(),
                lengths: weight(case).0,
                sources: if sampled { Sources::These(&list) } else { Sources::All },
            };
            let ours = betweenness(&graph, &options).unwrap();
            assert_eq!(ours.sources, if sampled { list.len() } else { case.nodes });
            assert_near(&format!("{}, {question}", case.name), &ours.scores, &numbers(answer), 1e-12);
        }
    }
}

#[test]
fn degrees_cores_and_components_are_those_of_networkx() {
    let cases = cases(|_| true);
    // networkx counts parallel edges of a multigraph in the core number; ours are one edge by then.
    let ask = |case: &Case| {
        let mut ask = vec![json!(["degrees", weight(case).1]), json!(["weak"]), json!(["strong"])];
        if !case.multi {
            ask.push(json!(["cores"]));
        }
        ask
    };
    let questions: Vec<(&Case, Vec<Value>)> = cases.iter().map(|case| (case, ask(case))).collect();
    for ((case, _), answers) in questions.iter().zip(networkx(&questions)) {
        let graph = case.graph();
        let ours = degrees(&graph, weight(case).0);
        for (ours, theirs) in [&ours.into, &ours.out, &ours.all].into_iter().zip(answers[0].as_array().unwrap()) {
            assert_near(&case.name, ours, &numbers(theirs), 1e-12);
        }
        for (ours, theirs) in [(weak_components(&graph), &answers[1]), (strong_components(&graph), &answers[2])] {
            let mut sets = vec![Vec::new(); ours.sizes.len()];
            ours.of.iter().enumerate().for_each(|(node, c)| sets[c.0 as usize].push(node));
            let sizes: Vec<usize> = sets.iter().map(Vec::len).collect();
            assert_eq!(sizes, ours.sizes, "{}", case.name);
            assert!(sizes.is_sorted_by(|a, b| a >= b), "{}", case.name);
            sets.sort();
            assert_eq!(&json!(sets), theirs, "{}", case.name);
        }
        if let Some(theirs) = answers.get(3) {
            let ours: Vec<f64> = core_numbers(&graph).into_iter().map(f64::from).collect();
            assert_eq!(ours, numbers(theirs), "{}", case.name);
        }
    }
}

#[test]
fn communities_are_as_good_as_the_best_of_five_runs_of_networkx() {
    let cases = cases(|case| !case.edges.is_empty());
    let found: Vec<_> = cases
        .iter()
        .flat_map(|case| [0.5, 1.0, 2.0].map(|resolution| (case, resolution)))
        .map(|(case, resolution)| {
            let options = Leiden { resolution, weights: weight(case).0, ..Leiden::default() };
            (case, resolution, leiden(&case.graph(), &options).unwrap())
        })
        .collect();
    let questions: Vec<(&Case, Vec<Value>)> = found
        .iter()
        .map(|(case, resolution, communities)| {
            let of: Vec<u32> = communities.of.iter().map(|c| c.0).collect();
            let weight = weight(case).1;
            (*case, vec![json!(["louvain", weight, resolution]), json!(["modularity", weight, resolution, of])])
        })
        .collect();
    for (case, _, communities) in &found {
        let inside: Vec<(NodeId, NodeId)> = case.edges.iter().map(|&(a, b)| (NodeId(a), NodeId(b))).collect();
        let same = |&(a, b): &(NodeId, NodeId)| communities.of[a.0 as usize] == communities.of[b.0 as usize];
        let inside: Vec<_> = inside.into_iter().filter(same).collect();
        let inside = Graph::unweighted(case.nodes, case.direction, &inside).unwrap();
        assert_eq!(weak_components(&inside).sizes, communities.sizes, "{}: not connected", case.name);
    }
    let mut better = 0;
    for ((case, resolution, ours), answers) in found.iter().zip(networkx(&questions)) {
        let (best, check) = (answers[0].as_f64().unwrap(), answers[1].as_f64().unwrap());
        assert!((ours.modularity - check).abs() < 1e-12, "{}: {} is {check}", case.name, ours.modularity);
        let enough = ours.modularity >= best - 0.01;
        assert!(enough, "{}, resolution {resolution}: {} < {best}", case.name, ours.modularity);
        better += usize::from(ours.modularity > best + 1e-9);
        let again = modularity(&case.graph(), &ours.of, weight(case).0, *resolution).unwrap();
        assert_eq!(again, ours.modularity);
    }
    println!("better than the best of five runs of Louvain in {better} of {} cases", found.len());
}

#[test]
fn shortest_paths_are_those_of_networkx() {
    let cases = cases(|case| case.nodes > 1 && !case.multi);
    let target = |case: &Case| if case.nodes == 929 { 200 } else { case.nodes - 1 };
    let questions: Vec<(&Case, Vec<Value>)> = cases
        .iter()
        .map(|case| {
            let (weight, target) = (weight(case).1, target(case));
            let mut ask = vec![json!(["distances", 0, weight]), json!(["all_shortest", 0, target, weight])];
            if case.nodes <= 200 {
                ask.push(json!(["k_shortest", 0, target, weight, 12]));
            }
            (case, ask)
        })
        .collect();
    for ((case, _), answers) in questions.iter().zip(networkx(&questions)) {
        let graph = case.graph();
        let lengths = weight(case).0;
        let (source, target) = (NodeId(0), NodeId(target(case) as u32));
        let ours = distances(&graph, source, lengths).unwrap();
        assert_eq!(ours, numbers(&answers[0]), "{}", case.name);
        let one = shortest_path(&graph, source, target, lengths).unwrap();
        assert_eq!(one.as_ref().map_or(f64::INFINITY, |path| path.length), ours[target.0 as usize], "{}", case.name);

        let all = all_shortest_paths(&graph, source, target, lengths, 1000).unwrap();
        assert!(!all.more);
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        let mut paths: Vec<Vec<u32>> = all.paths.iter().map(|path| ids(&path.nodes)).collect();
        paths.sort();
        assert_eq!(json!(paths), answers[1], "{}", case.name);
        if let Some(one) = one {
            assert!(paths.contains(&ids(&one.nodes)), "{}", case.name);
        }
        let Some(theirs) = answers.get(2) else { continue };
        let several = k_shortest_paths(&graph, source, target, lengths, 12).unwrap();
        let lengths: Vec<f64> = several.paths.iter().map(|path| path.length).collect();
        assert_eq!(lengths, numbers(theirs), "{}", case.name);
        let mut different: Vec<_> = several.paths.iter().map(|path| ids(&path.nodes)).collect();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), lengths.len(), "{}: a path twice", case.name);
    }
}

#[test]
fn the_longest_path_is_as_long_as_that_of_networkx() {
    let acyclic = |case: &Case| {
        case.is_directed() && case.nodes > 0 && case.edges.iter().all(|(a, b)| a < b) && case.weights.is_some()
    };
    let cases: Vec<Case> = zoo().into_iter().filter(acyclic).collect();
    assert!(cases.len() >= 6);
    let questions: Vec<_> = cases.iter().map(|case| (case, vec![json!(["longest", "weight"])])).collect();
    for ((case, _), answers) in questions.iter().zip(networkx(&questions)) {
        let ours = longest_path(&case.graph(), None, Weights::Use).unwrap();
        assert_eq!(ours.length, answers[0].as_f64().unwrap(), "{}", case.name);
    }
}

#[test]
fn numbers_do_not_depend_on_threads() {
    let mut random = fastrand::Rng::with_seed(3);
    let (nodes, count) = (20_000, 100_000);
    let edges: Vec<_> = (0..count).map(|_| (random.u32(0..nodes as u32), random.u32(0..nodes as u32))).collect();
    let weights = (0..count).map(|_| random.f64() + 0.1).collect();
    let direction = ggscope_compute::Direction::Directed;
    let case = Case { name: "large".into(), nodes, edges, weights: Some(weights), direction, multi: true };
    let compute = || {
        let graph = case.graph();
        let sources = Sources::Sample { count: 70, seed: 1 };
        let options = Betweenness { sources, lengths: Weights::Use, ..Betweenness::default() };
        let between = betweenness(&graph, &options).unwrap();
        let communities = leiden(&graph, &Leiden { iterations: 1, tries: 2, ..Leiden::default() }).unwrap();
        (pagerank(&graph, &PageRank::default()).unwrap(), between, communities)
    };
    let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(compute);
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(5));
}

#[test]
fn more_shortest_paths_than_a_number_can_hold() {
    // 1,100 diamonds in a row: 2^1100 shortest paths from end to end, and all of them through every joint.
    let diamonds = 1100;
    let edges = (0..diamonds).flat_map(|d| {
        let joint = d * 3;
        [(joint, joint + 1), (joint, joint + 2), (joint + 1, joint + 3), (joint + 2, joint + 3)]
    });
    let nodes = diamonds as usize * 3 + 1;
    let edges: Vec<(u32, u32)> = edges.collect();
    let lengths = vec![0.5; edges.len()];
    let direction = ggscope_compute::Direction::Directed;
    let case = Case { name: "diamonds".into(), nodes, edges, weights: Some(lengths), direction, multi: false };
    for lengths in [Weights::Ignore, Weights::Use] {
        let options = Betweenness { normalized: false, lengths, ..Betweenness::default() };
        let scores = betweenness(&case.graph(), &options).unwrap().scores;
        for joint in (0..nodes).step_by(3) {
            let through = joint as f64 * (nodes - 1 - joint) as f64;
            assert!((scores[joint] - through).abs() <= 1e-12 * through, "joint {joint}: {}", scores[joint]);
        }
        // Half of what goes through its diamond, and half of what begins or ends at ends of it.
        let side = scores[1501];
        assert!((side - (1500.0 + 1.0) * (nodes - 1503) as f64 / 2.0).abs() < 1e-6, "{side}");
    }
}

#[test]
fn what_cannot_be_computed_is_said() {
    let two = [(0, 1), (1, 0)].map(|(a, b)| (NodeId(a), NodeId(b)));
    let graph = |weights: &[f64; 2]| {
        let direction = ggscope_compute::Direction::Directed;
        ggscope_compute::Graph::weighted(2, direction, &two, weights, Parallel::Sum).unwrap()
    };
    let ones = graph(&[1.0, 1.0]);
    let rank = |options: PageRank| pagerank(&ones, &options).unwrap_err().to_string();
    let default = PageRank::default();
    assert_eq!(rank(PageRank { damping: 1.5, ..default }), "damping is 1.5: it must be from 0 to 1");
    assert_eq!(rank(PageRank { damping: f64::NAN, ..default }), "damping is NaN: it must be from 0 to 1");
    assert_eq!(rank(PageRank { tolerance: 0.0, ..default }), "tolerance is 0: it must be a positive number");
    let person = PageRank { personalization: Some(&[1.0]), ..default };
    assert_eq!(rank(person), "personalization: 1 values for 2 nodes");
    let person = PageRank { personalization: Some(&[1.0, f64::NAN]), ..default };
    assert!(rank(person).starts_with("the personalization of node 1 is NaN: "));
    let person = PageRank { personalization: Some(&[0.0, 0.0]), ..default };
    assert_eq!(rank(person), "personalization: all are 0, at least one must be positive");
    let swing = PageRank { damping: 1.0, personalization: Some(&[1.0, 0.0]), ..default };
    assert!(pagerank(&ones, &swing).is_ok(), "starts even, so there is nothing to swing");
    let three = ggscope_compute::Graph::unweighted(
        3,
        ggscope_compute::Direction::Undirected,
        &[(NodeId(0), NodeId(1)), (NodeId(1), NodeId(2))],
    );
    let swing = pagerank(&three.unwrap(), &PageRank { damping: 1.0, ..default });
    assert!(matches!(swing, Err(Error::NotConverged { iterations: 100, .. })));

    // Edges of weight 0 lead nowhere: both nodes dangle.
    assert_eq!(pagerank(&graph(&[0.0, 0.0]), &default).unwrap().scores, [0.5, 0.5]);
    let lengths = Betweenness { lengths: Weights::Use, ..Betweenness::default() };
    assert_eq!(betweenness(&graph(&[1.0, 0.0]), &lengths), Err(Error::ZeroLength { from: 1, to: 0 }));
    let none = leiden(&graph(&[0.0, 0.0]), &Leiden::default()).unwrap();
    assert_eq!((none.sizes, none.modularity), (vec![1, 1], 0.0));
    let bad = Leiden { resolution: f64::NAN, ..Leiden::default() };
    assert!(leiden(&ones, &bad).unwrap_err().to_string().starts_with("resolution is NaN"));
    let far = shortest_path(&ones, NodeId(0), NodeId(7), Weights::Use).unwrap_err();
    assert_eq!(far.to_string(), "the target is node 7, but the graph has only 2 nodes (ids count from 0)");
    let few = Betweenness { sources: Sources::Sample { count: 1, seed: 0 }, ..Betweenness::default() };
    assert_eq!(betweenness(&ones, &few).unwrap_err().to_string(), "sources is 1: an estimate takes at least 2");
}
