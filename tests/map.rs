//! ARCHITECTURE.md agrees with the workspace: the same crates, the same arrows, and every file that it names exists.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn map() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Crates of the map in its order, each with the crates that it may use.
fn crates_of_the_map(map: &str) -> Vec<(String, BTreeSet<String>)> {
    let rows = map.lines().filter(|line| line.starts_with("| `ggscope-"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let uses = quoted(cells[4]).map(|name| format!("ggscope-{name}")).collect();
        (quoted(cells[1]).next().unwrap().to_owned(), uses)
    })
    .collect()
}

/// Crates of the workspace, each with the crates of the workspace that it depends on when it is built.
fn crates_of_the_workspace() -> BTreeMap<String, BTreeSet<String>> {
    let mut cargo = Command::new(env!("CARGO"));
    let out = cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(ROOT).output();
    let out = out.unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let ours = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|d| d["kind"].is_null()).map(name).filter(|d| d.starts_with("ggscope-")).collect()
    };
    packages.iter().map(|package| (name(package), ours(package))).collect()
}

#[test]
fn the_map_has_the_crates_of_the_workspace_and_their_arrows() {
    let map: BTreeMap<_, _> = crates_of_the_map(&map()).into_iter().collect();
    assert_eq!(map, crates_of_the_workspace());
}

#[test]
fn a_crate_uses_only_crates_above_it() {
    let mut above = BTreeSet::new();
    for (name, uses) in crates_of_the_map(&map()) {
        let below: Vec<_> = uses.difference(&above).collect();
        assert!(below.is_empty(), "{name} stands above {below:?}, which it uses");
        above.insert(name);
    }
    assert!(above.len() > 10, "only {} crates were read", above.len());
}

#[test]
fn every_path_of_the_map_exists() {
    let map = map();
    let paths: Vec<&str> = quoted(&map).filter(|name| name.contains('/') && !name.contains(' ')).collect();
    assert!(paths.len() > 25, "only {} paths were read", paths.len());
    let missing: Vec<_> = paths.iter().filter(|path| !Path::new(ROOT).join(path).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names {missing:?}");
}
