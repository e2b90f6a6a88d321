//! How the trie grows: pattern by pattern, then the bounds from the leaves up.

use super::{Leaf, MAX_NODES, NONE, Node, ROOT, Summary, Trie};
use crate::decision::GuardSet;
use crate::pattern::Segment;
use crate::table::{Edge, Entry, Table};
use std::collections::HashMap;

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
}

impl<'a> Builder<'a> {
    pub fn new() -> Self {
        Self { nodes: vec![Draft::default()], edges: HashMap::default() }
    }

    /// Adds a rule under one identity and one scope pattern; `false` if that takes more than [`MAX_NODES`].
    pub fn add(&mut self, identity: Segment<'a>, scope: &[Segment<'a>], rule: u32) -> bool {
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

/// Edges of one class exclude each other: literals do, prefixes of one length do; `None` is the edge `*`.
type Class = Option<(Edge, usize)>;

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
    let mut below: Vec<Vec<(Class, u32)>> = vec![Vec::new(); builder.nodes.len()];
    for ((parent, edge, text), child) in &builder.edges {
        if let Some(list) = below.get_mut(*parent as usize) {
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
        let mut costly: HashMap<Class, u64, foldhash::quality::FixedState> = HashMap::default();
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
