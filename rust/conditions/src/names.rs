//! The variables of a condition and their fields.

use crate::Reads;
use crate::program::{Document, Side, Source};

const VARIABLES: &str = "`identity`, `scope`, `kind`, `now`, `event`, `tool`, `arguments` and `output`";
const EVENT_FIELDS: &str = "`topic`, `partition`, `offset`, `key`, `timestamp`, `headers`, `value` and `size`";
const OUTPUT_FIELDS: &str = "`topic`, `key`, `headers`, `value` and `size`";

/// Where a path begins.
pub(crate) enum Root {
    Source(Source),
    Document(Document),
}

/// A path into the environment, resolved.
pub(crate) struct Resolved<'p> {
    pub root: Root,
    /// The names that are left: members of what `root` holds.
    pub rest: &'p [&'p str],
    pub reads: Reads,
}

/// Whether a name is one of the environment's variables.
pub(crate) fn is_variable(name: &str) -> bool {
    matches!(name, "identity" | "scope" | "kind" | "now" | "event" | "tool" | "arguments" | "output")
}

/// The type that a name denotes, as in `type(x) == int`.
pub(crate) fn type_name(name: &str) -> Option<&'static str> {
    const TYPES: [&str; 10] = ["null_type", "bool", "int", "uint", "double", "string", "bytes", "list", "map", "type"];
    TYPES.into_iter().find(|known| *known == name)
}

/// What a variable and the names behind it denote.
///
/// # Errors
/// A message for the writer of the condition.
pub(crate) fn resolve<'p>(variable: &str, path: &'p [&'p str]) -> Result<Resolved<'p>, String> {
    let plain = |source, reads| Ok(Resolved { root: Root::Source(source), rest: path, reads });
    match variable {
        "scope" => plain(Source::Scope, Reads::NONE),
        "kind" => plain(Source::Kind, Reads::NONE),
        "now" => plain(Source::Now, Reads::NOW),
        "tool" => plain(Source::Tool, Reads::TOOL),
        "arguments" => Ok(Resolved { root: Document::Arguments.into(), rest: path, reads: Reads::ARGUMENTS }),
        "identity" => identity(path),
        "event" => record(Side::Event, path),
        "output" => record(Side::Output, path),
        _ => Err(format!("unknown variable `{variable}`; the variables are {VARIABLES}")),
    }
}

fn identity<'p>(path: &'p [&'p str]) -> Result<Resolved<'p>, String> {
    let (field, rest) = path.split_first().ok_or("`identity` is no value by itself; write `identity.name`")?;
    let (source, reads) = match *field {
        "name" => (Source::IdentityName, Reads::NONE),
        "attributes" => (Source::Attributes, Reads::ATTRIBUTES),
        _ => return Err(format!("`identity` has no field `{field}`; its fields are `name` and `attributes`")),
    };
    Ok(Resolved { root: Root::Source(source), rest, reads })
}

fn record<'p>(side: Side, path: &'p [&'p str]) -> Result<Resolved<'p>, String> {
    let (variable, fields, of_side) = match side {
        Side::Event => ("event", EVENT_FIELDS, Reads::EVENT),
        Side::Output => ("output", OUTPUT_FIELDS, Reads::OUTPUT),
    };
    let Some((field, rest)) = path.split_first() else {
        return Err(format!("`{variable}` is no value by itself; write one of its fields: {fields}"));
    };
    let (root, reads) = match (*field, side) {
        ("topic", _) => (Root::Source(Source::Topic(side)), Reads::NONE),
        ("key", _) => (Root::Source(Source::Key(side)), Reads::KEY),
        ("headers", _) => (Root::Source(Source::Headers(side)), Reads::HEADERS),
        ("size", _) => (Root::Source(Source::Size(side)), Reads::NONE),
        ("value", Side::Event) => (Document::Event.into(), Reads::VALUE),
        ("value", Side::Output) => (Document::Output.into(), Reads::VALUE),
        ("partition", Side::Event) => (Root::Source(Source::Partition), Reads::NONE),
        ("offset", Side::Event) => (Root::Source(Source::Offset), Reads::POSITION),
        ("timestamp", Side::Event) => (Root::Source(Source::Timestamp), Reads::POSITION),
        _ => return Err(format!("`{variable}` has no field `{field}`; its fields are {fields}")),
    };
    Ok(Resolved { root, rest, reads: reads | of_side })
}
