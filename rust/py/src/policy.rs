//! Compiled policies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use chio_policy::{PolicyError, Request, Scratch};
use chio_rulings::{Generation, Origin, Ruling};

use crate::check;
use crate::clock;
use crate::decision;
use crate::errors;
use crate::matter::Matter;
use crate::record::Record;

/// An immutable compiled policy.
#[pyclass(frozen, module = "chio_fast._native")]
#[derive(Debug)]
pub struct Policy {
    /// Shared with the gates that decide by it.
    pub inner: Arc<chio_policy::Policy>,
    source: String,
}

#[pymethods]
impl Policy {
    #[staticmethod]
    fn from_file(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let source = path.display().to_string();
        let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        py.detach(|| {
            let text = read(&path, &source)?;
            if is_json { Self::compile_json(&text, source) } else { Self::compile_yaml(&text, source) }
        })
        .map_err(|error| errors::policy(&error))
    }

    #[staticmethod]
    #[pyo3(signature = (text, *, source = "<yaml>"))]
    fn from_yaml(py: Python<'_>, text: &str, source: &str) -> PyResult<Self> {
        py.detach(|| Self::compile_yaml(text, source.to_owned())).map_err(|error| errors::policy(&error))
    }

    #[staticmethod]
    #[pyo3(signature = (text, *, source = "<json>"))]
    fn from_json(py: Python<'_>, text: &str, source: &str) -> PyResult<Self> {
        py.detach(|| Self::compile_json(text, source.to_owned())).map_err(|error| errors::policy(&error))
    }

    #[staticmethod]
    #[pyo3(signature = (document, *, source = "<dict>"))]
    fn from_dict(py: Python<'_>, document: &Bound<'_, PyAny>, source: &str) -> PyResult<Self> {
        let json = encode(document).map_err(|error| {
            let message = error.value(py).to_string().replace("the arguments", "the document");
            errors::policy(&PolicyError { source: source.to_owned(), line: None, rule: None, message })
        })?;
        let text = String::from_utf8_lossy(&json);
        py.detach(|| Self::compile_json(&text, source.to_owned())).map_err(|error| errors::policy(&error))
    }

    #[getter]
    fn version(&self) -> String {
        chio_receipts::hex::encode(&self.inner.version())
    }

    #[getter]
    fn canonical(&self) -> &str {
        self.inner.canonical()
    }

    #[getter]
    fn source(&self) -> &str {
        &self.source
    }

    #[getter]
    fn guards<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.inner.guards())
    }

    #[pyo3(signature = (identity, scope, *, kind = "consume", event = None, tool = None, arguments = None, output = None,
                        now = None))]
    #[expect(clippy::too_many_arguments, reason = "these are the keywords of the Python method")]
    fn decide<'py>(
        &self,
        py: Python<'py>,
        identity: String,
        scope: String,
        kind: &str,
        event: Option<&Bound<'py, PyAny>>,
        tool: Option<String>,
        arguments: Option<&Bound<'py, PyAny>>,
        output: Option<&Bound<'py, PyAny>>,
        now: Option<i64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let matter = matter(identity, scope, kind, event, tool, arguments, output)?;
        let now = now.unwrap_or_else(clock::now);
        let decide = |request: &Request<'_>| self.inner.decide(request, &mut Scratch::new());
        let decision = matter.with_request(&matter.scope, now, decide);
        let generation = Arc::new(Generation::new(Arc::clone(&self.inner)));
        let told = Ruling::new(generation, decision, now).snapshot(&matter.question(), &[]);
        decision::build(py, &told)
    }

    #[pyo3(signature = (identity, scope, *, kind = "consume", event = None, tool = None, arguments = None, output = None,
                        now = None))]
    #[expect(clippy::too_many_arguments, reason = "these are the keywords of the Python method")]
    fn has_scope(
        &self,
        identity: String,
        scope: String,
        kind: &str,
        event: Option<&Bound<'_, PyAny>>,
        tool: Option<String>,
        arguments: Option<&Bound<'_, PyAny>>,
        output: Option<&Bound<'_, PyAny>>,
        now: Option<i64>,
    ) -> PyResult<bool> {
        let matter = matter(identity, scope, kind, event, tool, arguments, output)?;
        let ask = |request: &Request<'_>| self.inner.has_scope(request, &mut Scratch::new());
        Ok(matter.with_request(&matter.scope, now.unwrap_or_else(clock::now), ask))
    }

    #[pyo3(signature = (identity, scope, *, kind = "consume", event = None, tool = None, arguments = None, output = None,
                        now = None))]
    #[expect(clippy::too_many_arguments, reason = "these are the keywords of the Python method")]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        identity: String,
        scope: String,
        kind: &str,
        event: Option<&Bound<'py, PyAny>>,
        tool: Option<String>,
        arguments: Option<&Bound<'py, PyAny>>,
        output: Option<&Bound<'py, PyAny>>,
        now: Option<i64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let matter = matter(identity, scope, kind, event, tool, arguments, output)?;
        let explain = |request: &Request<'_>| self.inner.explain(request);
        let explanation = matter.with_request(&matter.scope, now.unwrap_or_else(clock::now), explain);
        let json = serde_json::to_vec(&explanation).map_err(|error| PyValueError::new_err(error.to_string()))?;
        py.import("chio_fast.decision")?.call_method1("read_explanation", (PyBytes::new(py, &json),))
    }

    fn __repr__(&self) -> String {
        format!("Policy({}, version={})", self.source, self.version())
    }
}

impl Policy {
    fn compile_yaml(text: &str, source: String) -> Result<Self, PolicyError> {
        let inner = Arc::new(chio_policy::Policy::from_yaml(text, &source)?);
        Ok(Self { inner, source })
    }

    fn compile_json(text: &str, source: String) -> Result<Self, PolicyError> {
        let inner = Arc::new(chio_policy::Policy::from_json(text, &source)?);
        Ok(Self { inner, source })
    }
}

fn read(path: &Path, source: &str) -> Result<String, PolicyError> {
    let refuse = |message: String| PolicyError { source: source.to_owned(), line: None, rule: None, message };
    let bytes = std::fs::read(path).map_err(|error| refuse(format!("the policy file cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|_| refuse("the policy file is not UTF-8: save it as UTF-8".to_owned()))
}

fn matter(
    identity: String,
    scope: String,
    kind: &str,
    event: Option<&Bound<'_, PyAny>>,
    tool: Option<String>,
    arguments: Option<&Bound<'_, PyAny>>,
    output: Option<&Bound<'_, PyAny>>,
) -> PyResult<Matter> {
    Ok(Matter {
        identity,
        scope,
        kind: check::kind(kind)?,
        event: event.map(|event| Record::read(event, "event")).transpose()?,
        tool,
        arguments: arguments.map(encode).transpose()?,
        output: output.map(|output| Record::read(output, "output")).transpose()?,
        origin: Origin::default(),
        always: [].into(),
        shown: (None, None),
    })
}

/// The JSON text of Python values.
fn encode(given: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let py = given.py();
    py.import(intern!(py, "chio_fast.arguments"))?.call_method1(intern!(py, "encode_arguments"), (given,))?.extract()
}
