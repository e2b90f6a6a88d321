//! The edges of the trie: one hash table for all nodes.
//!
//! A request can only look up; what is in the table comes from the policy alone. So the seed is no secret: it is
//! chosen per compile, and another one is taken until no entry is far from its slot. A look-up reads at most
//! [`Table::longest`] slots, whatever the request.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use std::hash::Hasher;

/// Which of a node's edges: to a literal or to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Edge {
    Literal = 0,
    Prefix = 1,
}

/// An edge that goes into the table.
pub(crate) struct Entry<'a> {
    pub parent: u32,
    pub edge: Edge,
    pub text: &'a str,
    pub child: u32,
}

/// A slot: 16 bytes, so that none lies in two cache lines. `child` 0 means free, because no edge leads to the root.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    parent: u32,
    child: u32,
    /// Where the text starts in `texts`, in bytes.
    text: u32,
    /// Length of the text in bytes; at most 512.
    length: u16,
    edge: u16,
}

/// Edges by (parent, kind, text).
#[derive(Debug)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    texts: Vec<u8>,
    seed: u64,
    /// Number of slots that a look-up reads at most.
    longest: usize,
    /// 64 minus the base-2 logarithm of the number of slots.
    shift: u32,
}

/// Whether two texts are equal. Most segments have at most 16 bytes: two loads, which overlap, and no call.
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.len() <= 16
        && let (Some(first_a), Some(first_b)) = (a.first_chunk::<8>(), b.first_chunk::<8>())
    {
        return first_a == first_b && a.last_chunk::<8>() == b.last_chunk::<8>();
    }
    if a.len() < 8
        && let (Some(first_a), Some(first_b)) = (a.first_chunk::<4>(), b.first_chunk::<4>())
    {
        return first_a == first_b && a.last_chunk::<4>() == b.last_chunk::<4>();
    }
    a == b
}

/// Slots per look-up that a build is content with.
const SHORT: usize = 8;
/// Seeds tried before the table is doubled, and doublings before the last try is taken as it is.
const SEEDS: u64 = 4;
const DOUBLINGS: u32 = 3;

impl Table {
    /// Builds the table. No two entries have the same parent, kind and text.
    pub fn build(entries: &[Entry<'_>]) -> Self {
        let mut texts = Vec::new();
        let mut places = std::collections::HashMap::new();
        let placed: Vec<Slot> = entries
            .iter()
            .map(|entry| Slot {
                parent: entry.parent,
                child: entry.child,
                text: *places.entry(entry.text).or_insert_with(|| {
                    let start = u32::try_from(texts.len()).unwrap_or(u32::MAX);
                    texts.extend_from_slice(entry.text.as_bytes());
                    start
                }),
                length: u16::try_from(entry.text.len()).unwrap_or(u16::MAX),
                edge: entry.edge as u16,
            })
            .collect();
        let smallest = (entries.len() * 2).next_power_of_two().max(8);
        let mut table = Self { slots: Vec::new(), texts, seed: 0, longest: 0, shift: 0 };
        for doubling in 0..=DOUBLINGS {
            for _ in 0..SEEDS {
                table.seed = table.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                table.fill(&placed, smallest << doubling);
                if table.longest <= SHORT {
                    return table;
                }
            }
        }
        table
    }

    fn fill(&mut self, placed: &[Slot], size: usize) {
        self.slots.clear();
        self.slots.resize(size, Slot::default());
        self.shift = 64 - size.trailing_zeros();
        self.longest = 1;
        for slot in placed {
            let edge = if slot.edge == 0 { Edge::Literal } else { Edge::Prefix };
            let place = self.place(slot.parent, edge, self.hash(self.text(slot)));
            let start = self.first(place);
            // The table is at most half full, so a free slot is found.
            for distance in 0..size {
                let Some(target) = self.slots.get_mut((start + distance) & (size - 1)) else { break };
                if target.child == 0 {
                    *target = *slot;
                    self.longest = self.longest.max(distance + 1);
                    break;
                }
            }
        }
    }

    /// The hash of a segment, for every look-up of it.
    pub fn hash(&self, text: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, SharedSeed::global_fixed());
        hasher.write(text);
        hasher.finish()
    }

    fn place(&self, parent: u32, edge: Edge, hash: u64) -> u64 {
        (hash ^ (u64::from(parent) << 1 | edge as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn first(&self, place: u64) -> usize {
        (place >> self.shift) as usize
    }

    fn text(&self, slot: &Slot) -> &[u8] {
        let start = slot.text as usize;
        self.texts.get(start..start + usize::from(slot.length)).unwrap_or_default()
    }

    /// The child of `parent` over the edge with this text, whose hash is `hash`.
    pub fn find(&self, parent: u32, edge: Edge, text: &[u8], hash: u64) -> Option<u32> {
        let place = self.place(parent, edge, hash);
        let start = self.first(place);
        let mask = self.slots.len().wrapping_sub(1);
        for distance in 0..self.longest {
            let slot = self.slots.get((start + distance) & mask)?;
            if slot.child == 0 {
                return None;
            }
            if slot.parent == parent && slot.edge == edge as u16 && same(self.text(slot), text) {
                return Some(slot.child);
            }
        }
        None
    }

    /// Number of slots that a look-up reads at most.
    #[cfg(test)]
    pub fn longest(&self) -> usize {
        self.longest
    }
}
