//! What verifying a log gives.

use std::fmt;

use crate::verify::Fault;

/// At most so many findings are kept; all are counted.
pub const MAX_FINDINGS: usize = 1000;

/// What was found in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Frames that were fed.
    pub frames: u64,
    /// Receipts that were read.
    pub receipts: u64,
    /// Outcome records that were read.
    pub outcomes: u64,
    /// Outcomes of batches that are not in this log.
    pub outcomes_elsewhere: u64,
    /// Records whose bodies are withheld.
    pub withheld: u64,
    /// Batches of transactions.
    pub transactions: u64,
    /// Those of them whose outcome is not known.
    pub unresolved: u64,
    /// The issuers, by name.
    pub issuers: Vec<IssuerReport>,
    /// What is wrong, in the order of the log; the first [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many findings there were.
    pub found: u64,
}

/// The chain of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerReport {
    /// The issuer.
    pub issuer: String,
    /// Its last epoch.
    pub epoch: u64,
    /// Batches in this log.
    pub batches: u64,
    /// `running_count` of its last batch.
    pub running_count: u64,
    /// Hash of its last checkpoint.
    pub head: [u8; 32],
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub fault: Fault,
    /// Number of the frame in the log, from 0; the number of all frames for what concerns the end.
    pub frame: u64,
    /// Issuer of the frame, where it can be read.
    pub issuer: Option<String>,
    /// Its epoch.
    pub epoch: Option<u64>,
    /// Position of the record in the epoch, or of the batch's first.
    pub seq: Option<u64>,
    /// Where, and what was expected.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {}", self.frame)?;
        if let Some(issuer) = &self.issuer {
            write!(f, ", issuer `{issuer}`")?;
        }
        if let (Some(epoch), Some(seq)) = (self.epoch, self.seq) {
            write!(f, ", epoch {epoch}, seq {seq}")?;
        }
        write!(f, ": {}: {}", self.fault, self.detail)
    }
}

impl Report {
    /// Whether the log verified.
    pub fn is_ok(&self) -> bool {
        self.found == 0
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.found += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}
