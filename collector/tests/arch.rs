//! `ggscope arch`: its files are read by networkx, which finds the same graph and the same ranks in them.

use ggscope_trace::testing::{Shape, write};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn demo_model() -> PathBuf {
    let path = root("vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    path.canonicalize().unwrap_or_else(|_| panic!("{} is missing: run `make vendor`", path.display()))
}

fn arch(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ggscope")).arg("arch").arg(demo_model()).args(args).output().unwrap()
}

fn json(args: &[&str]) -> Json {
    let output = arch(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn error(args: &[&str]) -> String {
    let output = arch(args);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

/// What networkx says of the files in a folder, by its own reading of them.
const NETWORKX: &str = r#"
import csv, json, sys, networkx as nx
graphml = nx.read_graphml(sys.argv[1] + "/architecture_graph.graphml", force_multigraph=True)
gexf = nx.read_gexf(sys.argv[1] + "/architecture_graph.gexf")
simple = nx.DiGraph(graphml.edges())
simple.add_nodes_from(graphml.nodes())
ranks = nx.pagerank(simple, tol=1e-15, max_iter=1000)
between = nx.betweenness_centrality(simple)
rows = list(csv.DictReader(open(sys.argv[1] + "/pagerank_results.csv")))
worst = lambda column, of: max(abs(float(r[column]) - of[r["id"]]) for r in rows)
print(json.dumps({
    "nodes": graphml.number_of_nodes(), "edges": graphml.number_of_edges(),
    "gexf": [gexf.number_of_nodes(), gexf.number_of_edges()],
    "kinds": sorted({d["kind"] for _, d in gexf.nodes(data=True)}),
    "parameters": sum(int(d["parameters"]) for n, d in graphml.nodes(data=True) if d["kind"] != "layer"),
    "rows": len(rows), "pagerank": worst("pagerank", ranks), "betweenness": worst("betweenness", between),
}))
"#;

#[test]
fn networkx_reads_the_files_and_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("out/deep");
    let answer = json(&["-o", folder.to_str().unwrap()]);
    let python = root("vendor/python/bin/python");
    assert!(python.exists(), "{} is missing: run `make test`", python.display());
    let read = Command::new(python).args(["-c", NETWORKX]).arg(&folder).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let read: Json = serde_json::from_slice(&read.stdout).unwrap();
    let (nodes, edges) = (answer["nodes"].as_array().unwrap().len(), answer["edges"].as_array().unwrap().len());
    assert_eq!((read["nodes"].as_u64(), read["edges"].as_u64()), (Some(nodes as u64), Some(edges as u64)));
    assert_eq!((read["rows"].as_u64(), read["gexf"][0].as_u64()), (Some(nodes as u64), Some(nodes as u64)));
    assert_eq!(read["parameters"], 134_515_008);
    for measure in ["pagerank", "betweenness"] {
        let worst = read[measure].as_f64().unwrap();
        assert!(worst < 1e-9, "{measure} differs by {worst}");
    }
    let written: Json =
        serde_json::from_slice(&std::fs::read(folder.join("architecture_graph.json")).unwrap()).unwrap();
    assert_eq!(written["nodes"], answer["nodes"]);
    let layers = std::fs::read_to_string(folder.join("layer_statistics.csv")).unwrap();
    assert_eq!(layers.lines().count(), 31);
}

#[test]
fn a_run_of_the_model_is_tied_to_its_parts_and_another_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (run, other) = (dir.path().join("run.ggtrace"), dir.path().join("other.ggtrace"));
    write(&run, Shape { n_kv: 32, ..Shape::default() }, 5, 9).finish().unwrap();
    // Nothing was computed in it.
    ggscope_trace::TraceWriter::create(&other, false, &ggscope_trace::testing::recording())
        .and_then(|writer| writer.finish())
        .unwrap();
    let answer = json(&["--trace", run.to_str().unwrap(), "--weight", "time", "--edges", "feeds_into"]);
    let node = |id: &str| answer["nodes"].as_array().unwrap().iter().find(|n| n["id"] == id).unwrap();
    assert_eq!(node("layer_3_feed_forward")["measured"]["accesses"], 30);
    assert_eq!(answer["analytics"]["weight"], "time");
    let error = error(&["--trace", other.to_str().unwrap()]);
    assert!(error.contains("other.ggtrace is no run of") && error.lines().count() == 1, "{error}");
}

#[test]
fn the_dashboard_is_written_or_it_is_said_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let output = arch(&["-o", dir.path().to_str().unwrap()]);
    assert!(output.status.success());
    match std::fs::read_to_string(dir.path().join("complete_dashboard.html")) {
        Ok(page) => {
            assert!(page.contains("\"total\":134515008") && !page.contains("GGSCOPE_MODEL"));
            assert!(page.len() < 10 << 20, "{} bytes", page.len());
        }
        // A collector that was built alone has no page to put the model into.
        Err(_) => {
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("complete_dashboard.html is not written") && said.contains("make"), "{said}");
        }
    }
}

#[test]
fn wrong_wishes_are_one_clear_line() {
    for (args, said) in [
        (&["--weight", "time"][..], "--weight time needs a run of the model"),
        (&["--layer", "30"], "has no layer 30: it has layers 0 to 29"),
        (&["--device", "cuda:99"], "cuda:99 was asked for"),
        (&["-o", "/dev/null/x"], "cannot make the folder /dev/null/x"),
        (&["--trace", "/absent.ggtrace"], "/absent.ggtrace"),
    ] {
        let error = error(args);
        assert!(error.contains(said) && error.lines().count() == 1, "{args:?}: {error}");
    }
}
