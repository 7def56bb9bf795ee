//! Every kernel against the CPU: on the emulated device forwards and backwards, and on a GPU where there is one; and every
//! kernel through CUDA's compiler, which needs no GPU.

use super::backend::{Backend, Module};
use super::cuda::Cuda;
use super::emulated::{Emulated, kernels};
use super::nvrtc::{Nvrtc, Target};
use super::{cache, communities, statistics};
use crate::graph::{Direction, Graph, NodeId, Parallel, Weights};
use crate::statistics::{DistributionOptions, Encoding, Values, distribution_of};
use crate::{Betweenness, Leiden, PageRank, Sources, betweenness, leiden, pagerank};
use std::path::{Path, PathBuf};
use std::process::Command;

fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vendor/python");
    assert!(python.exists(), "vendor/python is missing: run make test, which fetches it (or vendor/setup --tests)");
    python
}

/// The one of the Python package.
fn nvrtc() -> Nvrtc {
    let versions = std::fs::read_dir(python().join("lib")).unwrap().flatten();
    let library = |folder: PathBuf| folder.join("site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
    let path = versions.map(|entry| library(entry.path())).find(|path| path.exists());
    Nvrtc::open(&path.expect("vendor/python has no NVRTC: run make test")).unwrap()
}

/// Runs a check on the emulated device, in both orders, and on a GPU.
pub(super) fn on_every_device(check: impl OnDevice) {
    let mut host = Emulated::new();
    check.run(&host);
    host.backwards = true;
    check.run(&host);
    match Cuda::open(0, None) {
        Ok(cuda) => check.run(&cuda),
        Err(reason) => println!("not run on a GPU: {reason}"),
    }
}

/// A check that runs on any device.
pub(super) trait OnDevice {
    fn run<B: Backend>(&self, device: &B);
}

/// Shapes that kernels could stumble over: a hub with a long row in and out, dangling nodes, parts apart, loops, weights.
fn graphs() -> Vec<(&'static str, Graph)> {
    let mut random = fastrand::Rng::with_seed(9);
    let mut edges: Vec<(u32, u32)> = (0..4000).map(|_| (random.u32(0..900), random.u32(0..1000))).collect();
    edges.extend((1..900).flat_map(|v| [(0, v), (v, 1)]));
    let weights: Vec<f64> = edges.iter().map(|_| f64::from(random.u32(0..20)) / 4.0).collect();
    let groups = (0..40).flat_map(|group| (0..25).map(move |i| (group, i)));
    let mut planted = Vec::new();
    for (group, i) in groups {
        planted.extend((0..6).map(|_| (group * 25 + i, group * 25 + random.u32(0..25))));
        planted.extend((0..2).map(|_| (group * 25 + i, random.u32(0..1000))));
    }
    let chain: Vec<(u32, u32)> = (1..929).map(|v| (v - 1, v)).chain((0..300).map(|v| (3 * v, 3 * v + 3))).collect();
    let graph = |nodes, direction, edges: &[(u32, u32)], weights: Option<&[f64]>| {
        let edges: Vec<_> = edges.iter().map(|&(a, b)| (NodeId(a), NodeId(b))).collect();
        match weights {
            None => Graph::unweighted(nodes, direction, &edges).unwrap(),
            Some(weights) => Graph::weighted(nodes, direction, &edges, weights, Parallel::Sum).unwrap(),
        }
    };
    use Direction::{Directed, Undirected};
    vec![
        ("nothing", graph(0, Directed, &[], None)),
        ("one node", graph(1, Directed, &[(0, 0)], None)),
        ("no edges", graph(300, Directed, &[], None)),
        ("hub", graph(1100, Directed, &edges, None)),
        ("hub, weighted", graph(1100, Directed, &edges, Some(&weights))),
        ("hub, undirected, weighted", graph(1100, Undirected, &edges, Some(&weights))),
        ("planted", graph(1000, Undirected, &planted, None)),
        ("planted, directed", graph(1000, Directed, &planted, None)),
        ("chain", graph(929, Directed, &chain, None)),
    ]
}

fn assert_near(what: &str, ours: &[f64], cpu: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), cpu.len(), "{what}");
    let scale = cpu.iter().fold(1.0_f64, |most, v| most.max(v.abs()));
    for (node, (a, b)) in ours.iter().zip(cpu).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}: node {node} is {a:e}, {b:e} on the CPU");
    }
}

