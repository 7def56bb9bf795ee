//! Where to compute: the CPU, or a GPU when there is one that the traced program does not use and the work is worth the
//! trip. Both give the same answers within the tolerances that `docs/analytics.md` states.

use crate::betweenness::{self, Betweenness, Centrality, Sources};
use crate::community::{self, Communities, Leiden};
use crate::error::Error;
use crate::gpu::{self, Cuda};
use crate::graph::{Graph, Weights};
use crate::pagerank::{self, PageRank, Ranks};
use crate::statistics::{self, Distribution, DistributionOptions, Values};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;
#[cfg(any(test, feature = "testing"))]
use std::sync::{Mutex, MutexGuard, PoisonError};

// What a GPU must have to do before it is used without being asked for, beside a CPU of two cores, which does this much in
// about a second. Getting a GPU ready took 0.35 to 0.45 s on an H200, after which it was at least as fast as 16 cores.
const PAGERANK_EDGES: usize = 20_000_000;
const BETWEENNESS_STEPS: usize = 500_000_000;
const LEIDEN_EDGES: usize = 5_000_000;
const STATISTICS_VALUES: usize = 200_000_000;

/// What `--device` takes: `auto`, `cpu`, `cuda:N` (or `cuda`, which is `cuda:0`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Device {
    /// A GPU that the traced program does not use, for work that is worth it; else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// This GPU, whatever the work.
    Cuda(u32),
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Device, Error> {
        let number = text.strip_prefix("cuda:").map(str::parse);
        match (text, number) {
            ("auto", _) => Ok(Device::Auto),
            ("cpu", _) => Ok(Device::Cpu),
            ("cuda", _) => Ok(Device::Cuda(0)),
            (_, Some(Ok(number))) => Ok(Device::Cuda(number)),
            _ => Err(Error::Option {
                name: "device",
                value: format!("{text:?}"),
                wanted: "it must be auto, cpu, or cuda:N with the number of a GPU, from 0",
            }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// Where something was computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// On the CPU, for this reason.
    Cpu(String),
    /// On this GPU.
    Cuda(String),
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Ran::Cpu(why) => write!(f, "cpu ({why})"),
            Ran::Cuda(device) => f.write_str(device),
        }
    }
}

/// Computes on the device that was chosen.
pub struct Compute {
    device: Device,
    /// Processes whose GPUs are left alone.
    avoid: Vec<u32>,
    cache: Option<PathBuf>,
    /// With `auto`, opened when there is first work for it.
    cuda: OnceLock<Result<Cuda, String>>,
    #[cfg(any(test, feature = "testing"))]
    emulated: Option<Mutex<gpu::Emulated>>,
}

