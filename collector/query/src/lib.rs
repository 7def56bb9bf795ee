//! The questions that a trace answers. The functions here return data; the command line prints it, and whoever else
//! shows a trace asks the same functions.

pub mod access;
pub mod analytics;
pub mod analytics_times;
pub mod architecture;
pub mod asked;
pub mod buffers;
pub mod captures;
pub mod causes;
pub mod compare;
mod context_totals;
pub mod contexts;
pub mod cost;
#[cfg(test)]
mod drafting_tests;
pub mod dump;
pub mod ending;
pub mod evaluations;
mod filter;
mod find;
pub mod graph;
pub mod graph_named;
pub mod graph_report;
pub mod info;
pub mod leaves;
pub mod memory;
pub mod operators;
pub mod places;
pub mod range;
mod reads;
pub mod requests;
pub mod roofline;
pub mod spans;
pub mod table;
pub mod timeline;
pub mod values;
pub mod walk;
pub mod weights;

pub use ggscope_trace::view::{ExpertSlice, GraphView, GraphViews, Place};
pub use values::{CapturedValue, TensorStatistics};
pub use walk::{DeviceRun, FilteredEvaluation, Timed, walk};
