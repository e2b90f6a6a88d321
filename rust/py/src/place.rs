//! What all events of one assigned partition share.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::PyString;

use chio_receipts::{EventTarget, Kind, TargetTemplate, Template, TemplateFields};
use chio_rulings::{Generation, Latest, Progress, Question, Resolved};

/// The shared part of a partition's events.
#[derive(Debug)]
pub struct Place {
    /// Topic name.
    pub topic: String,
    /// The same as a Python string, so that `event.topic()` makes none.
    pub topic_object: Py<PyString>,
    /// Partition number.
    pub number: i32,
    /// Scope of consuming the topic.
    pub scope: String,
    /// Who consumes.
    pub identity: String,
    /// The rendered target of receipts.
    pub target: Arc<TargetTemplate>,
    /// Template of `rollback` receipts.
    pub rollback: Arc<Template>,
    /// Guards that run for every decision.
    pub always: Arc<[String]>,
    /// Its stamp, and how far its events have come.
    pub progress: Progress,
    latest: Latest,
}

impl Place {
    /// What is asked about each event.
    pub fn question(&self) -> Question<'_> {
        Question { identity: &self.identity, scope: &self.scope, kind: chio_conditions::Kind::Consume }
    }

    /// The route under a policy; walks the trie once per policy.
    pub fn resolved(&self, generation: &Arc<Generation>) -> Arc<Resolved> {
        self.latest.under(generation, &self.question())
    }
}

/// One assigned partition.
#[pyclass(frozen, module = "chio_fast._native")]
#[derive(Debug)]
pub struct Partition {
    /// Shared with the partition's events.
    pub place: Arc<Place>,
}

/// Where a partition is: the keywords of `Gate.partition`.
pub struct Whereabouts<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition number.
    pub number: i32,
    /// Scope of consuming it.
    pub scope: String,
    /// Who consumes.
    pub identity: String,
    /// Cluster id, empty if unknown.
    pub cluster: &'a str,
    /// Topic id, empty if unknown.
    pub topic_id: &'a str,
    /// Consumer group, empty if there is none.
    pub group: &'a str,
    /// Assignment epoch.
    pub stamp: i64,
}

impl Partition {
    /// Renders what receipts of the partition share.
    pub fn new(py: Python<'_>, at: Whereabouts<'_>, always: &Arc<[String]>) -> Self {
        let target = TargetTemplate::event(&EventTarget {
            cluster: at.cluster,
            group: at.group,
            identity: &at.identity,
            topic: at.topic,
            topic_id: at.topic_id,
            partition: Some(at.number),
        });
        let rollback = Template::new(&TemplateFields {
            kind: Kind::Rollback,
            identity: &at.identity,
            scope: "",
            verdict: None,
            rule: "",
            reason: "not handed out after all",
            errors: &[],
            guards: &[],
        });
        Self {
            place: Arc::new(Place {
                topic: at.topic.to_owned(),
                topic_object: PyString::new(py, at.topic).unbind(),
                number: at.number,
                scope: at.scope,
                identity: at.identity,
                target: Arc::new(target),
                rollback: Arc::new(rollback),
                always: Arc::clone(always),
                progress: Progress::new(at.stamp),
                latest: Latest::default(),
            }),
        }
    }
}

#[pymethods]
impl Partition {
    #[getter]
    fn topic(&self, py: Python<'_>) -> Py<PyString> {
        self.place.topic_object.clone_ref(py)
    }

    #[getter]
    fn number(&self) -> i32 {
        self.place.number
    }

    #[getter]
    fn scope(&self) -> &str {
        &self.place.scope
    }

    #[getter]
    fn identity(&self) -> &str {
        &self.place.identity
    }

    #[getter]
    fn get_stamp(&self) -> i64 {
        self.place.progress.stamp.load(Ordering::Acquire)
    }

    #[setter]
    fn set_stamp(&self, stamp: i64) {
        self.place.progress.stamp.store(stamp, Ordering::Release);
    }

    #[getter]
    fn get_admitted(&self) -> i64 {
        self.place.progress.admitted.load(Ordering::Acquire)
    }

    #[setter]
    fn set_admitted(&self, offset: i64) {
        self.place.progress.admitted.store(offset, Ordering::Release);
    }

    #[getter]
    fn get_position(&self) -> i64 {
        self.place.progress.position.load(Ordering::Acquire)
    }

    #[setter]
    fn set_position(&self, offset: i64) {
        self.place.progress.position.store(offset, Ordering::Release);
    }

    #[getter]
    fn get_handed(&self) -> i64 {
        self.place.progress.handed.load(Ordering::Acquire)
    }

    #[setter]
    fn set_handed(&self, offset: i64) {
        self.place.progress.handed.store(offset, Ordering::Release);
    }

    fn __repr__(&self) -> String {
        format!("Partition({}[{}], stamp={})", self.place.topic, self.place.number, self.get_stamp())
    }
}