/// Where work goes that is not for the CPU.
pub(crate) enum Place<'c> {
    /// To this GPU.
    Cuda(&'c Cuda),
    /// To the CPU that emulates one.
    #[cfg(any(test, feature = "testing"))]
    Emulated(MutexGuard<'c, gpu::Emulated>),
}

/// What pays for the trip to a GPU beside all cores of this CPU, if `of_two` does beside two.
fn for_all_cores(of_two: usize) -> usize {
    of_two.saturating_mul(rayon::current_num_threads().max(2)) / 2
}

impl Compute {
    /// `avoid`: the processes being traced; `auto` takes no GPU that they use. `cache`: a folder for compiled kernels, made
    /// when it is needed; without one they are compiled anew each time.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if a GPU was asked for that is not there.
    pub fn open(device: Device, avoid: &[u32], cache: Option<&Path>) -> Result<Compute, Error> {
        let cuda = OnceLock::new();
        if let Device::Cuda(number) = device {
            let opened = Cuda::open(number, cache);
            let opened = opened.map_err(|reason| Error::NoDevice { asked: device.to_string(), reason })?;
            let _ = cuda.set(Ok(opened));
        }
        Ok(Compute {
            device,
            avoid: avoid.to_vec(),
            cache: cache.map(Path::to_owned),
            cuda,
            #[cfg(any(test, feature = "testing"))]
            emulated: None,
        })
    }

    /// Attention and what heads make of it on an emulated GPU, whose blocks and threads run in ascending order or backwards.
    ///
    /// # Panics
    /// Without a folder for temporary files.
    #[cfg(any(test, feature = "testing"))]
    pub fn emulated(backwards: bool) -> Compute {
        let mut host = gpu::Emulated::new();
        host.backwards = backwards;
        let emulated = Some(Mutex::new(host));
        Compute { device: Device::Cuda(0), avoid: vec![], cache: None, cuda: OnceLock::new(), emulated }
    }

    /// Where so much work goes; why to the CPU, in words.
    pub(crate) fn place(&self, work: u64, enough: u64, what: &str) -> Result<Place<'_>, String> {
        #[cfg(any(test, feature = "testing"))]
        if let Some(host) = &self.emulated {
            return Ok(Place::Emulated(host.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        self.gpu(size(work), size(enough), what).map(Place::Cuda)
    }

    /// What a GPU found, or, if it gave up and was not asked for, why the CPU has to.
    pub(crate) fn or_cpu<T>(&self, found: Result<T, Error>) -> Result<Result<T, String>, Error> {
        match found {
            Err(error @ (Error::Cuda { .. } | Error::Compile { .. })) if self.device == Device::Auto => {
                Ok(Err(error.to_string()))
            }
            found => found.map(Ok),
        }
    }

    /// The GPU, if the work is for it; else why not.
    fn gpu(&self, work: usize, enough: usize, what: &str) -> Result<&Cuda, String> {
        match self.device {
            Device::Cpu => return Err("asked for".into()),
            Device::Auto if work < for_all_cores(enough) => {
                return Err(format!("{work} {what}: too few to pay for the trip to a GPU"));
            }
            Device::Auto | Device::Cuda(_) => {}
        }
        let open = || gpu::free_device(&self.avoid).and_then(|number| Cuda::open(number, self.cache.as_deref()));
        self.cuda.get_or_init(open).as_ref().map_err(String::clone)
    }

    /// On the GPU if there is one for it, else, or if it gives up and was not asked for, on the CPU.
    fn either<T>(
        &self,
        gpu: Result<&Cuda, String>,
        on_gpu: impl FnOnce(&Cuda) -> Result<Option<T>, Error>,
        on_cpu: impl FnOnce() -> Result<T, Error>,
    ) -> Result<(T, Ran), Error> {
        let why = match gpu {
            Err(why) => why,
            Ok(cuda) => match on_gpu(cuda) {
                Ok(Some(result)) => return Ok((result, Ran::Cuda(cuda.name.clone()))),
                Ok(None) => "this cannot be computed on a GPU".into(),
                Err(error @ (Error::Cuda { .. } | Error::Compile { .. })) if self.device == Device::Auto => {
                    error.to_string()
                }
                Err(error) => return Err(error),
            },
        };
        Ok((on_cpu()?, Ran::Cpu(why)))
    }

    /// See [`crate::pagerank`]. On a GPU no rank differs by more than 1e-12.
    ///
    /// # Errors
    /// Those of [`crate::pagerank`]; [`Error::Cuda`] and [`Error::Compile`] if a GPU was asked for.
    pub fn pagerank(&self, graph: &Graph, options: &PageRank) -> Result<(Ranks, Ran), Error> {
        let gpu = self.gpu(graph.edges(), PAGERANK_EDGES, "edges");
        self.either(gpu, |cuda| gpu::pagerank(cuda, graph, options).map(Some), || pagerank::pagerank(graph, options))
    }

    /// See [`crate::betweenness`]. On a GPU within 1e-12, relative to the largest; on the CPU always where edges have lengths,
    /// or where there are more shortest paths than a 64-bit number can hold.
    ///
    /// # Errors
    /// Those of [`crate::betweenness`]; [`Error::Cuda`] and [`Error::Compile`] if a GPU was asked for.
    pub fn betweenness(&self, graph: &Graph, options: &Betweenness) -> Result<(Centrality, Ran), Error> {
        let sources = match options.sources {
            Sources::All => graph.nodes(),
            Sources::Sample { count, .. } => count.min(graph.nodes()),
            Sources::These(list) => list.len(),
        };
        let gpu = if options.lengths == Weights::Use && graph.has_weights() {
            Err("lengths of edges are for the CPU".into())
        } else {
            let steps = sources.saturating_mul(graph.edges());
            self.gpu(steps, BETWEENNESS_STEPS, "edges, all sources together,")
        };
        let on_cpu = || betweenness::betweenness(graph, options);
        self.either(gpu, |cuda| gpu::betweenness(cuda, graph, options), on_cpu)
    }

    /// See [`crate::leiden`]. On a GPU Louvain's moving of nodes does the first rounds: other communities, of a modularity that
    /// is not lower by more than 0.01.
    ///
    /// # Errors
    /// Those of [`crate::leiden`]; [`Error::Cuda`] and [`Error::Compile`] if a GPU was asked for.
    pub fn communities(&self, graph: &Graph, options: &Leiden) -> Result<(Communities, Ran), Error> {
        let gpu = self.gpu(graph.edges(), LEIDEN_EDGES, "edges");
        let on_gpu = |cuda: &Cuda| gpu::communities(cuda, graph, options, gpu::SMALL).map(Some);
        self.either(gpu, on_gpu, || community::leiden(graph, options))
    }

    /// See [`crate::distribution_of`]. On a GPU counts, extremes and quantiles are the same, the mean within 1e-12 of the
    /// largest value, the deviation within 1e-7. It reads encoded blocks itself and rounds as ggml does without fused
    /// multiply-add; on the CPU `dequantize` gives the values. Encodings that kernels do not know are for the CPU.
    ///
    /// # Errors
    /// Those of [`crate::distribution_of`]; [`Error::Cuda`] and [`Error::Compile`] if a GPU was asked for.
    pub fn distribution(&self, values: Values, wanted: &DistributionOptions) -> Result<(Distribution, Ran), Error> {
        let Some((encoding, bytes)) = values.encoded().filter(|_| u32::try_from(values.len()).is_ok()) else {
            let why = "no kernel for this encoding, or too many values for one".into();
            return Ok((statistics::distribution_of(values, wanted)?, Ran::Cpu(why)));
        };
        let gpu = self.gpu(values.len(), STATISTICS_VALUES, "values");
        let on_gpu = |cuda: &Cuda| gpu::distribution_of(cuda, encoding, bytes, values.len(), wanted).map(Some);
        self.either(gpu, on_gpu, || statistics::distribution_of(values, wanted))
    }

    /// See [`Compute::distribution`], but `None` where that would be computed on the CPU.
    ///
    /// # Errors
    /// Those of [`Compute::distribution`].
    pub fn distribution_on_gpu(
        &self,
        values: Values,
        wanted: &DistributionOptions,
    ) -> Result<Option<(Distribution, Ran)>, Error> {
        let goes = values.encoded().is_some() && self.gpu(values.len(), STATISTICS_VALUES, "values").is_ok();
        if !goes {
            return Ok(None);
        }
        let (distribution, ran) = self.distribution(values, wanted)?;
        Ok(matches!(ran, Ran::Cuda(_)).then_some((distribution, ran)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_on_the_command_line() {
        for (text, device) in [("auto", Device::Auto), ("cpu", Device::Cpu), ("cuda:3", Device::Cuda(3))] {
            assert_eq!(text.parse::<Device>().unwrap(), device);
            assert_eq!(device.to_string(), text);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for bad in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            let error = bad.parse::<Device>().unwrap_err().to_string();
            assert!(error.ends_with("it must be auto, cpu, or cuda:N with the number of a GPU, from 0"), "{error}");
        }
    }

    #[test]
    fn a_server_may_share_it_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Compute>();
    }

    #[test]
    fn small_work_stays_on_the_cpu_and_says_so() {
        let compute = Compute::open(Device::Auto, &[], None).unwrap();
        let graph = Graph::unweighted(3, crate::Direction::Directed, &[]).unwrap();
        let (ranks, ran) = compute.pagerank(&graph, &PageRank::default()).unwrap();
        assert_eq!(ranks.scores, [1.0 / 3.0; 3]);
        assert_eq!(ran.to_string(), "cpu (0 edges: too few to pay for the trip to a GPU)");
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_that_says_what_was_looked_for() {
        let Err(error) = Compute::open(Device::Cuda(99), &[], None) else { panic!("a hundred GPUs") };
        let error = error.to_string();
        assert!(error.starts_with("cuda:99 was asked for, but "), "{error}");
        let reasons = ["libcuda.so.1, NVIDIA's driver, is not there", "GPUs (they count from 0)", "failed", "no GPU"];
        assert!(reasons.iter().any(|reason| error.contains(reason)), "{error}");
    }
}
