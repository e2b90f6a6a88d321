//! Evaluation of a compiled condition.
//!
//! `&&`, `||`, `all` and `exists` absorb errors: one operand that decides is enough, whatever the others are. Where no
//! operand decides and several fail, the first failure is reported.

use std::borrow::Cow;

use crate::compare::{contains, equal, lookup, order};
use crate::datum::Datum;
use crate::functions::negate;
use crate::json::Slot;
use crate::literal::Literal;
use crate::program::{Comparison, Document, Node, Quantifier, Source, Variable};
use crate::scratch::Scratch;
use crate::{Env, ErrorCode};

type Outcome<'a> = Result<Datum<'a>, ErrorCode>;

/// Where an evaluation is: the environment, and the variables of the comprehensions around it.
pub(crate) struct Frame<'f, 'a> {
    env: &'a Env<'a>,
    scratch: &'a Scratch,
    variable: Option<(Variable, Datum<'a>)>,
    outer: Option<&'f Frame<'f, 'a>>,
}

impl<'f, 'a> Frame<'f, 'a> {
    pub(crate) const fn new(env: &'a Env<'a>, scratch: &'a Scratch) -> Self {
        Self { env, scratch, variable: None, outer: None }
    }

    fn bind(&'f self, variable: Variable, value: Datum<'a>) -> Self {
        Self { env: self.env, scratch: self.scratch, variable: Some((variable, value)), outer: Some(self) }
    }

    fn variable(&self, wanted: Variable) -> Outcome<'a> {
        match (&self.variable, self.outer) {
            (Some((variable, value)), _) if *variable == wanted => Ok(value.clone()),
            (_, Some(outer)) => outer.variable(wanted),
            _ => Err(ErrorCode::Internal),
        }
    }
}

/// Whether the whole condition holds.
pub(crate) fn holds<'a>(node: &'a Node, frame: &Frame<'_, 'a>) -> Result<bool, ErrorCode> {
    match value(node, frame)? {
        Datum::Bool(value) => Ok(value),
        _ => Err(ErrorCode::NotBool),
    }
}

fn value<'a>(node: &'a Node, frame: &Frame<'_, 'a>) -> Outcome<'a> {
    match node {
        Node::Constant(literal) => Ok(literal.into()),
        Node::Type(name) => Ok(Datum::Type(name)),
        Node::Read(source) => read(*source, frame),
        Node::Variable(variable) => frame.variable(*variable),
        Node::Member { of, name } => member(&value(of, frame)?, name)?.ok_or(ErrorCode::NoSuchField),
        Node::Index { of, at } => index(&value(of, frame)?, &value(at, frame)?),
        Node::Negate(of) => negate(&value(of, frame)?),
        Node::Choose { test: condition, then, otherwise } => {
            value(if test(condition, frame)? { then } else { otherwise }, frame)
        }
        Node::Arithmetic { operator, left, right, builds } => {
            operator.apply(value(left, frame)?, value(right, frame)?, *builds)
        }
        Node::Call(function, operand) => function.apply(value(operand, frame)?),
        Node::List(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| value(item, frame)).collect();
            Ok(Datum::List(items?.into()))
        }
        Node::Map(entries) => build_map(entries, frame),
        Node::Transform { over, variable, test, form } => {
            transform(&value(over, frame)?, *variable, test.as_deref(), form, frame)
        }
        _ => test(node, frame).map(Datum::Bool),
    }
}

/// The value of a node as an operand of a boolean operator.
fn test<'a>(node: &'a Node, frame: &Frame<'_, 'a>) -> Result<bool, ErrorCode> {
    match node {
        Node::And(left, right) => fold(left, right, false, frame),
        Node::Or(left, right) => fold(left, right, true, frame),
        Node::Not(of) => test(of, frame).map(|value| !value),
        Node::Compare(comparison, left, right) => match compare_slot(*comparison, left, right, frame) {
            Some(answer) => Ok(answer),
            None => compare(*comparison, &value(left, frame)?, &value(right, frame)?),
        },
        Node::In { element, container } => {
            let element = value(element, frame)?;
            contains(&value(container, frame)?, &element)
        }
        Node::StringTest(kind, subject, argument) => kind.apply(&value(subject, frame)?, &value(argument, frame)?),
        Node::Matches(subject, pattern) => match value(subject, frame)? {
            Datum::Str(text) => Ok(pattern.is_match(&text)),
            _ => Err(ErrorCode::TypeMismatch),
        },
        Node::HasSource(source) => has(*source, frame),
        Node::HasMember { of, name } => member(&value(of, frame)?, name).map(|value| value.is_some()),
        Node::Quantify { quantifier, over, variable, test } => {
            quantify(*quantifier, &value(over, frame)?, *variable, test, frame)
        }
        _ => match value(node, frame)? {
            Datum::Bool(value) => Ok(value),
            _ => Err(ErrorCode::TypeMismatch),
        },
    }
}

