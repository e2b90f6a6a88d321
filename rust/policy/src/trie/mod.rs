//! Which rules match an identity and a scope.
//!
//! The naive algorithm is four lines:
//!
//! ```text
//! for rule in rules:
//!     for (identity, scope) in rule.identities × rule.scopes:
//!         if matches(identity, request.identity) and matches(scope, request.scope):
//!             found(rule)
//! ```
//!
//! It costs as much as there are patterns. The steps away from it:
//!
//! 1. **Identity first.** An identity pattern (exact, `prefix*`, `*`) has the form of one segment. So a pattern is the
//!    path `identity : segment : … : segment`, and patterns that begin alike share their beginning: a trie, whose
//!    nodes hold the rules that end there. Ten thousand identities that hold the same scope do not meet.
//! 2. **One table.** The edges of all nodes are in one hash table, by (node, text). Each segment of a request is hashed
//!    once, whatever the number of nodes that ask for it.
//! 3. **Wildcards are edges too.** A node has at most one edge `*`. Its `prefix*` edges are in the same table, and the
//!    node knows which lengths they have: for each length there is one look-up of the segment's first bytes. `**` is
//!    not an edge but a second list of rules at the node, found as soon as one more segment follows.
//! 4. **Dead ends are seen early.** A node knows how many more segments its patterns have, at least and at most.
//! 5. **Leaves are summed up.** What rules without condition and window add to a decision does not depend on the
//!    request, so a leaf holds the sum: the first rule of each effect, and the guards. Only the other rules are visited.
//!
//! **Bound.** Of several branches a request can follow all. But each node is reached over one path only, so a walk
//! visits it at most once, and it looks up at most one literal and one text per prefix length. While compiling,
//! [`Trie::worst`] is computed from the leaves up: the greatest number of nodes that any request can visit, that is 1
//! plus the `*` child plus, for the literals and for each prefix length, the child that costs most (a request has only
//! one text there). A policy above [`MAX_WALK`] is refused. So no request costs more than `MAX_WALK` visits, each
//! of at most 1 + (prefix lengths of the node) look-ups, each of at most [`Table::longest`] slots.

mod grow;
#[cfg(test)]
mod tests;

use crate::decision::{GuardSet, Verdict};
use crate::names::{Key, Keys, is_identity};
use crate::table::{Edge, Table};
use chio_conditions::ErrorCode;
pub(crate) use grow::Builder;

/// Nodes that one request may visit at most.
pub(crate) const MAX_WALK: u64 = 100_000;
/// Nodes of a trie at most, and also (identity, scope) pairs of all rules together. At this size a trie takes about
/// 400 MB while it grows.
pub(crate) const MAX_NODES: usize = 2_000_000;
/// No node, no leaf, no rule.
pub(crate) const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;

/// A node of the finished trie.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The child over `*`, or [`NONE`].
    any: u32,
    /// The leaf of the patterns that end here, or [`NONE`].
    leaf: u32,
    /// The leaf of the patterns that go on with `**`, or [`NONE`].
    rest: u32,
    /// Where the lengths of the `prefix*` edges start in `lengths`, and how many there are, ascending.
    lengths: u32,
    length_count: u16,
    /// Segments that must and can follow; `most` is `u8::MAX` where a pattern goes on with `**`.
    least: u8,
    most: u8,
    literals: bool,
}

/// The rules whose patterns end at a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    /// The first rule of each effect among those without condition and window, by strength, or [`NONE`].
    pub fixed: [u32; 4],
    /// The guards of the rules without condition and window.
    pub guards: GuardSet,
    start: u32,
    changing: u32,
    count: u32,
}

/// What the trie has to know about a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub effect: Verdict,
    pub guards: GuardSet,
    /// Whether it has no condition and no window.
    pub fixed: bool,
}

/// The finished trie.
#[derive(Debug)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    table: Table,
    lengths: Vec<u16>,
    leaves: Vec<Leaf>,
    /// The rules of all leaves; those of one leaf together, the changing ones first.
    members: Vec<u32>,
    worst: u64,
}

impl Trie {
    /// The greatest number of nodes that any request can visit.
    pub fn worst(&self) -> u64 {
        self.worst
    }

    /// Slots of the table that one look-up reads at most.
    #[cfg(test)]
    pub fn longest_probe(&self) -> usize {
        self.table.longest()
    }

    /// The rules of a leaf that have a condition or a window, ascending.
    pub fn changing(&self, leaf: &Leaf) -> &[u32] {
        let start = leaf.start as usize;
        self.members.get(start..start + leaf.changing as usize).unwrap_or_default()
    }

    /// All rules of a leaf.
    pub fn all(&self, leaf: &Leaf) -> &[u32] {
        let start = leaf.start as usize;
        self.members.get(start..start + leaf.count as usize).unwrap_or_default()
    }

    /// Calls `found` with every leaf that a request reaches; returns the number of visited nodes.
    ///
    /// # Errors
    /// What is malformed in the request.
    pub fn walk(&self, identity: &str, scope: &str, found: &mut impl FnMut(&Leaf)) -> Result<u64, ErrorCode> {
        if !is_identity(identity) {
            return Err(ErrorCode::InvalidIdentity);
        }
        let mut keys = Keys::new();
        keys.fill(identity, scope, |text| self.table.hash(text)).ok_or(ErrorCode::InvalidScope)?;
        Ok(self.visit(ROOT, keys.as_slice(), found))
    }

    /// Visits a node and what is below it. The literal is followed in the loop; wildcards are followed by recursion,
    /// which is as deep as a request has segments: at most [`MAX_SEGMENTS`](crate::names::MAX_SEGMENTS) + 1.
    fn visit(&self, mut index: u32, mut keys: &[Key<'_>], found: &mut impl FnMut(&Leaf)) -> u64 {
        let mut visited = 0;
        while let Some(node) = self.nodes.get(index as usize) {
            visited += 1;
            let Some((key, rest)) = keys.split_first() else {
                self.report(node.leaf, found);
                break;
            };
            self.report(node.rest, found);
            if keys.len() < usize::from(node.least) || keys.len() > usize::from(node.most) {
                break;
            }
            if node.any != NONE {
                visited += self.visit(node.any, rest, found);
            }
            if node.length_count != 0 {
                visited += self.visit_prefixes(index, node, keys, found);
            }
            if !node.literals {
                break;
            }
            let Some(child) = self.table.find(index, Edge::Literal, key.text, key.hash) else { break };
            index = child;
            keys = rest;
        }
        visited
    }

    fn visit_prefixes(&self, index: u32, node: &Node, keys: &[Key<'_>], found: &mut impl FnMut(&Leaf)) -> u64 {
        let Some((key, rest)) = keys.split_first() else { return 0 };
        let start = node.lengths as usize;
        let mut visited = 0;
        for length in self.lengths.get(start..start + usize::from(node.length_count)).unwrap_or_default() {
            let Some(prefix) = key.text.get(..usize::from(*length)) else { break };
            if let Some(child) = self.table.find(index, Edge::Prefix, prefix, self.table.hash(prefix)) {
                visited += self.visit(child, rest, found);
            }
        }
        visited
    }

    fn report(&self, leaf: u32, found: &mut impl FnMut(&Leaf)) {
        if let Some(leaf) = self.leaves.get(leaf as usize) {
            found(leaf);
        }
    }
}
