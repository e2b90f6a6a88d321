//! One pass over a JSON text: validates all of it, keeps where the wanted members are.

use super::cursor::{Cursor, Number, Span, double, unescape};
use super::names::{Names, Open};
use super::plan::Plan;
use crate::{ErrorCode, LIMITS};

/// What the scan found at one path.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Slot {
    /// The member that should hold it is not there, or there is no document.
    #[default]
    NoParent,
    /// Its object has no such member.
    Missing,
    /// What should hold it is no object.
    NotAnObject,
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    /// A string without escapes: its place in the text.
    Str(usize, usize),
    /// A string with escapes: its place in the scan's arena, unescaped.
    Unescaped(usize, usize),
    /// An array: its place in the text, with brackets.
    List(usize, usize),
    /// An object: its place in the text, with braces.
    Map(usize, usize),
}

/// The result of scanning one text, and the memory for the next.
#[derive(Debug, Default)]
pub struct Scan {
    slots: Vec<Slot>,
    arena: Vec<u8>,
    names: Names,
    /// The containers around the one that is read, outermost first.
    outer: Vec<Container>,
    values: u64,
}

impl Scan {
    /// Validates `text` to its last byte and fills the slots of `plan`.
    ///
    /// # Errors
    /// `NotUtf8`, `NotJson`, `DuplicateMember`, `JsonTooDeep` or `NumberOutOfRange`: the first that is met.
    pub fn scan(&mut self, text: &[u8], plan: &Plan) -> Result<(), ErrorCode> {
        self.slots.clear();
        self.slots.resize(plan.len(), Slot::NoParent);
        self.arena.clear();
        self.names.clear();
        self.outer.clear();
        self.values = 0;
        if !text.is_ascii() && std::str::from_utf8(text).is_err() {
            return Err(ErrorCode::NotUtf8);
        }
        Scanner { cursor: Cursor::new(text), inner: Container::NONE, plan, found: self }.document()
    }

    pub(crate) fn slot(&self, index: usize) -> Slot {
        self.slots.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn unescaped(&self, start: usize, end: usize) -> &[u8] {
        self.arena.get(start..end).unwrap_or_default()
    }

    /// Number of values in the text that was scanned last, nested ones included.
    pub(crate) fn values(&self) -> u64 {
        self.values
    }

    /// Makes the scan that of a null document.
    pub(crate) fn set_null(&mut self, plan: &Plan) {
        self.slots.clear();
        self.slots.resize(plan.len(), Slot::NoParent);
        self.values = 1;
        self.fill(plan, 0, Slot::Null);
    }

    /// Sets the slot of a wanted path to a value that is no object.
    #[inline]
    fn fill(&mut self, plan: &Plan, node: usize, slot: Slot) {
        self.set(node, slot);
        for child in plan.children(node) {
            self.fill(plan, child.slot, Slot::NotAnObject);
        }
    }

    fn set(&mut self, node: usize, slot: Slot) {
        if let Some(place) = self.slots.get_mut(node) {
            *place = slot;
        }
    }
}

/// The place in the plan of what no condition needs: it has no slot and no children.
const UNWANTED: usize = usize::MAX;

/// An array or object that is open.
#[derive(Clone, Copy, Debug)]
struct Container {
    /// The bracket that closes it.
    bracket: u8,
    /// Where its opening bracket is.
    start: usize,
    /// Its place in the plan.
    node: usize,
    /// The names of an object.
    names: Open,
}

impl Container {
    /// What is around the document.
    const NONE: Self = Self { bracket: 0, start: 0, node: UNWANTED, names: Open::NONE };
}

/// Reads a text from left to right.
///
/// Containers that are open lie on a stack of their own. So a scalar, which is what most values are, costs no call, and
/// the position stays in a register; the methods are inlined into the one loop for that.
struct Scanner<'s, 't> {
    cursor: Cursor<'t>,
    inner: Container,
    plan: &'s Plan,
    found: &'s mut Scan,
}

impl Scanner<'_, '_> {
    fn document(mut self) -> Result<(), ErrorCode> {
        let mut node = 0;
        loop {
            self.found.values += 1;
            let complete = match self.cursor.skip_space() {
                b'{' => self.open(b'}', node)?,
                b'[' => self.open(b']', node)?,
                first => self.scalar(first, node)?,
            };
            if complete && self.ends()? {
                return Ok(());
            }
            node = if self.inner.bracket == b'}' { self.name()? } else { UNWANTED };
        }
    }

