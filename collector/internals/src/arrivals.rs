//! Captured values in the order in which one evaluation after the other needs them, each read once. What belongs to another
//! context waits in memory until its evaluation comes.

use ggscope_format::EvalId;
use ggscope_format::record::Value;
use ggscope_trace::Trace;
use std::collections::{HashMap, VecDeque};

/// How many chunks of values are looked at beyond the first that is too new: what two rings lag behind each other.
const LOOK_AHEAD: usize = 16;

/// Values that are yet to be used.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Where the last chunk begins that was read.
    read: Option<u64>,
    waiting: HashMap<u32, VecDeque<Value>>,
}

impl Arrivals {
    /// The values of a context up to an evaluation that were not given before, in the order of the file. `context_of`
    /// says whose a value is; `None` if nobody needs it.
    pub fn up_to(
        &mut self,
        trace: &Trace,
        eval: EvalId,
        context: u32,
        mut context_of: impl FnMut(&Value) -> Option<u32>,
    ) -> Vec<Value> {
        while let Some(at) = trace.next_values(self.read, eval, LOOK_AHEAD) {
            for value in trace.values_in(at) {
                if let Some(context) = context_of(&value) {
                    self.waiting.entry(context).or_default().push_back(value);
                }
            }
            self.read = Some(at);
        }
        let Some(waiting) = self.waiting.get_mut(&context) else { return vec![] };
        let n = waiting.iter().take_while(|value| value.eval <= eval).count();
        waiting.drain(..n).collect()
    }
}
