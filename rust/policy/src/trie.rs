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

use crate::decision::{GuardSet, Verdict};
use crate::names::MAX_SEGMENTS;
use crate::pattern::Segment;
use crate::table::{Edge, Entry, Table};
use std::collections::HashMap;

/// Nodes that one request may visit at most.
pub(crate) const MAX_WALK: u64 = 100_000;
/// Nodes of a trie at most, and also (identity, scope) pairs of all rules together.
pub(crate) const MAX_NODES: usize = 4_000_000;
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

/// One segment of a request with its hash.
#[derive(Clone, Copy)]
struct Key<'a> {
    text: &'a [u8],
    hash: u64,
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

    /// Calls `found` with every leaf that the segments (identity first) reach; returns the number of visited nodes.
    pub fn walk(&self, segments: &[&[u8]], found: &mut impl FnMut(&Leaf)) -> u64 {
        let mut keys = [Key { text: &[], hash: 0 }; MAX_SEGMENTS + 1];
        for (key, text) in keys.iter_mut().zip(segments) {
            *key = Key { text, hash: self.table.hash(text) };
        }
        let keys = keys.get(..segments.len()).unwrap_or_default();
        self.visit(ROOT, keys, found)
    }

    /// Recursion is as deep as a request has segments: at most [`MAX_SEGMENTS`] + 1.
    fn visit(&self, index: u32, keys: &[Key<'_>], found: &mut impl FnMut(&Leaf)) -> u64 {
        let Some(node) = self.nodes.get(index as usize) else { return 0 };
        let Some((key, rest)) = keys.split_first() else {
            self.report(node.leaf, found);
            return 1;
        };
        self.report(node.rest, found);
        if keys.len() < usize::from(node.least) || keys.len() > usize::from(node.most) {
            return 1;
        }
        let mut visited = 1;
        if node.literals
            && let Some(child) = self.table.find(index, Edge::Literal, key.text, key.hash)
        {
            visited += self.visit(child, rest, found);
        }
        if node.any != NONE {
            visited += self.visit(node.any, rest, found);
        }
        let start = node.lengths as usize;
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

/// A node while the trie grows.
#[derive(Default)]
struct Draft {
    any: Option<u32>,
    leaf: Vec<u32>,
    rest: Vec<u32>,
    lengths: Vec<u16>,
    literals: bool,
}

/// Grows a trie pattern by pattern.
pub(crate) struct Builder<'a> {
    nodes: Vec<Draft>,
    edges: HashMap<(u32, Edge, &'a str), u32, foldhash::quality::FixedState>,
    /// Number of (identity, scope) pairs.
    pairs: usize,
}

impl<'a> Builder<'a> {
    pub fn new() -> Self {
        Self { nodes: vec![Draft::default()], edges: HashMap::default(), pairs: 0 }
    }

    /// Adds a rule under one identity and one scope pattern; `false` if there are more than [`MAX_NODES`].
    pub fn add(&mut self, identity: Segment<'a>, scope: &[Segment<'a>], rule: u32) -> bool {
        self.pairs += 1;
        if self.pairs > MAX_NODES {
            return false;
        }
        let mut at = ROOT;
        let mut open = false;
        for segment in std::iter::once(&identity).chain(scope) {
            let child = match segment {
                Segment::Literal(text) => self.step(at, Edge::Literal, text),
                Segment::Prefix(text) => self.step(at, Edge::Prefix, text),
                Segment::Any => self.any(at),
                Segment::Rest => {
                    open = true;
                    break;
                }
            };
            match child {
                Some(child) => at = child,
                None => return false,
            }
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            let list = if open { &mut node.rest } else { &mut node.leaf };
            list.push(rule);
        }
        true
    }

    fn node(&mut self) -> Option<u32> {
        if self.nodes.len() >= MAX_NODES {
            return None;
        }
        self.nodes.push(Draft::default());
        u32::try_from(self.nodes.len() - 1).ok()
    }

    fn any(&mut self, at: u32) -> Option<u32> {
        if let Some(child) = self.nodes.get(at as usize)?.any {
            return Some(child);
        }
        let child = self.node()?;
        self.nodes.get_mut(at as usize)?.any = Some(child);
        Some(child)
    }

    fn step(&mut self, at: u32, edge: Edge, text: &'a str) -> Option<u32> {
        if let Some(child) = self.edges.get(&(at, edge, text)) {
            return Some(*child);
        }
        let child = self.node()?;
        self.edges.insert((at, edge, text), child);
        let parent = self.nodes.get_mut(at as usize)?;
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        match edge {
            Edge::Literal => parent.literals = true,
            Edge::Prefix => {
                if let Err(place) = parent.lengths.binary_search(&length) {
                    parent.lengths.insert(place, length);
                }
            }
        }
        Some(child)
    }

    /// Finishes the trie. `rules` says about each rule what a leaf sums up.
    pub fn finish(self, rules: &[Summary]) -> Trie {
        let mut trie = Trie {
            nodes: Vec::with_capacity(self.nodes.len()),
            table: Table::build(&self.entries()),
            lengths: Vec::new(),
            leaves: Vec::new(),
            members: Vec::new(),
            worst: 0,
        };
        let bounds = bounds(&self);
        trie.worst = bounds.first().map_or(0, |bound| bound.walk);
        for (draft, bound) in self.nodes.into_iter().zip(bounds) {
            let node = Node {
                any: draft.any.unwrap_or(NONE),
                leaf: trie.leaf(draft.leaf, rules),
                rest: trie.leaf(draft.rest, rules),
                lengths: u32::try_from(trie.lengths.len()).unwrap_or(NONE),
                length_count: u16::try_from(draft.lengths.len()).unwrap_or(u16::MAX),
                least: bound.least,
                most: bound.most,
                literals: draft.literals,
            };
            trie.lengths.extend(draft.lengths);
            trie.nodes.push(node);
        }
        trie
    }

    fn entries(&self) -> Vec<Entry<'a>> {
        let mut entries: Vec<_> = self
            .edges
            .iter()
            .map(|((parent, edge, text), child)| Entry { parent: *parent, edge: *edge, text, child: *child })
            .collect();
        // In the order of the document, so that one document always gives one table.
        entries.sort_unstable_by_key(|entry| entry.child);
        entries
    }
}

