//! What became of transactions' batches, recorded.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyMapping;

use chio_receipts::{OutcomeDraft, OutcomeWord, Shown, hex};

use crate::clock;
use crate::gate::{Gate, wait_for_room};

/// What Python says about one batch: hash of its checkpoint, issuer, outcome, where Kafka shows it, and the outcome that
/// was recorded before.
type Told<'py> = (String, String, String, Bound<'py, PyMapping>, Option<String>);

/// One outcome, in Rust's own memory.
pub struct Resolved {
    batch: [u8; 32],
    issuer: String,
    outcome: OutcomeWord,
    contradicts: Option<OutcomeWord>,
    shown: Place,
}

/// Where Kafka shows an outcome.
#[derive(Default)]
struct Place {
    cluster: String,
    topic: String,
    partition: Option<i32>,
    offset: Option<i64>,
    from: Option<i64>,
    until: Option<i64>,
}

impl<'py> FromPyObject<'_, 'py> for Resolved {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let (batch, issuer, outcome, shown, contradicts): Told<'py> = given.extract()?;
        if issuer.is_empty() {
            return Err(PyValueError::new_err("`issuer` is empty: name the issuer of the batch"));
        }
        Ok(Self {
            batch: hex::decode(batch.as_bytes())
                .ok_or_else(|| PyValueError::new_err(format!("`{batch}` is no checkpoint hash: give 64 digits")))?,
            issuer,
            outcome: word(&outcome)?,
            contradicts: contradicts.as_deref().map(word).transpose()?,
            shown: Place::read(&shown)?,
        })
    }
}

impl Place {
    fn read(given: &Bound<'_, PyMapping>) -> PyResult<Self> {
        let mut place = Self::default();
        for item in given.items()? {
            let (name, value): (String, Bound<'_, PyAny>) = item.extract()?;
            match name.as_str() {
                "cluster" => place.cluster = value.extract()?,
                "topic" => place.topic = value.extract()?,
                "partition" => place.partition = value.extract()?,
                "offset" => place.offset = value.extract()?,
                "from" => place.from = value.extract()?,
                "until" => place.until = value.extract()?,
                _ => {
                    return Err(PyValueError::new_err(format!(
                        "`{name}` is no member of `shown`: use only cluster, topic, partition, offset, from, until"
                    )));
                }
            }
        }
        Ok(place)
    }
}

fn word(given: &str) -> PyResult<OutcomeWord> {
    OutcomeWord::from_word(given).ok_or_else(|| {
        PyValueError::new_err(format!("`{given}` is no outcome: write `committed`, `rolled_back` or `unknown`"))
    })
}

/// Issues the records and gives the last ordinal. They are sealed with what comes next, or when somebody waits for them.
pub fn record(gate: &Gate, py: Python<'_>, resolved: &[Resolved]) -> PyResult<u64> {
    if resolved.is_empty() {
        return Err(PyValueError::new_err("`resolved` is empty: there is nothing to record"));
    }
    wait_for_room(gate, py)?;
    let time = clock::now();
    crate::issue::issue(gate, py, &gate.generation(), |issue| {
        for Resolved { batch, issuer, outcome, contradicts, shown } in resolved {
            let Place { cluster, topic, partition, offset, from, until } = shown;
            let id = issue.next_id(time);
            issue.push_outcome(&OutcomeDraft {
                id,
                time,
                batch: *batch,
                issuer,
                outcome: *outcome,
                shown: Shown { cluster, topic, partition: *partition, offset: *offset, from: *from, until: *until },
                contradicts: *contradicts,
            })?;
        }
        Ok(())
    })
}
