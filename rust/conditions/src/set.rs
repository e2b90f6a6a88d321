//! Conditions as the rest of the engine uses them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cost::{self, Cost, children};
use crate::eval::{Frame, holds};
use crate::functions::{Arithmetic, Function};
use crate::header_names::HeaderNames;
use crate::lower::Lowering;
use crate::parse::parse;
use crate::program::{Document, Node};
use crate::scratch::{Plans, Scratch};
use crate::{CompileError, Env, ErrorCode, LIMITS, Reads};

/// Bytes of a text that count as one value when the steps of a comprehension are bounded.
const BYTES_PER_VALUE: u64 = 64;

/// Numbers of the sets, so that scratch space can tell whose scans it holds.
static NEXT_SET: AtomicU64 = AtomicU64::new(1);

/// One compiled condition: immutable, shareable between threads.
#[derive(Debug)]
pub struct Condition(ConditionSet);

impl Condition {
    /// Compiles the text of a condition.
    ///
    /// # Errors
    /// When the text breaks a limit, is not CEL, or uses what conditions do not have.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        ConditionSet::compile(&[text]).map(Self).map_err(|(_, error)| error)
    }

    /// Whether the condition holds.
    ///
    /// # Errors
    /// When the result is an error or not a bool.
    pub fn eval(&self, env: &Env<'_>, scratch: &mut Scratch) -> Result<bool, ErrorCode> {
        self.0.eval(0, env, scratch)
    }

    /// What the condition reads.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.0.reads(0)
    }

    /// Whether evaluation over scalar fields allocates nothing once the scratch space has grown: the condition builds
    /// no string, list or map. Walking over arrays and objects may still unescape what they hold.
    #[must_use]
    pub fn is_allocation_free(&self) -> bool {
        self.0.is_allocation_free(0)
    }
}

/// Conditions that are compiled together share one table of fields, so that one pass over the JSON serves them all.
#[derive(Debug)]
pub struct ConditionSet {
    id: u64,
    conditions: Vec<Compiled>,
    plans: Plans,
}

#[derive(Debug)]
struct Compiled {
    node: Node,
    reads: Reads,
    documents: [bool; 3],
    /// The bound on steps, where there is a comprehension.
    cost: Option<Cost>,
}

impl ConditionSet {
    /// Compiles the texts; their position is the index that [`ConditionSet::eval`] takes.
    ///
    /// # Errors
    /// The index of the first text that is not acceptable, and why.
    pub fn compile(texts: &[&str]) -> Result<Self, (usize, CompileError)> {
        let mut plans = Plans::default();
        let mut conditions = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            conditions.push(Compiled::new(text, &mut plans).map_err(|error| (index, error))?);
        }
        Ok(Self { id: NEXT_SET.fetch_add(1, Ordering::Relaxed), conditions, plans })
    }

    /// Whether the condition at `index` holds.
    ///
    /// # Errors
    /// When the result is an error or not a bool, or there is no such condition ([`ErrorCode::Internal`]).
    pub fn eval(&self, index: usize, env: &Env<'_>, scratch: &mut Scratch) -> Result<bool, ErrorCode> {
        let condition = self.conditions.get(index).ok_or(ErrorCode::Internal)?;
        scratch.serve(self.id);
        for (document, needed) in Document::ALL.into_iter().zip(condition.documents) {
            if needed {
                scratch.load(document, &self.plans, env);
            }
        }
        if condition.cost.is_some_and(|cost| cost.at(condition.size(env, scratch)) > LIMITS.steps) {
            return Err(ErrorCode::StepLimit);
        }
        holds(&condition.node, &Frame::new(env, scratch))
    }

    /// What the condition at `index` reads.
    #[must_use]
    pub fn reads(&self, index: usize) -> Reads {
        self.conditions.get(index).map_or(Reads::NONE, |condition| condition.reads)
    }

    /// The headers that the conditions look at, of either record.
    #[must_use]
    pub fn header_names(&self) -> HeaderNames {
        let mut names = HeaderNames::default();
        self.conditions.iter().for_each(|condition| names.add(&condition.node));
        names
    }

    /// [`Condition::is_allocation_free`] of the condition at `index`.
    #[must_use]
    pub fn is_allocation_free(&self, index: usize) -> bool {
        self.conditions.get(index).is_some_and(|condition| !builds(&condition.node))
    }

    /// Number of conditions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.conditions.len()
    }

    /// Whether there are no conditions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }
}

impl Compiled {
    fn new(text: &str, plans: &mut Plans) -> Result<Self, CompileError> {
        let (expression, source_info) = parse(text)?;
        let mut lowering = Lowering::new(plans, &source_info);
        let node = lowering.lower(&expression)?;
        let (reads, documents) = (lowering.reads, lowering.documents);
        Ok(Self { cost: cost::of_condition(&node), node, reads, documents })
    }

    /// Number of values that the condition could walk over.
    fn size(&self, env: &Env<'_>, scratch: &Scratch) -> u64 {
        let mut size = if self.reads.contains(Reads::ATTRIBUTES) { env.attributes.literal().values() } else { 0 };
        for (document, needed) in Document::ALL.into_iter().zip(self.documents) {
            if let (true, Ok(scan), Ok(Some(text))) = (needed, scratch.scan(document), env.text(document)) {
                size += scan.values() + text.len() as u64 / BYTES_PER_VALUE;
            }
        }
        for record in [env.event, env.output].into_iter().flatten() {
            if self.reads.contains(Reads::HEADERS) {
                let bytes: usize =
                    record.headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
                size += record.headers.len() as u64 + bytes as u64 / BYTES_PER_VALUE;
            }
            if self.reads.contains(Reads::KEY) {
                size += record.key.map_or(0, <[u8]>::len) as u64 / BYTES_PER_VALUE;
            }
        }
        size
    }
}

/// Whether a node builds strings, lists or maps.
fn builds(node: &Node) -> bool {
    matches!(
        node,
        Node::List(_)
            | Node::Map(_)
            | Node::Transform { .. }
            | Node::Call(Function::Str | Function::Bytes, _)
            | Node::Arithmetic { operator: Arithmetic::Add, builds: true, .. }
    ) || children(node).into_iter().any(builds)
}
