//! The document of a policy, validated: what identities hold, and rules.

use crate::decision::{GuardSet, Verdict};
use crate::error::{Fault, shown};
use crate::names::{MAX_ID, is_identity, visible};
use crate::node::{Member, Node, Value};
use crate::{pattern, time};
use std::collections::{BTreeSet, HashMap};

/// The value of the member `chio`.
pub(crate) const FORMAT: &str = "policy/v1";
/// Length of a rule's own reason in bytes.
const MAX_REASON: usize = 512;

/// A whole document.
#[derive(Debug)]
pub(crate) struct Document {
    /// In document order; names are unique.
    pub identities: Vec<Identity>,
    /// In document order; ids are unique.
    pub rules: Vec<Rule>,
}

/// What the document says about one identity.
#[derive(Debug)]
pub(crate) struct Identity {
    pub name: String,
    /// The members of a mapping, or empty.
    pub attributes: Vec<Member>,
    pub capabilities: Vec<Capability>,
}

/// A scope pattern that an identity holds.
#[derive(Debug)]
pub(crate) struct Capability {
    pub pattern: String,
    pub line: u32,
}

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub id: String,
    pub line: u32,
    pub effect: Verdict,
    pub identities: Vec<String>,
    pub scopes: Vec<String>,
    pub when: Option<When>,
    pub not_before: Option<i64>,
    pub expires_at: Option<i64>,
    pub guards: Vec<String>,
    pub reason: Option<String>,
}

/// The text of a condition and the line where it stands.
#[derive(Debug)]
pub(crate) struct When {
    pub text: String,
    pub line: u32,
}

/// Validates a document, whichever form it was read from.
pub(crate) fn validate(root: Node) -> Result<Document, Fault> {
    let line = root.line;
    let members = root.into_map("the document")?;
    only(&members, &["chio", "identities", "rules"], "the document")?;
    let mut document = Document { identities: Vec::new(), rules: Vec::new() };
    let mut format = None;
    for Member { name, line, node } in members {
        match name.as_str() {
            "chio" => format = Some((node.into_text("`chio`")?, line)),
            "identities" => {
                document.identities =
                    node.into_map("`identities`")?.into_iter().map(identity).collect::<Result<_, _>>()?;
            }
            _ => document.rules = node.into_list("`rules`")?.into_iter().map(rule).collect::<Result<_, _>>()?,
        }
    }
    match format {
        None => Err(Fault::new(line, format!("member `chio` is missing; write `chio: {FORMAT}`"))),
        Some((text, line)) if text != FORMAT => {
            Err(Fault::new(line, format!("format `{}` is not known; write `chio: {FORMAT}`", shown(&text))))
        }
        Some(_) => {
            unique_ids(&document)?;
            few_guards(&document)?;
            Ok(document)
        }
    }
}

fn identity(member: Member) -> Result<Identity, Fault> {
    let Member { name, line, node } = member;
    if !is_identity(&name) {
        let shown = shown(&name);
        let message = format!(
            "identity `{shown}` is malformed; write 1 to 255 visible characters without `*` and spaces \
             (patterns of identities stand in rules)"
        );
        return Err(Fault::new(line, message));
    }
    let what = format!("identity `{}`", shown(&name));
    let members = node.into_map(&what)?;
    only(&members, &["capabilities", "attributes"], &what)?;
    let mut identity = Identity { name, attributes: Vec::new(), capabilities: Vec::new() };
    for Member { name, node, .. } in members {
        if name == "attributes" {
            identity.attributes = node.into_map(&format!("`attributes` of {what}"))?;
        } else {
            for node in node.into_list(&format!("`capabilities` of {what}"))? {
                let line = node.line;
                let pattern = node.into_text(&format!("a capability of {what}"))?;
                pattern::scope(&pattern).map_err(|message| Fault::new(line, message))?;
                identity.capabilities.push(Capability { pattern, line });
            }
        }
    }
    Ok(identity)
}

fn rule(node: Node) -> Result<Rule, Fault> {
    let line = node.line;
    let members = node.into_map("a rule")?;
    let id = members.iter().find(|member| member.name == "id").cloned();
    let Some(id) = id else {
        return Err(Fault::new(line, "a rule has no `id`; write `id: a-name-of-its-own`"));
    };
    let id_line = id.node.line;
    let id = id.node.into_text("`id`")?;
    rule_id(&id, id_line)?;
    rule_members(&id, line, members).map_err(|fault| fault.in_rule(&id))
}

fn rule_id(id: &str, line: u32) -> Result<(), Fault> {
    let id_shown = shown(id);
    if !is_label(id) {
        let message = format!(
            "rule id `{id_shown}` is malformed; write 1 to {MAX_ID} bytes of visible characters without `*` and spaces"
        );
        return Err(Fault::new(line, message));
    }
    let reserved = ["capability:", "guard:"].iter().find(|prefix| id.starts_with(**prefix));
    reserved.map_or(Ok(()), |prefix| {
        Err(Fault::new(
            line,
            format!("rule id `{id_shown}` starts with `{prefix}`, which is reserved; write another id"),
        ))
    })
}