struct PageRanks;

impl OnDevice for PageRanks {
    fn run<B: Backend>(&self, device: &B) {
        for (name, graph) in graphs() {
            let person: Vec<f64> = (0..graph.nodes()).map(|v| (v % 3) as f64).collect();
            let person = (graph.nodes() > 1).then_some(&person[..]);
            let even = PageRank { tolerance: 1e-10, ..PageRank::default() };
            let options = PageRank { personalization: person, weights: Weights::Ignore, damping: 0.5, ..even };
            for options in [even, options] {
                let (ours, cpu) = (super::pagerank(device, &graph, &options), pagerank(&graph, &options));
                let (ours, cpu) = (ours.unwrap(), cpu.unwrap());
                assert_eq!(ours.iterations, cpu.iterations, "{name}");
                assert_near(name, &ours.scores, &cpu.scores, 1e-12);
            }
        }
        let swing = PageRank { damping: 1.0, max_iterations: 9, ..PageRank::default() };
        let path = [(NodeId(0), NodeId(1)), (NodeId(1), NodeId(2))];
        let path = Graph::unweighted(3, Direction::Undirected, &path).unwrap();
        assert_eq!(super::pagerank(device, &path, &swing), pagerank(&path, &swing));
    }
}

#[test]
fn pagerank_on_a_device_is_that_of_the_cpu() {
    on_every_device(PageRanks);
}

struct Betweennesses;

impl OnDevice for Betweennesses {
    fn run<B: Backend>(&self, device: &B) {
        for (name, graph) in graphs() {
            // A chain has as many levels as nodes: too many barriers for all of its sources, emulated.
            let sources = if graph.nodes() > 500 { Sources::Sample { count: 9, seed: 4 } } else { Sources::All };
            for (normalized, endpoints) in [(true, false), (false, true)] {
                let options = Betweenness { normalized, endpoints, sources, ..Betweenness::default() };
                let ours = super::betweenness(device, &graph, &options).unwrap().expect("not too many paths");
                let cpu = betweenness(&graph, &options).unwrap();
                assert_eq!(ours.sources, cpu.sources);
                assert_near(name, &ours.scores, &cpu.scores, 1e-12);
            }
        }
        let diamonds = (0..1100).flat_map(|d| {
            let joint = d * 3;
            [(joint, joint + 1), (joint, joint + 2), (joint + 1, joint + 3), (joint + 2, joint + 3)]
        });
        let edges: Vec<_> = diamonds.map(|(a, b)| (NodeId(a), NodeId(b))).collect();
        let graph = Graph::unweighted(3301, Direction::Directed, &edges).unwrap();
        let ends = Betweenness { sources: Sources::These(&[NodeId(0), NodeId(3300)]), ..Betweenness::default() };
        assert_eq!(super::betweenness(device, &graph, &ends), Ok(None), "too many paths are left to the CPU");
    }
}

#[test]
fn betweenness_on_a_device_is_that_of_the_cpu() {
    on_every_device(Betweennesses);
}

struct Modularities;

impl OnDevice for Modularities {
    fn run<B: Backend>(&self, device: &B) {
        for (name, graph) in graphs() {
            let options = Leiden { tries: 3, ..Leiden::default() };
            let cpu = leiden(&graph, &options).unwrap();
            let ours = communities::communities(device, &graph, &options, 0).unwrap();
            let enough = ours.modularity >= cpu.modularity - 0.01;
            assert!(enough, "{name}: {} on the device, {} on the CPU", ours.modularity, cpu.modularity);
            println!("{name}: modularity {:.4}, {:.4} on the CPU", ours.modularity, cpu.modularity);
            let again = communities::communities(device, &graph, &options, 0).unwrap();
            assert_eq!(ours, again, "{name}");
        }
    }
}

