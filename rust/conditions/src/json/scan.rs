//! One pass over a JSON text: validates all of it, keeps where the wanted members are.

use super::cursor::{Cursor, Number, Span, unescape};
use super::names::Names;
use super::plan::{Child, Plan};
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
        self.values = 0;
        if std::str::from_utf8(text).is_err() {
            return Err(ErrorCode::NotUtf8);
        }
        let mut scanner = Scanner { cursor: Cursor::new(text), plan, found: self };
        scanner.value(Some(0), LIMITS.json_nesting)?;
        if scanner.cursor.skip_space().is_some() { Err(ErrorCode::NotJson) } else { Ok(()) }
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
    fn fill(&mut self, plan: &Plan, node: usize, slot: Slot) {
        self.set(node, slot);
        for child in plan.node(node) {
            self.fill(plan, child.slot, Slot::NotAnObject);
        }
    }

    fn set(&mut self, node: usize, slot: Slot) {
        if let Some(place) = self.slots.get_mut(node) {
            *place = slot;
        }
    }
}

struct Scanner<'s, 't> {
    cursor: Cursor<'t>,
    plan: &'s Plan,
    found: &'s mut Scan,
}

impl Scanner<'_, '_> {
    /// A value; `node` is its place in the plan, `depth` how many levels may still open.
    fn value(&mut self, node: Option<usize>, depth: usize) -> Result<(), ErrorCode> {
        self.found.values += 1;
        let slot = match self.cursor.skip_space() {
            Some(b'{') => return self.object(node, depth.checked_sub(1).ok_or(ErrorCode::JsonTooDeep)?),
            Some(b'[') => {
                let start = self.cursor.at;
                self.array(depth.checked_sub(1).ok_or(ErrorCode::JsonTooDeep)?)?;
                Slot::List(start, self.cursor.at)
            }
            Some(b'"') => {
                let span = self.cursor.string()?;
                self.text_slot(node, span)?
            }
            Some(b't') => self.cursor.literal(b"true").map(|()| Slot::Bool(true))?,
            Some(b'f') => self.cursor.literal(b"false").map(|()| Slot::Bool(false))?,
            Some(b'n') => self.cursor.literal(b"null").map(|()| Slot::Null)?,
            Some(b'-' | b'0'..=b'9') => match self.cursor.number()? {
                Number::Int(value) => Slot::Int(value),
                Number::Uint(value) => Slot::Uint(value),
                Number::Double(value) => Slot::Double(value),
            },
            _ => return Err(ErrorCode::NotJson),
        };
        if let Some(node) = node {
            self.found.fill(self.plan, node, slot);
        }
        Ok(())
    }

    fn text_slot(&mut self, node: Option<usize>, span: Span) -> Result<Slot, ErrorCode> {
        if !span.escaped || node.is_none() {
            return Ok(Slot::Str(span.start, span.end));
        }
        let start = self.found.arena.len();
        unescape(self.cursor.text, span, &mut self.found.arena)?;
        Ok(Slot::Unescaped(start, self.found.arena.len()))
    }

    fn array(&mut self, depth: usize) -> Result<(), ErrorCode> {
        self.cursor.at += 1;
        if self.cursor.skip_space() == Some(b']') {
            self.cursor.at += 1;
            return Ok(());
        }
        loop {
            self.value(None, depth)?;
            if self.ends(b']')? {
                return Ok(());
            }
        }
    }

    fn object(&mut self, node: Option<usize>, depth: usize) -> Result<(), ErrorCode> {
        let start = self.cursor.at;
        let wanted = node.map_or(&[][..], |node| self.plan.node(node));
        for child in wanted {
            self.found.set(child.slot, Slot::Missing);
        }
        self.cursor.at += 1;
        if self.cursor.skip_space() == Some(b'}') {
            self.cursor.at += 1;
        } else {
            self.members(wanted, depth)?;
        }
        if let Some(node) = node {
            self.found.set(node, Slot::Map(start, self.cursor.at));
        }
        Ok(())
    }

    fn members(&mut self, wanted: &[Child], depth: usize) -> Result<(), ErrorCode> {
        let object = self.found.names.open();
        loop {
            if self.cursor.skip_space() != Some(b'"') {
                return Err(ErrorCode::NotJson);
            }
            let span = self.cursor.string()?;
            let text = self.cursor.text;
            self.found.names.add(object, text, span)?;
            let child = self.found.names.wanted(text, wanted).map(|child| child.slot);
            self.cursor.expect(b':')?;
            self.value(child, depth)?;
            if self.ends(b'}')? {
                self.found.names.close(object);
                return Ok(());
            }
        }
    }

    /// After an element: true behind the closing bracket, false behind a comma.
    #[inline]
    fn ends(&mut self, bracket: u8) -> Result<bool, ErrorCode> {
        let next = self.cursor.skip_space();
        self.cursor.at += 1;
        match next {
            Some(b',') => Ok(false),
            Some(byte) if byte == bracket => Ok(true),
            _ => Err(ErrorCode::NotJson),
        }
    }
}
