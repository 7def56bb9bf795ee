//! The trace table at ten million executions: how long a trace takes to open, and a page to be found, by filter and
//! order. `cargo bench -p ggscope-collector --bench pages`
//!
//! The trace is built once and kept in cargo's target folder; `GGSCOPE_BENCH_TRACE` names another one.

use ggscope_query::dump::{Filter, Memory, Phase};
use ggscope_query::operators::{Column, Page, Sort, operators};
use ggscope_query::range::Numbers;
use ggscope_query::table::{DEFAULT_MEMORY, Table};
use ggscope_trace::testing::{Random, Shape, evaluation, llama, model, recording, texts};
use ggscope_trace::{StoredGraph, Trace, TraceWriter};
use globset::Glob;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Evaluations of 576 operators each: ten million executions.
const EVALUATIONS: u64 = 17_400;
/// Tokens of an answer, which is an evaluation each; every answer follows a prompt.
const ANSWER: u64 = 400;

fn main() {
    let path = trace_path();
    let begin = Instant::now();
    let trace = Trace::open(&path).expect("the trace");
    println!("open: {:.1} ms", ms(begin));
    let begin = Instant::now();
    let table = Table::new(&trace, DEFAULT_MEMORY);
    println!("table: {:.1} ms, {} evaluations, {} executions", ms(begin), table.len(), table.rows());
    let begin = Instant::now();
    table.read_ahead(&trace);
    println!("times read ahead: {:.1} ms, {} MiB resident", ms(begin), resident_mib());
    let mut random = Random(88_172_645_463_325_252);
    for (name, sorts, filters) in CATEGORIES {
        let asked = (0..QUESTIONS).map(|_| question(&trace, &table, sorts, filters, &mut random));
        let (mut wall, mut cpu): (Vec<f64>, Vec<f64>) = asked.unzip();
        wall.sort_by(f64::total_cmp);
        cpu.sort_by(f64::total_cmp);
        let [p50, p99, most] = [QUESTIONS / 2, QUESTIONS * 99 / 100, QUESTIONS - 1].map(|i| wall[i]);
        let cpu = cpu[QUESTIONS * 99 / 100];
        println!("{name:<34} p50 {p50:6.1} ms   p99 {p99:6.1} ms   most {most:6.1} ms   p99 of CPU time {cpu:6.1} ms");
    }
    println!("{} MiB resident", resident_mib());
}

/// Pages that are asked for of each category.
const QUESTIONS: usize = 200;

const STATIC: &[&str] = &["op", "-op", "name", "-name", "layer", "-layer", "token", "-token", "phase", "-phase"];
const NONE: &[&str] = &[""];
const ONE: &[&str] = &["tokens", "evals", "layer", "op", "name", "phase", "source", "node", "tensor"];

/// Name, orders, filters.
const CATEGORIES: [(&str, &[&str], &[&str]); 8] = [
    ("file order, no filter", &["file"], NONE),
    ("file order, one filter", &["file"], ONE),
    ("file order, filter by duration", &["file"], &["duration"]),
    ("static order, no filter", STATIC, NONE),
    ("static order, one filter", STATIC, ONE),
    ("static order, filter by duration", STATIC, &["duration"]),
    ("order of duration, no filter", &["duration", "-duration"], NONE),
    ("order of duration, one filter", &["duration", "-duration"], ONE),
];

/// Milliseconds for a page somewhere in the table as JSON, from the question to the last byte: by the clock on the
/// wall, and of the processor, which does not count what else the machine does.
fn question(trace: &Trace, table: &Table, sorts: &[&str], filters: &[&str], random: &mut Random) -> (f64, f64) {
    let filter = filter(filters[random.below(filters.len() as u64) as usize], table, random);
    let sort = sorts[random.below(sorts.len() as u64) as usize].parse().expect("an order");
    let limit = [50, 100, 200][random.below(3) as usize];
    // Where the page lies among those that there are is only known to who asked before.
    let total = operators(trace, table, &filter, &Page { offset: 0, limit: 1, sort: FILE }, |_, _| {});
    let page = Page { offset: random.below(total) as usize, limit, sort };
    let (begin, cpu_begin) = (Instant::now(), cpu_ms());
    let mut bytes = 0;
    operators(trace, table, &filter, &page, |_, operator| {
        bytes += serde_json::to_vec(&operator).map_or(0, |json| json.len());
    });
    std::hint::black_box(bytes);
    (ms(begin), cpu_ms() - cpu_begin)
}