#[test]
fn communities_on_a_device_are_as_good_as_those_of_the_cpu() {
    on_every_device(Modularities);
}

const ENCODINGS: [(Encoding, &str); 8] = [
    (Encoding::F32, "F32"),
    (Encoding::F16, "F16"),
    (Encoding::BF16, "BF16"),
    (Encoding::Q4_0, "Q4_0"),
    (Encoding::Q4_1, "Q4_1"),
    (Encoding::Q8_0, "Q8_0"),
    (Encoding::Q4_K, "Q4_K"),
    (Encoding::Q6_K, "Q6_K"),
];
const COUNT: usize = 8192;

/// Random blocks, and what the gguf package of Python makes of them.
pub(super) fn blocks() -> Vec<(Encoding, Vec<u8>, Vec<f32>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(21);
    let mut blocks = Vec::new();
    for (encoding, name) in ENCODINGS {
        let (values, size) = encoding.block();
        let mut bytes: Vec<u8> = (0..COUNT / values * size).map(|_| random.u8(..)).collect();
        // Where half-precision scales are: any exponent but that of infinity, subnormal ones too.
        let scales: &[usize] = match encoding {
            Encoding::F32 | Encoding::F16 | Encoding::BF16 => &[size - 2],
            Encoding::Q4_0 | Encoding::Q8_0 => &[0],
            Encoding::Q4_1 | Encoding::Q4_K => &[0, 2],
            Encoding::Q6_K => &[208],
        };
        for block in bytes.chunks_mut(size) {
            for &at in scales {
                block[at + 1] = block[at + 1] & 0b1000_0011 | random.u8(0..16) << 2;
            }
        }
        std::fs::write(folder.path().join(name), &bytes).unwrap();
        blocks.push((encoding, bytes, name));
    }
    let script = "
import sys, pathlib, numpy, gguf
for name in sys.argv[2:]:
    path = pathlib.Path(sys.argv[1], name)
    data = numpy.fromfile(path, dtype=numpy.uint8)
    kind = gguf.GGMLQuantizationType[name]
    if name in ('F32', 'F16'):
        data = data.view(numpy.float32 if name == 'F32' else numpy.float16)
    gguf.quants.dequantize(data, kind).astype(numpy.float32).tofile(path)
";
    let names = ENCODINGS.map(|(_, name)| name);
    let done = Command::new(python().join("bin/python")).args(["-c", script]).arg(folder.path()).args(names).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read = |name: &str| {
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    blocks.into_iter().map(|(encoding, bytes, name)| (encoding, bytes, read(name))).collect()
}

#[test]
fn kernels_read_encoded_blocks_as_the_gguf_package_does() {
    let host = Emulated::new();
    for (encoding, bytes, theirs) in blocks() {
        let ours = host.values(encoding, &bytes, COUNT);
        assert_eq!(theirs.len(), COUNT, "{encoding:?}");
        for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert!(
                a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
                "{encoding:?}: value {i} is {a:e}, not {b:e}"
            );
        }
    }
}

struct Distributions(Vec<(Encoding, Vec<u8>, Vec<f32>)>);

