//! Handing outputs to a producer of the client's without the client's `produce`, and without Python's lock.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use chio_client::{HandleKind, Library};

use crate::check::Check;
use crate::client;

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
        let outgoing = outputs.iter().map(|output| output.get().outgoing()).collect::<PyResult<Vec<_>>>()?;
        let producer = client::handle(self.producer.bind(py), HandleKind::Producer)?;
        let sender = chio_client::Sender::new(self.library, producer);
        let hand = || {
            let mut series = sender.series();
            for (place, (output, receipt)) in outgoing.iter().enumerate() {
                if let Err(refusal) = output.hand(&mut series, *receipt) {
                    return (place, refusal.code);
                }
            }
            (outgoing.len(), 0)
        };
        Ok(if outgoing.len() > FEW { py.detach(hand) } else { hand() })
    }
}
