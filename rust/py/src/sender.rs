//! Handing outputs to a producer of the client's without the client's `produce`, and without Python's lock.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use chio_client::{HandleKind, Library};
use chio_receipts::ReceiptId;

use crate::check::Check;
use crate::client;
use crate::outlet::Output;
use crate::runs::Stretch;
use crate::work::Work;

/// Up to so many outputs are handed over without giving Python's lock away: to get it back may take longer.
const FEW: usize = 4;

/// The fast road to a producer.
#[pyclass(frozen, module = "chio_fast._native")]
pub struct Sender {
    producer: Py<PyAny>,
    library: &'static Library,
}

#[pymethods]
impl Sender {
    #[new]
    fn new(producer: Bound<'_, PyAny>) -> PyResult<Self> {
        let library = client::library(producer.py())?;
        client::handle(&producer, HandleKind::Producer)?;
        Ok(Self { producer: producer.unbind(), library })
    }

    /// The producer calls back, so what it is part of may hold it and this.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.producer)
    }

    fn hand(&self, py: Python<'_>, outputs: Vec<Bound<'_, Check>>) -> PyResult<(usize, i32)> {
        let sender = self.sender(py)?;
        let outputs: Vec<&Check> = outputs.iter().map(Bound::get).collect();
        let is_little = outputs.len() <= FEW;
        let hand = || {
            let outgoing = outputs.into_iter().map(Check::outgoing).collect::<PyResult<Vec<_>>>()?;
            hand(&sender, outgoing.into_iter().map(Ok))
        };
        if is_little { hand() } else { py.detach(hand) }
    }

    /// The same for what the handlers of stretches produced, from the output at place `first` on.
    fn hand_stretches(
        &self,
        py: Python<'_>,
        stretches: Vec<Bound<'_, Stretch>>,
        first: usize,
    ) -> PyResult<(usize, i32)> {
        let sender = self.sender(py)?;
        let stretches: Vec<&Stretch> = stretches.iter().map(Bound::get).collect();
        let is_little = stretches.iter().map(|stretch| stretch.works.len()).sum::<usize>() <= FEW;
        let hand = || {
            let works = stretches.iter().flat_map(|stretch| &stretch.works).map(Py::get);
            let kept: Vec<_> = works.map(Work::kept).collect();
            hand(&sender, kept.iter().flat_map(|kept| kept.outputs()).skip(first).map(Check::outgoing))
        };
        if is_little { hand() } else { py.detach(hand) }
    }

    /// Begins a transaction, without Python's lock; false if the producer did not, which its own method says why.
    fn begin(&self, py: Python<'_>) -> PyResult<bool> {
        let sender = self.sender(py)?;
        Ok(py.detach(|| sender.begin()))
    }
}

impl Sender {
    fn sender(&self, py: Python<'_>) -> PyResult<chio_client::Sender> {
        let producer = client::handle(self.producer.bind(py), HandleKind::Producer)?;
        Ok(chio_client::Sender::new(self.library, producer))
    }
}

/// Hands outputs over in order; gives how many were taken, and the code with which the next one was refused, 0 if all were.
fn hand<'a>(
    sender: &chio_client::Sender,
    outgoing: impl Iterator<Item = PyResult<(&'a Output, ReceiptId)>>,
) -> PyResult<(usize, i32)> {
    let mut series = sender.series();
    let mut taken = 0;
    for outgoing in outgoing {
        let (output, receipt) = outgoing?;
        if let Err(refusal) = output.hand(&mut series, receipt) {
            return Ok((taken, refusal.code));
        }
        taken += 1;
    }
    Ok((taken, 0))
}