impl OnDevice for Distributions {
    fn run<B: Backend>(&self, device: &B) {
        let wanted = DistributionOptions { bins: 37, quantiles: &[0.0, 0.01, 0.25, 0.5, 0.75, 0.999, 1.0] };
        let odd: Vec<f32> = vec![f32::NAN, 1.0, f32::INFINITY, -2.0, f32::NEG_INFINITY, 0.0, -0.0, 1e-42];
        let mut cases: Vec<(Encoding, &[u8], &[f32])> =
            self.0.iter().map(|(encoding, bytes, values)| (*encoding, &bytes[..], &values[..])).collect();
        cases.push((Encoding::F32, bytemuck::cast_slice(&odd), &odd));
        cases.push((Encoding::F32, &[], &[]));
        for (encoding, bytes, values) in cases {
            // Also one that ends within a block.
            for count in [values.len(), values.len() - values.len() / 5] {
                let cpu = distribution_of(Values::F32(&values[..count]), &wanted).unwrap();
                let mut ours = statistics::distribution_of(device, encoding, bytes, count, &wanted).unwrap();
                let largest = f64::from(cpu.range[0].abs().max(cpu.range[1].abs())).max(f64::MIN_POSITIVE);
                assert!((ours.mean - cpu.mean).abs() <= 1e-12 * largest, "{encoding:?}");
                assert!((ours.deviation - cpu.deviation).abs() <= 1e-7 * largest, "{encoding:?}");
                (ours.mean, ours.deviation) = (cpu.mean, cpu.deviation);
                // Debug, as no quantile at all is NaN.
                assert_eq!(format!("{ours:?}"), format!("{cpu:?}"), "{encoding:?}");
            }
        }
    }
}

#[test]
fn distributions_on_a_device_are_those_of_the_cpu() {
    on_every_device(Distributions(blocks()));
}

#[test]
fn every_kernel_compiles_for_gpus_of_every_generation() {
    let nvrtc = nvrtc();
    // One of each generation: Pascal, Volta, Turing, Ampere, Ada, Hopper, Blackwell.
    let capabilities = [60, 70, 75, 80, 86, 89, 90, 100, 120];
    for module in Module::ALL {
        for capability in capabilities {
            let ptx = String::from_utf8(nvrtc.compile(module, Target::Ptx(capability)).unwrap()).unwrap();
            for kernel in kernels(module.source()) {
                assert!(ptx.contains(&format!(".entry {kernel}(")), "{kernel} for compute_{capability}");
            }
            assert!(ptx.contains(&format!(".target sm_{capability}")));
            assert!(!ptx.contains("fma.rn"), "{}: no fused multiply-add, so that sums are the CPU's", module.file());
        }
        let machine = nvrtc.compile(module, nvrtc.target(90)).unwrap();
        assert!(machine.starts_with(b"\x7fELF"), "{}", module.file());
    }
    println!("NVRTC {:?}: {} files of kernels for {capabilities:?}", nvrtc.version, Module::ALL.len());
    // A GPU that it does not know yet gets what is compiled for the newest before it.
    let newest = *nvrtc.capabilities.last().unwrap();
    assert_eq!(nvrtc.target(newest), Target::Machine(newest));
    assert_eq!(nvrtc.target(newest + 1000), Target::Ptx(newest));
}

#[test]
fn compiled_kernels_are_kept_and_damaged_ones_compiled_again() {
    let nvrtc = nvrtc();
    let folder = tempfile::tempdir().unwrap();
    let kernels = folder.path().join("kernels");
    let get = |target| cache::compiled(&nvrtc, Some(&kernels), Module::PageRank, target).unwrap();
    let first = get(Target::Machine(80));
    let files = || std::fs::read_dir(&kernels).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(files().len(), 1);
    let kept = std::fs::read(&files()[0]).unwrap();
    for damage in [&kept[..kept.len() / 2], &kept[..7], &[]] {
        std::fs::write(&files()[0], damage).unwrap();
        assert_eq!(get(Target::Machine(80)), first);
        assert_eq!(std::fs::read(&files()[0]).unwrap(), kept);
    }
    // Kept, not compiled again: what is found is what was put there.
    let mut other = xxhash_rust::xxh3::xxh3_128(b"other").to_le_bytes().to_vec();
    other.extend(b"other");
    std::fs::write(&files()[0], other).unwrap();
    assert_eq!(get(Target::Machine(80)), b"other");
    get(Target::Machine(90));
    assert_eq!(files().len(), 2, "another GPU is another entry");
    let nowhere = Path::new("/proc/ggscope/kernels");
    assert_eq!(cache::compiled(&nvrtc, Some(nowhere), Module::PageRank, Target::Machine(80)).unwrap(), first);
}