/// `||` (decisive true) and `&&` (decisive false).
fn fold<'a>(left: &'a Node, right: &'a Node, decisive: bool, frame: &Frame<'_, 'a>) -> Result<bool, ErrorCode> {
    let left = test(left, frame);
    if left == Ok(decisive) {
        return left;
    }
    match test(right, frame) {
        Ok(right) if right == decisive => Ok(decisive),
        right => left.and(right),
    }
}

/// A member of a document against a constant of the same type: what most conditions are, without values in between.
/// `None` where that is not what the operands are.
fn compare_slot(comparison: Comparison, left: &Node, right: &Node, frame: &Frame<'_, '_>) -> Option<bool> {
    let (Node::Read(Source::Json(document, slot)), Node::Constant(constant)) = (left, right) else { return None };
    let order = match (frame.scratch.scan(*document).ok()?.slot(*slot), constant) {
        (Slot::Int(left), Literal::Int(right)) => left.cmp(right),
        // The order of UTF-8 is the order of the characters.
        (Slot::Str(start, end), Literal::Str(right)) => part(*document, start, end, frame).ok()?.cmp(right.as_bytes()),
        _ => return None,
    };
    Some(comparison.holds(order))
}

fn compare(comparison: Comparison, left: &Datum<'_>, right: &Datum<'_>) -> Result<bool, ErrorCode> {
    match comparison {
        Comparison::Equal => equal(left, right),
        Comparison::NotEqual => equal(left, right).map(|equal| !equal),
        _ => order(left, right).map(|order| order.is_some_and(|order| comparison.holds(order))),
    }
}

fn read<'a>(source: Source, frame: &Frame<'_, 'a>) -> Outcome<'a> {
    let env = frame.env;
    Ok(match source {
        Source::IdentityName => Datum::Str(Cow::Borrowed(env.identity)),
        Source::Attributes => env.attributes.literal().into(),
        Source::Scope => Datum::Str(Cow::Borrowed(env.scope)),
        Source::Kind => Datum::Str(Cow::Borrowed(env.kind.as_str())),
        Source::Now => Datum::Int(env.now),
        Source::Tool => Datum::Str(Cow::Borrowed(env.tool_name()?)),
        Source::Topic(side) => Datum::Str(Cow::Borrowed(env.record(side)?.topic)),
        Source::Partition => known(event(env)?.partition.map(i64::from))?,
        Source::Offset => known(event(env)?.offset)?,
        Source::Timestamp => known(event(env)?.timestamp)?,
        Source::Key(side) => Datum::text_or_bytes(env.record(side)?.key),
        Source::Headers(side) => Datum::Headers(env.record(side)?.headers),
        Source::Size(side) => {
            let size = env.record(side)?.value.map_or(0, <[u8]>::len);
            Datum::Int(i64::try_from(size).map_err(|_| ErrorCode::Overflow)?)
        }
        Source::Json(document, slot) => read_json(document, slot, frame)?,
    })
}

fn event<'a>(env: &Env<'a>) -> Result<&'a crate::EventView<'a>, ErrorCode> {
    env.record(crate::program::Side::Event)
}

fn known(value: Option<i64>) -> Outcome<'static> {
    value.map(Datum::Int).ok_or(ErrorCode::NoSuchField)
}

fn read_json<'a>(document: Document, slot: usize, frame: &Frame<'_, 'a>) -> Outcome<'a> {
    let scan = frame.scratch.scan(document)?;
    Ok(match scan.slot(slot) {
        Slot::NoParent | Slot::Missing => return Err(ErrorCode::NoSuchField),
        Slot::NotAnObject => return Err(ErrorCode::TypeMismatch),
        Slot::Null => Datum::Null,
        Slot::Bool(value) => Datum::Bool(value),
        Slot::Int(value) => Datum::Int(value),
        Slot::Uint(value) => Datum::Uint(value),
        Slot::Double(value) => Datum::Double(value),
        Slot::Str(start, end) => string(part(document, start, end, frame)?)?,
        Slot::Unescaped(start, end) => string(scan.unescaped(start, end))?,
        Slot::List(start, end) => Datum::JsonList(part(document, start, end, frame)?),
        Slot::Map(start, end) => Datum::JsonMap(part(document, start, end, frame)?),
    })
}

fn part<'a>(document: Document, start: usize, end: usize, frame: &Frame<'_, 'a>) -> Result<&'a [u8], ErrorCode> {
    let text = frame.env.text(document)?.unwrap_or_default();
    text.get(start..end).ok_or(ErrorCode::Internal)
}

fn string(bytes: &[u8]) -> Outcome<'_> {
    std::str::from_utf8(bytes).map(|text| Datum::Str(Cow::Borrowed(text))).map_err(|_| ErrorCode::Internal)
}