fn rule_members(id: &str, line: u32, members: Vec<Member>) -> Result<Rule, Fault> {
    const KNOWN: [&str; 9] =
        ["id", "effect", "identities", "scopes", "when", "not_before", "expires_at", "guards", "reason"];
    only(&members, &KNOWN, "a rule")?;
    let mut found: HashMap<String, Node> = members.into_iter().map(|member| (member.name, member.node)).collect();
    let mut needed = |name: &str| {
        found.remove(name).ok_or_else(|| Fault::new(line, format!("member `{name}` is missing; write `{name}: …`")))
    };
    let effect = effect(needed("effect")?)?;
    let identities = texts(needed("identities")?, "identities", |text| pattern::identity(text).map(|_| ()))?;
    let scopes = texts(needed("scopes")?, "scopes", |text| pattern::scope(text).map(|_| ()))?;
    let not_before = found.remove("not_before").map(|node| timestamp(node, "not_before")).transpose()?;
    let expires_at = found.remove("expires_at").map(|node| timestamp(node, "expires_at")).transpose()?;
    if not_before.zip(expires_at).is_some_and(|(start, end)| start >= end) {
        return Err(Fault::new(line, "`expires_at` is not after `not_before`; write a later `expires_at`"));
    }
    let guards = found.remove("guards").map(|node| texts(node, "guards", guard_name)).transpose()?.unwrap_or_default();
    Ok(Rule {
        id: id.to_owned(),
        line,
        effect,
        identities,
        scopes,
        when: found.remove("when").map(when).transpose()?,
        not_before,
        expires_at,
        guards,
        reason: found.remove("reason").map(reason).transpose()?,
    })
}

fn effect(node: Node) -> Result<Verdict, Fault> {
    let line = node.line;
    let text = node.into_text("`effect`")?;
    Verdict::from_word(&text).ok_or_else(|| {
        let shown = shown(&text);
        Fault::new(line, format!("effect `{shown}` is not known; write `allow`, `deny`, `escalate` or `delay`"))
    })
}

/// A list of different strings that all pass a test.
fn texts(node: Node, name: &str, test: impl Fn(&str) -> Result<(), String>) -> Result<Vec<String>, Fault> {
    let mut list = Vec::new();
    let mut seen = BTreeSet::new();
    for node in node.into_list(&format!("`{name}`"))? {
        let line = node.line;
        let text = node.into_text(&format!("an entry of `{name}`"))?;
        test(&text).map_err(|message| Fault::new(line, message))?;
        if !seen.insert(text.clone()) {
            let message = format!("`{}` is in `{name}` twice; keep one of them", shown(&text));
            return Err(Fault::new(line, message));
        }
        list.push(text);
    }
    Ok(list)
}

fn guard_name(text: &str) -> Result<(), String> {
    if is_label(text) {
        return Ok(());
    }
    let shown = shown(text);
    Err(format!("guard `{shown}` is malformed; write 1 to {MAX_ID} bytes of visible characters without `*` and spaces"))
}

fn is_label(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len()) && text.chars().all(visible)
}

fn timestamp(node: Node, name: &str) -> Result<i64, Fault> {
    let line = node.line;
    let text = node.into_text(&format!("`{name}`"))?;
    time::parse(&text).ok_or_else(|| {
        let shown = shown(&text);
        let message = format!("`{name}` `{shown}` is not a time of RFC 3339; write it as `2026-01-01T00:00:00Z`");
        Fault::new(line, message)
    })
}

fn when(node: Node) -> Result<When, Fault> {
    let line = node.line;
    let text = node.into_text("`when`")?;
    // A block scalar ends with a line break that means nothing.
    let text = text.trim().to_owned();
    if text.is_empty() {
        return Err(Fault::new(line, "`when` is empty; write a condition, or remove it"));
    }
    Ok(When { text, line })
}

fn reason(node: Node) -> Result<String, Fault> {
    let line = node.line;
    let text = node.into_text("`reason`")?.trim().to_owned();
    if (1..=MAX_REASON).contains(&text.len()) {
        return Ok(text);
    }
    Err(Fault::new(line, format!("`reason` has {} bytes; write 1 to {MAX_REASON}", text.len())))
}

fn only(members: &[Member], known: &[&str], what: &str) -> Result<(), Fault> {
    match members.iter().find(|member| !known.contains(&member.name.as_str())) {
        None => Ok(()),
        Some(member) => {
            let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            let name = shown(&member.name);
            Err(Fault::new(member.line, format!("member `{name}` of {what} is not known; write {}", known.join(", "))))
        }
    }
}

/// The id of a capability.
pub(crate) fn capability_id(identity: &str, pattern: &str) -> String {
    format!("capability:{identity}:{pattern}")
}

fn unique_ids(document: &Document) -> Result<(), Fault> {
    let mut seen = HashMap::new();
    for identity in &document.identities {
        for capability in &identity.capabilities {
            let id = capability_id(&identity.name, &capability.pattern);
            if let Some(first) = seen.insert(id, capability.line) {
                let pattern = shown(&capability.pattern);
                let message = format!("capability `{pattern}` has the id of the one in line {first}; keep one of them");
                return Err(Fault::new(capability.line, message));
            }
        }
    }
    let mut seen = HashMap::new();
    for rule in &document.rules {
        if let Some(first) = seen.insert(rule.id.as_str(), rule.line) {
            let message = format!("the rule in line {first} has this id already; write another id");
            return Err(Fault::new(rule.line, message).in_rule(&rule.id));
        }
    }
    Ok(())
}

fn few_guards(document: &Document) -> Result<(), Fault> {
    let mut names = BTreeSet::new();
    for rule in &document.rules {
        names.extend(rule.guards.iter().map(String::as_str));
        if names.len() > GuardSet::CAPACITY {
            let message = format!("the policy names more than {} different guards; write fewer", GuardSet::CAPACITY);
            return Err(Fault::new(rule.line, message).in_rule(&rule.id));
        }
    }
    Ok(())
}

/// The attributes as JSON, for conditions.
pub(crate) fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Uint(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(value) => value.as_str().into(),
        Value::List(list) => list.iter().map(|node| to_json(&node.value)).collect(),
        Value::Map(members) => serde_json::Value::Object(
            members.iter().map(|member| (member.name.clone(), to_json(&member.node.value))).collect(),
        ),
    }
}
