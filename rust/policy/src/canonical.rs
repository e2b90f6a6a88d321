//! The canonical form of a document: the text whose hash is the version.
//!
//! It is JSON as RFC 8785 (JCS) writes it, of the document after these steps, each of which keeps the meaning:
//!
//! - members are sorted by name, and members without content (no identities, no attributes) are left out;
//! - `identities`, `scopes` and `guards` of a rule are sorted, because they are sets;
//! - times are UTC with milliseconds, `when` and `reason` have no white space around them.
//!
//! The order of `capabilities` and `rules` stays, because it chooses the rule that decides among rules of one effect.
//! Unlike in JCS a float keeps its fraction (`1.0`), because conditions tell it from the integer `1`.
//! The canonical form is itself a policy, with itself as its canonical form.

use crate::document::{Document, FORMAT, Identity, Rule};
use crate::node::{Member, Value};
use crate::time;
use std::fmt::Write as _;

/// Writes the canonical form.
pub(crate) fn write(document: &Document) -> String {
    let mut out = String::new();
    object(&mut out, |members| {
        members.add("chio", |out| string(out, FORMAT));
        if !document.identities.is_empty() {
            members.add("identities", |out| identities(out, &document.identities));
        }
        if !document.rules.is_empty() {
            members.add("rules", |out| list(out, &document.rules, rule));
        }
    });
    out
}

fn identities(out: &mut String, identities: &[Identity]) {
    let mut sorted: Vec<_> = identities.iter().collect();
    sorted.sort_by(|a, b| order(&a.name, &b.name));
    object(out, |members| {
        for identity in sorted {
            members.add(&identity.name, |out| {
                object(out, |members| {
                    if !identity.attributes.is_empty() {
                        members.add("attributes", |out| map(out, &identity.attributes));
                    }
                    if !identity.capabilities.is_empty() {
                        members.add("capabilities", |out| {
                            list(out, &identity.capabilities, |out, capability| string(out, &capability.pattern));
                        });
                    }
                });
            });
        }
    });
}

fn rule(out: &mut String, rule: &Rule) {
    object(out, |members| {
        members.add("effect", |out| string(out, rule.effect.as_str()));
        if let Some(end) = rule.expires_at {
            members.add("expires_at", |out| string(out, &time::format(end)));
        }
        if !rule.guards.is_empty() {
            members.add("guards", |out| set(out, &rule.guards));
        }
        members.add("id", |out| string(out, &rule.id));
        members.add("identities", |out| set(out, &rule.identities));
        if let Some(start) = rule.not_before {
            members.add("not_before", |out| string(out, &time::format(start)));
        }
        if let Some(reason) = &rule.reason {
            members.add("reason", |out| string(out, reason));
        }
        members.add("scopes", |out| set(out, &rule.scopes));
        if let Some(when) = &rule.when {
            members.add("when", |out| string(out, &when.text));
        }
    });
}

/// Writes the members of one object, with commas between them.
struct Members<'a> {
    out: &'a mut String,
    first: bool,
}

impl Members<'_> {
    fn add(&mut self, name: &str, value: impl FnOnce(&mut String)) {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        string(self.out, name);
        self.out.push(':');
        value(self.out);
    }
}

fn object(out: &mut String, fill: impl FnOnce(&mut Members<'_>)) {
    out.push('{');
    fill(&mut Members { out, first: true });
    out.push('}');
}

fn list<T>(out: &mut String, entries: &[T], each: impl Fn(&mut String, &T)) {
    out.push('[');
    for (position, entry) in entries.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        each(out, entry);
    }
    out.push(']');
}

fn set(out: &mut String, entries: &[String]) {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by(|a, b| order(a, b));
    list(out, &sorted, |out, entry| string(out, entry));
}

fn map(out: &mut String, members: &[Member]) {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by(|a, b| order(&a.name, &b.name));
    object(out, |object| {
        for member in sorted {
            object.add(&member.name, |out| value(out, &member.node.value));
        }
    });
}

fn value(out: &mut String, given: &Value) {
    match given {
        Value::List(entries) => list(out, entries, |out, node| value(out, &node.value)),
        Value::Map(members) => map(out, members),
        Value::Text(text) => string(out, text),
        Value::Null => out.push_str("null"),
        Value::Bool(value) => push(out, value),
        Value::Int(value) => push(out, value),
        Value::Uint(value) => push(out, value),
        // `serde_json` writes the shortest digits that read back, always with a fraction or an exponent.
        Value::Float(value) => push(out, &serde_json::Value::from(*value)),
    }
}

fn push(out: &mut String, value: &impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = write!(out, "{value}");
}

/// Writes a string with the escapes of RFC 8785, which are those of `serde_json`.
fn string(out: &mut String, text: &str) {
    push(out, &serde_json::Value::from(text));
}

/// The order of RFC 8785: by UTF-16 code units.
fn order(a: &str, b: &str) -> std::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}
