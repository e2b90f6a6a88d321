//! Which headers conditions name.

use std::collections::BTreeSet;

use crate::cost::children;
use crate::literal::Literal;
use crate::program::{Node, Source};

/// The headers that conditions can tell apart: by name, or all of them where a name is computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderNames {
    named: BTreeSet<String>,
    all: bool,
}

impl HeaderNames {
    /// Whether no condition looks at headers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && !self.all
    }

    /// Whether a condition can look at the header of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.all || self.named.contains(name)
    }

    /// Adds what a condition looks at. Headers that are not looked at by a constant name are looked at as a whole.
    pub(crate) fn add(&mut self, node: &Node) {
        match node {
            Node::Member { of, name } | Node::HasMember { of, name } if is_headers(of) => {
                self.named.insert(name.to_string());
            }
            Node::In { element, container } if is_headers(container) => match &**element {
                Node::Constant(Literal::Str(name)) => {
                    self.named.insert(name.to_string());
                }
                _ => self.all = true,
            },
            _ if is_headers(node) => self.all = true,
            _ => children(node).into_iter().for_each(|child| self.add(child)),
        }
    }
}

fn is_headers(node: &Node) -> bool {
    matches!(node, Node::Read(Source::Headers(_)) | Node::HasSource(Source::Headers(_)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test fails by panicking.
mod tests {
    use crate::ConditionSet;

    #[test]
    fn headers_are_named_by_constant_names_and_all_of_them_otherwise() {
        for (text, named, all) in [
            ("event.topic == 'a' && event.value.headers.b == 1", "", false),
            ("event.headers.a == 'x' || output.headers['b'] == ''", "a b", false),
            ("'a' in event.headers && has(event.headers.a)", "a", false),
            ("event.headers[scope] == 'x'", "", true),
            ("scope in event.headers || event.headers.b == ''", "b", true),
            ("event.headers.exists(name, name == 'a')", "", true),
            ("size(event.headers) > 3", "", true),
        ] {
            let names = ConditionSet::compile(&[text]).unwrap().header_names();
            assert_eq!(names.named.iter().cloned().collect::<Vec<_>>().join(" "), named, "{text}");
            assert_eq!((names.all, names.is_empty()), (all, named.is_empty() && !all), "{text}");
            assert_eq!(names.contains("other"), all, "{text}");
        }
    }
}