/// Milliseconds that this thread has computed.
fn cpu_ms() -> f64 {
    // SAFETY: a time is plain data, and the call writes only to it.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
        time
    };
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

const FILE: Sort = Sort { by: Column::File, descending: false };

fn filter(column: &str, table: &Table, random: &mut Random) -> Filter {
    let glob = |texts: [&str; 4], i: u64| Some(Glob::new(texts[i as usize]).expect("a glob").compile_matcher());
    let range = |first: u64, n: u64| Some(Numbers { first, last: first.saturating_add(n) });
    let n = table.len() as u64;
    let some = random.below(4);
    let mut filter = Filter::default();
    match column {
        "tokens" => filter.tokens = range(random.below(n), random.below(n)),
        "evals" => filter.evals = range(random.below(n), random.below(n)),
        "layer" => filter.layers = range(random.below(30), random.below(4)),
        "op" => filter.op = glob(["MUL*", "ROPE", "FLASH*", "*"], some),
        "name" => filter.name = glob(["l_out-*", "Qcur-7", "*norm*", "ffn_{up,gate}-1*"], some),
        "phase" => filter.phase = Some([Phase::Prompt, Phase::Generate][random.below(2) as usize]),
        "source" => filter.source = Some([Memory::Disk, Memory::Buffer][random.below(2) as usize]),
        "duration" => filter.durations = range(700 + random.below(4000), random.below(30_000)),
        "node" => filter.node = Some([0, 4, 5, 100][some as usize]),
        "tensor" => {
            filter.tensor = Some(["inp_pos", "l_out-3", "cache_k_l1", "token_embd.weight"][some as usize].into())
        }
        _ => {}
    }
    filter
}

fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

/// The trace to measure, built if it is not there yet.
fn trace_path() -> PathBuf {
    if let Some(path) = std::env::var_os("GGSCOPE_BENCH_TRACE") {
        return path.into();
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("pages-{EVALUATIONS}.ggtrace"));
    if !path.exists() {
        let begin = Instant::now();
        let unfinished = path.with_extension("part");
        build(&unfinished);
        std::fs::rename(&unfinished, &path).expect("the trace in its place");
        println!("built in {:.1} s", begin.elapsed().as_secs_f64());
    }
    path
}

/// Writes prompts and answers as llama.cpp computes them: a graph for each length of a prompt, and one for each 256
/// rows that the cache grows by.
fn build(path: &Path) {
    let mut writer = TraceWriter::create(path, true, &recording()).expect("a new file");
    writer.model(model()).expect("a model");
    let mut random = Random(88_172_645_463_325_252);
    let mut graphs: Vec<((i64, i64), StoredGraph)> = vec![];
    let mut position = 0;
    for eval in 0..EVALUATIONS {
        if eval % (ANSWER + 1) == 0 {
            position = 0;
        }
        let n_tokens = if position == 0 { 8 + 16 * random.below(8) as i64 } else { 1 };
        let n_kv = (i64::from(position) + n_tokens + 255) / 256 * 256;
        let at = graphs.iter().position(|g| g.0 == (n_tokens, n_kv)).unwrap_or_else(|| {
            let stored = llama(graphs.len() as u32, Shape { n_tokens, n_kv, ..Shape::default() });
            writer.graph(stored.clone()).expect("a valid graph");
            graphs.push(((n_tokens, n_kv), stored));
            graphs.len() - 1
        });
        let e = evaluation(&graphs[at].1, eval, position, &mut random);
        writer.texts(texts(&e)).expect("texts");
        writer.evaluation(e).expect("a valid evaluation");
        position += n_tokens as i32;
    }
    writer.finish().expect("a finished trace");
}