/// `has()` of a part of the environment. A value counts as there although it may not be JSON: nothing reads it.
fn has(source: Source, frame: &Frame<'_, '_>) -> Result<bool, ErrorCode> {
    let env = frame.env;
    match source {
        Source::Partition => Ok(event(env)?.partition.is_some()),
        Source::Offset => Ok(event(env)?.offset.is_some()),
        Source::Timestamp => Ok(event(env)?.timestamp.is_some()),
        Source::Json(document, 0) => env.text(document).map(|_| true),
        Source::Json(document, slot) => match frame.scratch.scan(document)?.slot(slot) {
            Slot::Missing => Ok(false),
            Slot::NoParent => Err(ErrorCode::NoSuchField),
            Slot::NotAnObject => Err(ErrorCode::TypeMismatch),
            _ => Ok(true),
        },
        _ => read(source, frame).map(|_| true),
    }
}

fn member<'a>(of: &Datum<'a>, name: &str) -> Result<Option<Datum<'a>>, ErrorCode> {
    if !of.is_map() {
        return Err(ErrorCode::TypeMismatch);
    }
    lookup(of, &Datum::Str(Cow::Borrowed(name)))
}

fn index<'a>(of: &Datum<'a>, at: &Datum<'_>) -> Outcome<'a> {
    if of.is_map() {
        return lookup(of, at)?.ok_or(ErrorCode::NoSuchField);
    }
    if !of.is_list() {
        return Err(ErrorCode::TypeMismatch);
    }
    let position = match at {
        Datum::Int(at) => *at,
        Datum::Uint(at) => i64::try_from(*at).map_err(|_| ErrorCode::IndexOutOfRange)?,
        Datum::Double(at) if at.trunc() == *at && at.abs() < i64::MAX as f64 => *at as i64,
        _ => return Err(ErrorCode::TypeMismatch),
    };
    let mut left = usize::try_from(position).map_err(|_| ErrorCode::IndexOutOfRange)?;
    let mut found = None;
    of.each_element(&mut |item| {
        if left == 0 {
            found = Some(item);
            return Ok(false);
        }
        left -= 1;
        Ok(true)
    })?;
    found.ok_or(ErrorCode::IndexOutOfRange)
}

/// Gives each element of a list, or key of a map, to `visit`.
fn each<'a>(over: &Datum<'a>, visit: &mut dyn FnMut(Datum<'a>) -> Result<bool, ErrorCode>) -> Result<(), ErrorCode> {
    if over.is_map() { over.each_entry(&mut |key, _| visit(key)) } else { over.each_element(visit) }
}

fn quantify<'a>(
    quantifier: Quantifier,
    over: &Datum<'a>,
    variable: Variable,
    condition: &'a Node,
    frame: &Frame<'_, 'a>,
) -> Result<bool, ErrorCode> {
    let decisive = quantifier == Quantifier::Exists;
    let mut decided = false;
    let mut held = 0_u64;
    let mut failure = Ok(());
    each(over, &mut |item| {
        match (quantifier, test(condition, &frame.bind(variable, item))) {
            (Quantifier::ExistsOne, Ok(value)) => held += u64::from(value),
            (Quantifier::ExistsOne, Err(error)) => return Err(error),
            (_, Ok(value)) => decided = value == decisive,
            (_, Err(error)) => failure = failure.and(Err(error)),
        }
        Ok(!decided)
    })?;
    match quantifier {
        Quantifier::ExistsOne => Ok(held == 1),
        _ if decided => Ok(decisive),
        _ => failure.map(|()| !decisive),
    }
}

fn transform<'a>(
    over: &Datum<'a>,
    variable: Variable,
    condition: Option<&'a Node>,
    form: &'a Node,
    frame: &Frame<'_, 'a>,
) -> Outcome<'a> {
    let mut items = Vec::new();
    each(over, &mut |item| {
        let inner = frame.bind(variable, item);
        if condition.map_or(Ok(true), |condition| test(condition, &inner))? {
            items.push(value(form, &inner)?);
        }
        Ok(true)
    })?;
    Ok(Datum::List(items.into()))
}

fn build_map<'a>(entries: &'a [(Node, Node)], frame: &Frame<'_, 'a>) -> Outcome<'a> {
    let mut built: Vec<(Datum<'a>, Datum<'a>)> = Vec::with_capacity(entries.len());
    for (key, entry) in entries {
        let key = value(key, frame)?;
        if !matches!(key, Datum::Str(_) | Datum::Int(_) | Datum::Uint(_) | Datum::Bool(_)) {
            return Err(ErrorCode::TypeMismatch);
        }
        for (known, _) in &built {
            if equal(known, &key)? {
                return Err(ErrorCode::InvalidArgument);
            }
        }
        built.push((key, value(entry, frame)?));
    }
    Ok(Datum::Map(built.into()))
}
