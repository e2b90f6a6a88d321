//! Reads a JSON document (RFC 8259) into nodes, strictly: no duplicate names, nothing trailing, bounded nesting.

use crate::error::{Fault, shown};
use crate::node::{MAX_DEPTH, MAX_LENGTH, Member, Node, Value, no_duplicates, number};

/// Reads a document.
pub(crate) fn read(text: &str) -> Result<Node, Fault> {
    if text.len() > MAX_LENGTH {
        return Err(Fault::new(0, format!("the document has {} bytes; write at most {MAX_LENGTH}", text.len())));
    }
    let mut reader = Reader { text, at: 0, line: 1 };
    let node = reader.value(0)?;
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.fault("there is more text after the document; remove it")),
    }
}

struct Reader<'a> {
    text: &'a str,
    /// Bytes read.
    at: usize,
    /// The line of `at`, counted from 1.
    line: u32,
}

impl<'a> Reader<'a> {
    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.line, format!("not valid JSON: {}", message.into()))
    }

    /// The next byte after white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                other => return Some(*other),
            }
            self.at += 1;
        }
        None
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        let found = self.peek();
        let line = self.line;
        let value = match found {
            None => return Err(self.fault("a value is missing at the end")),
            Some(b'{' | b'[') if depth >= MAX_DEPTH => {
                return Err(self.fault(format!("nested deeper than {MAX_DEPTH}; write a flatter document")));
            }
            Some(b'{') => Value::Map(self.map(depth)?),
            Some(b'[') => Value::List(self.list(depth)?),
            Some(b'"') => Value::Text(self.string()?),
            Some(_) => self.word()?,
        };
        Ok(Node { line, value })
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Member>, Fault> {
        self.at += 1;
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(members);
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.fault("a name is missing; write a string in double quotes"));
            }
            let line = self.line;
            let name = self.string()?;
            if !self.take(b':') {
                return Err(self.fault(format!("`:` is missing after `{}`", shown(&name))));
            }
            let node = self.value(depth + 1)?;
            members.push(Member { name, line, node });
            if self.take(b'}') {
                no_duplicates(&members)?;
                return Ok(members);
            }
            if !self.take(b',') {
                return Err(self.fault("`,` or `}` is missing in an object"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        self.at += 1;
        let mut entries = Vec::new();
        if self.take(b']') {
            return Ok(entries);
        }
        loop {
            entries.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(entries);
            }
            if !self.take(b',') {
                return Err(self.fault("`,` or `]` is missing in a list"));
            }
        }
    }

    /// A string; its escapes are decoded by `serde_json`, which is strict about them.
    fn string(&mut self) -> Result<String, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut escaped = false;
        let end = rest.bytes().enumerate().skip(1).find_map(|(position, byte)| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends.then_some(position + 1)
        });
        let token = end.and_then(|end| rest.get(..end)).ok_or_else(|| self.fault("a string is not closed"))?;
        let decoded = serde_json::from_str(token).map_err(|_| {
            self.fault(format!("string {} has a character or escape that JSON does not allow", shown(token)))
        })?;
        self.at += token.len();
        Ok(decoded)
    }

    fn word(&mut self) -> Result<Value, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end =
            rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'))).unwrap_or(rest.len());
        let token = rest.get(..end).unwrap_or_default();
        let value = match token {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "" => {
                return Err(self.fault(format!(
                    "unexpected `{}`",
                    shown(rest.get(..rest.chars().next().map_or(0, char::len_utf8)).unwrap_or_default())
                )));
            }
            other => match number(other) {
                Some(number) => number.map_err(|message| self.fault(message))?,
                None => {
                    return Err(self.fault(format!("unexpected `{}`; write strings in double quotes", shown(other))));
                }
            },
        };
        self.at += end;
        Ok(value)
    }
}
