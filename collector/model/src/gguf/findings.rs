//! What is wrong with a GGUF file, with the place of each. A damaged header ends the reading; what llama.cpp would refuse
//! and what is only odd is written down and reading goes on. However bad a file is, its list of findings is short.

use super::cursor::Malformed;
use serde::Serialize;
use utoipa::ToSchema;

/// Findings of one severity that are told one by one; more are only counted.
const TOLD: usize = 50;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Unusual, but llama.cpp loads it.
    Notice,
    /// llama.cpp refuses the file.
    Refused,
    /// What is after this place cannot be read.
    Damaged,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, where a model has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Offset in the file in bytes.
    pub at: u64,
    /// What is wrong there.
    pub what: String,
}

/// A list of them, as they are found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    /// How many of each severity were found.
    counts: [usize; 3],
    contradiction: Option<Malformed>,
}

impl Findings {
    fn add(&mut self, severity: Severity, at: u64, what: String) {
        let count = &mut self.counts[severity as usize];
        *count += 1;
        if *count <= TOLD {
            self.list.push(Finding { severity, file: None, at, what });
        }
    }

    /// llama.cpp loads the file, but it is unusual.
    pub(super) fn notice(&mut self, at: u64, what: String) {
        self.add(Severity::Notice, at, what);
    }

    /// llama.cpp refuses the file.
    pub(super) fn refused(&mut self, at: u64, what: String) {
        self.add(Severity::Refused, at, what);
    }

    /// The file contradicts itself, whatever llama.cpp says.
    pub(super) fn contradicts(&mut self, at: u64, what: String) {
        self.contradiction.get_or_insert_with(|| Malformed { at, what: what.clone() });
        self.refused(at, what);
    }

    /// Reading ended here.
    pub(super) fn damaged(&mut self, at: u64, what: String) {
        self.contradiction.get_or_insert_with(|| Malformed { at, what: what.clone() });
        self.add(Severity::Damaged, at, what);
    }

    /// The first contradiction or damage.
    pub(super) fn contradiction(&self) -> Option<&Malformed> {
        self.contradiction.as_ref()
    }

    /// All of them, the worst first, then by place.
    pub(super) fn into_list(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.at));
        for (severity, count) in [Severity::Notice, Severity::Refused].into_iter().zip(self.counts) {
            if count > TOLD {
                let what = format!("{} more like these", count - TOLD);
                let last = self.list.iter().rposition(|f| f.severity == severity).expect("some were told");
                let at = self.list[last].at;
                self.list.insert(last + 1, Finding { severity, file: None, at, what });
            }
        }
        self.list
    }
}