    /// Closes the containers that end with the value before the cursor: true when that was the last of the document,
    /// false behind a comma.
    #[inline(always)]
    fn ends(&mut self) -> Result<bool, ErrorCode> {
        loop {
            if self.inner.bracket == Container::NONE.bracket {
                return if self.cursor.at_end() { Ok(true) } else { Err(ErrorCode::NotJson) };
            }
            let next = self.cursor.skip_space();
            self.cursor.at += 1;
            if next == b',' {
                return Ok(false);
            }
            if next != self.inner.bracket {
                return Err(ErrorCode::NotJson);
            }
            self.close();
        }
    }

    /// Opens the container whose opening bracket is next. Says whether it is empty; its closing bracket stays next.
    #[inline(always)]
    fn open(&mut self, bracket: u8, node: usize) -> Result<bool, ErrorCode> {
        if self.found.outer.len() >= LIMITS.json_nesting {
            return Err(ErrorCode::JsonTooDeep);
        }
        self.found.outer.push(self.inner);
        self.inner = Container { bracket, start: self.cursor.at, node, names: self.found.names.open() };
        if bracket == b'}' {
            for child in self.plan.children(node) {
                self.found.set(child.slot, Slot::Missing);
            }
        }
        self.cursor.at += 1;
        Ok(self.cursor.skip_space() == bracket)
    }

    /// Closes the innermost container; the cursor is behind its closing bracket.
    #[inline(always)]
    fn close(&mut self) {
        let Container { bracket, start, node, names } = self.inner;
        self.found.names.close(names);
        if bracket == b'}' {
            self.found.set(node, Slot::Map(start, self.cursor.at));
        } else if node != UNWANTED {
            self.found.fill(self.plan, node, Slot::List(start, self.cursor.at));
        }
        self.inner = self.found.outer.pop().unwrap_or(Container::NONE);
    }

    /// The name of a member, with its colon. Gives the member's place in the plan.
    #[inline(always)]
    fn name(&mut self) -> Result<usize, ErrorCode> {
        if self.cursor.skip_space() != b'"' {
            return Err(ErrorCode::NotJson);
        }
        let span = self.cursor.string()?;
        let text = self.cursor.text;
        let fingerprint = self.found.names.add(&mut self.inner.names, text, span)?;
        self.cursor.expect(b':')?;
        let Some(object) = self.plan.node(self.inner.node) else { return Ok(UNWANTED) };
        let child = object.find(fingerprint, |name| self.found.names.last_is(text, name));
        Ok(child.map_or(UNWANTED, |child| child.slot))
    }

    /// A value that is no container, always complete; `first` is its first character.
    #[inline(always)]
    fn scalar(&mut self, first: u8, node: usize) -> Result<bool, ErrorCode> {
        let slot = match first {
            b'"' => {
                let span = self.cursor.string()?;
                if span.escaped && node != UNWANTED { self.unescaped(span)? } else { Slot::Str(span.start, span.end) }
            }
            b't' => self.cursor.literal(b"true").map(|()| Slot::Bool(true))?,
            b'f' => self.cursor.literal(b"false").map(|()| Slot::Bool(false))?,
            b'n' => self.cursor.literal(b"null").map(|()| Slot::Null)?,
            b'-' | b'0'..=b'9' => match self.cursor.number()? {
                Number::Int(value) => Slot::Int(value),
                Number::Uint(value) => Slot::Uint(value),
                Number::Double(start, end) if node != UNWANTED => Slot::Double(double(self.cursor.text, start, end)?),
                Number::Double(..) => Slot::Missing,
            },
            _ => return Err(ErrorCode::NotJson),
        };
        if node != UNWANTED {
            self.found.fill(self.plan, node, slot);
        }
        Ok(true)
    }

    fn unescaped(&mut self, span: Span) -> Result<Slot, ErrorCode> {
        let start = self.found.arena.len();
        unescape(self.cursor.text, span, &mut self.found.arena)?;
        Ok(Slot::Unescaped(start, self.found.arena.len()))
    }
}