impl Trie {
    fn leaf(&mut self, mut rules: Vec<u32>, summaries: &[Summary]) -> u32 {
        if rules.is_empty() {
            return NONE;
        }
        rules.sort_unstable();
        rules.dedup();
        let summary = |rule: &u32| summaries.get(*rule as usize).copied();
        let is_fixed = |rule: &u32| summary(rule).is_some_and(|summary| summary.fixed);
        let mut leaf = Leaf {
            fixed: [NONE; 4],
            guards: GuardSet::default(),
            start: u32::try_from(self.members.len()).unwrap_or(NONE),
            changing: 0,
            count: u32::try_from(rules.len()).unwrap_or(NONE),
        };
        self.members.extend(rules.iter().filter(|rule| !is_fixed(rule)));
        leaf.changing = u32::try_from(self.members.len()).unwrap_or(NONE) - leaf.start;
        for rule in rules.into_iter().filter(is_fixed) {
            self.members.push(rule);
            if let Some(summary) = summary(&rule) {
                if let Some(first) = leaf.fixed.get_mut(summary.effect.strength()) {
                    *first = rule.min(*first);
                }
                leaf.guards.0 |= summary.guards.0;
            }
        }
        self.leaves.push(leaf);
        u32::try_from(self.leaves.len() - 1).unwrap_or(NONE)
    }
}

/// What is below a node.
#[derive(Clone, Copy, Default)]
struct Bound {
    least: u8,
    most: u8,
    /// Nodes that a walk from here visits at most, this one included.
    walk: u64,
}

/// The bounds of every node. A child always has a greater index than its parent, so that going backwards every child
/// is done before its parent.
fn bounds(builder: &Builder<'_>) -> Vec<Bound> {
    let mut below: Vec<Vec<(Option<(Edge, usize)>, u32)>> = vec![Vec::new(); builder.nodes.len()];
    for ((parent, edge, text), child) in &builder.edges {
        if let Some(list) = below.get_mut(*parent as usize) {
            // Literals exclude each other, prefixes of one length too.
            let class = if *edge == Edge::Literal { 0 } else { text.len() };
            list.push((Some((*edge, class)), *child));
        }
    }
    let mut bounds = vec![Bound::default(); builder.nodes.len()];
    for (index, draft) in builder.nodes.iter().enumerate().rev() {
        let mut children = below.get_mut(index).map(std::mem::take).unwrap_or_default();
        children.extend(draft.any.map(|child| (None, child)));
        let mut bound = Bound { least: u8::MAX, most: 0, walk: 1 };
        if !draft.leaf.is_empty() {
            bound.least = 0;
        }
        if !draft.rest.is_empty() {
            // `**` is reported before the bounds are asked, but what is above this node must let it through.
            bound = Bound { least: bound.least.min(1), most: u8::MAX, ..bound };
        }
        let mut costly: HashMap<Option<(Edge, usize)>, u64, foldhash::quality::FixedState> = HashMap::default();
        for (class, child) in children {
            let Some(child) = bounds.get(child as usize) else { continue };
            bound.least = bound.least.min(child.least.saturating_add(1));
            bound.most = bound.most.max(child.most.saturating_add(1));
            let cost = costly.entry(class).or_default();
            *cost = child.walk.max(*cost);
        }
        bound.walk = costly.values().fold(1, |sum: u64, cost| sum.saturating_add(*cost));
        if let Some(slot) = bounds.get_mut(index) {
            *slot = bound;
        }
    }
    bounds
}
