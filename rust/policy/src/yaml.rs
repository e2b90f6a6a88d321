//! Reads a YAML document into nodes, and refuses what YAML parsers disagree about.
//!
//! Only plain structure is taken: mappings with string keys, lists, strings, `true`, `false`, `null` and decimal
//! numbers. Anchors, aliases, merge keys, tags and further documents are refused, and so is every unquoted scalar that
//! one YAML version takes for a string and another one for a bool, a number or null (`no`, `0x10`, `1_000`, `1:30`).

use crate::error::{Fault, shown};
use crate::node::{MAX_DEPTH, MAX_LENGTH, Member, Node, Value, no_duplicates, number};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

/// A mapping or list that is not closed yet.
enum Open {
    List { line: u32, entries: Vec<Node> },
    Map { line: u32, members: Vec<Member>, name: Option<(String, u32)> },
}

/// Reads a document.
pub(crate) fn read(text: &str) -> Result<Node, Fault> {
    if text.len() > MAX_LENGTH {
        return Err(Fault::new(0, format!("the document has {} bytes; write at most {MAX_LENGTH}", text.len())));
    }
    let mut reader = Reader { open: Vec::new(), root: None };
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| syntax(text, &error))?;
        let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
        reader.take(event, line)?;
    }
    reader
        .root
        .ok_or_else(|| Fault::new(1, "the document is empty; write `chio: policy/v1` and what identities may do"))
}

/// A syntax error, with what it usually comes from.
fn syntax(text: &str, error: &ScanError) -> Fault {
    let line = error.marker().line();
    let written = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let hint = if written.contains('*') {
        "; put patterns that start with `*` in quotes"
    } else if written.contains('\t') {
        "; indent with spaces, not with tabs"
    } else {
        "; check indentation, colons and quotes"
    };
    Fault::new(u32::try_from(line).unwrap_or(u32::MAX), format!("not valid YAML: {}{hint}", shown(error.info())))
}

struct Reader {
    open: Vec<Open>,
    root: Option<Node>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, line: u32) -> Result<(), Fault> {
        let (anchor, tagged) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
            _ => (0, false),
        };
        if anchor != 0 {
            return Err(Fault::new(
                line,
                "anchors (`&name`) are not part of a policy; write the value where it is used, or put it in quotes",
            ));
        }
        if tagged {
            return Err(Fault::new(
                line,
                "tags (`!name`) are not part of a policy; write the plain value, or put it in quotes",
            ));
        }
        match event {
            Event::Alias(_) => {
                Err(Fault::new(line, "an unquoted `*` starts a YAML alias; put patterns that start with `*` in quotes"))
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Fault::new(line, "a second document starts here; write one document per file"))
            }
            Event::Scalar(text, style, ..) => self.scalar(&text, style, line),
            Event::SequenceStart(..) => self.push(Open::List { line, entries: Vec::new() }, line),
            Event::MappingStart(..) => self.push(Open::Map { line, members: Vec::new(), name: None }, line),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => Ok(()),
        }
    }

    fn push(&mut self, open: Open, line: u32) -> Result<(), Fault> {
        if let Some(Open::Map { name: None, .. }) = self.open.last() {
            return Err(Fault::new(line, "a mapping or list is used as a name; write a string"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::new(line, format!("nested deeper than {MAX_DEPTH}; write a flatter document")));
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        match self.open.pop() {
            Some(Open::List { line, entries }) => self.place(Node { line, value: Value::List(entries) }),
            Some(Open::Map { line, members, .. }) => {
                no_duplicates(&members)?;
                self.place(Node { line, value: Value::Map(members) })
            }
            None => Ok(()),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, line: u32) -> Result<(), Fault> {
        let plain = style == ScalarStyle::Plain;
        if let Some(Open::Map { name: name @ None, .. }) = self.open.last_mut() {
            if plain && text == "<<" {
                return Err(Fault::new(line, "merge keys (`<<`) are not part of a policy; write the members out"));
            }
            if plain && !matches!(resolve(text, line)?, Value::Text(_)) {
                return Err(Fault::new(line, format!("name `{text}` is not a string; write \"{text}\" in quotes")));
            }
            *name = Some((text.to_owned(), line));
            return Ok(());
        }
        let value = if plain { resolve(text, line)? } else { Value::Text(text.to_owned()) };
        self.place(Node { line, value })
    }

    fn place(&mut self, node: Node) -> Result<(), Fault> {
        match self.open.last_mut() {
            Some(Open::List { entries, .. }) => entries.push(node),
            Some(Open::Map { members, name, .. }) => {
                let Some((name, line)) = name.take() else {
                    return Err(Fault::new(node.line, "a value without a name; write `name: value`"));
                };
                members.push(Member { name, line, node });
            }
            None => self.root = Some(node),
        }
        Ok(())
    }
}

/// What an unquoted scalar is.
fn resolve(text: &str, line: u32) -> Result<Value, Fault> {
    match text {
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        "null" => return Ok(Value::Null),
        "" => return Err(Fault::new(line, "a value is missing; write one, or remove the member")),
        _ => {}
    }
    if let Some(number) = number(text) {
        return number.map_err(|message| Fault::new(line, message));
    }
    if is_ambiguous(text) {
        let shown = shown(text);
        let message = format!(
            "unquoted `{shown}` is a string, a bool, a number or null, depending on the YAML version; \
             write \"{shown}\" in quotes, or `true`, `false`, `null` or a decimal number"
        );
        return Err(Fault::new(line, message));
    }
    Ok(Value::Text(text.to_owned()))
}

/// Whether YAML 1.1 or 1.2 takes the text for something other than a string, in a form that is not taken here.
fn is_ambiguous(text: &str) -> bool {
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"];
    if WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return true;
    }
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    if [".inf", ".nan"].iter().any(|word| body.eq_ignore_ascii_case(word)) {
        return true;
    }
    let numeric = body.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !numeric {
        return false;
    }
    let lower = body.to_ascii_lowercase();
    let based = ["0x", "0o", "0b"].iter().any(|base| {
        lower.strip_prefix(base).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_'))
    });
    let digits = body.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'_' | b'.' | b':'));
    let dots = body.matches('.').count();
    based
        || lower.replace('_', "").parse::<f64>().is_ok()
        || (digits && (dots <= 1 || body.contains(':')) && body != ".")
}
