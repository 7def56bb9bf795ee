//! A context that turns out to draft for another one while somebody looks on: what was told of it is told again.

use ggscope_format::record::SequencesFrom;
use ggscope_server::{Server, Sessions};
use ggscope_trace::TraceWriter;
use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Context, first position and tokens of each evaluation: two prompts, two proposals, and the batch that verifies them.
const ROUND: [(u32, i32, i64); 5] = [(0, 0, 3), (1, 0, 3), (1, 3, 1), (1, 4, 1), (0, 3, 3)];

fn take(writer: &mut TraceWriter, number: u32) {
    let (context, position, n) = ROUND[number as usize];
    let mut stored = llama(number, Shape { n_layer: 1, n_tokens: n, n_outputs: n, ..Shape::default() });
    stored.graph.context = context;
    let mut e = evaluation(&stored, number.into(), position, &mut Random(9));
    (e.context, e.call) = (context, u64::from(number) + 1);
    e.positions = (position..position + n as i32).collect();
    e.tokens = e.positions.iter().map(|p| 100 + p).collect();
    (e.sequences, e.sequences_from) = (vec![0; n as usize], SequencesFrom::Batch);
    e.requested = Some(if position == 0 { vec![n as i32 - 1] } else { (0..n as i32).collect() });
    writer.graph(stored).unwrap();
    writer.evaluation(e).unwrap();
    writer.flush().unwrap();
}

/// Tokens of answers by evaluation, as told last, once evaluation `last` was told.
fn told(events: &mut impl Iterator<Item = Json>, last: u64) -> BTreeMap<u64, u64> {
    let mut answers = BTreeMap::new();
    while !answers.contains_key(&last) {
        let event = events.next().expect("an event in time");
        for item in event["items"].as_array().unwrap() {
            answers.insert(item["seq"].as_u64().unwrap(), item["n_generated"].as_u64().unwrap());
        }
    }
    answers
}

#[test]
fn evaluations_of_a_context_that_turns_out_to_draft_are_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    (0..2).for_each(|number| take(&mut writer, number));
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let address = server.address();
    let _serving = server.start(Sessions::open(&[path]).unwrap()).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(format!("GET /api/v1/live HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "event: sessions"), "whoever looks on has the list first");
    let data = lines.filter_map(|line| serde_json::from_str::<Json>(line.strip_prefix("data: ")?).ok());
    let mut events = data.filter(|event| event["items"].is_array());
    (2..4).for_each(|number| take(&mut writer, number));
    assert_eq!(told(&mut events, 3), BTreeMap::from([(2, 1), (3, 1)]), "it looks like an answer");
    take(&mut writer, 4);
    assert_eq!(told(&mut events, 4), BTreeMap::from([(0, 0), (1, 0), (2, 0), (3, 0), (4, 1)]));
}
