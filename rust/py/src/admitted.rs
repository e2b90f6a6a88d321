//! The headers of a message as it was admitted, whatever is set afterwards.

use std::sync::OnceLock;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::headers;
use crate::original::Original;
use crate::record::Header;

/// They stand in the message until somebody sets others, and are kept here from then on.
#[derive(Debug, Default)]
pub struct AdmittedHeaders {
    /// `None` in it if they were unreadable.
    former: OnceLock<Option<Vec<Header>>>,
}

impl AdmittedHeaders {
    /// Keeps those of `original`, whose message is about to get others.
    pub fn keep(&self, py: Python<'_>, original: &Original) {
        if self.former.get().is_none() {
            // Whoever was first has read them as they were admitted; nobody waits here, which reading may let others come to.
            let _ = self.former.set(original.all_headers(py));
        }
    }

    /// Calls `each` with name and value of every header, in the order of the record.
    ///
    /// # Errors
    /// They are unreadable.
    pub fn each(&self, original: &Original, mut each: impl FnMut(&[u8], Option<&[u8]>)) -> PyResult<()> {
        match self.former.get() {
            None => original.each_header(each),
            Some(former) => {
                readable(former)?.iter().for_each(|(name, value)| each(name.as_bytes(), value.as_deref()));
                Ok(())
            }
        }
    }

    /// All of them; `None` if they are unreadable.
    pub fn all(&self, py: Python<'_>, original: &Original) -> Option<Vec<Header>> {
        self.former.get().map_or_else(|| original.all_headers(py), Clone::clone)
    }

    /// As Python is given them, see `headers::given`.
    ///
    /// # Errors
    /// They are unreadable.
    pub fn given<'py>(&self, py: Python<'py>, original: &Original) -> PyResult<Bound<'py, PyAny>> {
        match self.former.get() {
            None => original.given_headers(py),
            Some(former) => Ok(headers::listing(py, readable(former)?)?.into_any()),
        }
    }
}

fn readable(former: &Option<Vec<Header>>) -> PyResult<&[Header]> {
    former.as_deref().ok_or_else(|| PyValueError::new_err("the headers were unreadable before they were set"))
}
