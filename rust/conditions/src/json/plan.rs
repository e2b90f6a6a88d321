//! Which members of a document the conditions need.

use super::names::Fingerprint;

/// A tree of member names. Node 0 is the document itself; the index of a node is the index of its slot.
#[derive(Clone, Debug)]
pub struct Plan {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub children: Vec<Child>,
    /// The bits of the children's names.
    bits: u64,
}

/// A member that is needed.
#[derive(Clone, Debug)]
pub(super) struct Child {
    fingerprint: Fingerprint,
    pub name: Box<[u8]>,
    pub slot: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Plan {
    /// The slot of the member at `path`, added when it is new. The empty path is the document.
    pub fn slot<S: AsRef<str>>(&mut self, path: &[S]) -> usize {
        path.iter().fold(0, |node, name| self.child(node, name.as_ref()))
    }

    /// Number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether only the document itself has a slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    #[inline(always)]
    pub(super) fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    pub(super) fn children(&self, index: usize) -> &[Child] {
        self.nodes.get(index).map_or(&[], |node| &node.children)
    }

    fn child(&mut self, parent: usize, name: &str) -> usize {
        let known = self.children(parent).iter().find(|child| *child.name == *name.as_bytes());
        if let Some(child) = known {
            return child.slot;
        }
        let child = self.nodes.len();
        self.nodes.push(Node::default());
        if let Some(node) = self.nodes.get_mut(parent) {
            let name = name.as_bytes();
            let fingerprint = Fingerprint::new(name, 0, name.len());
            node.bits |= fingerprint.bit();
            node.children.push(Child { fingerprint, name: name.into(), slot: child });
        }
        child
    }
}

impl Node {
    /// The child whose name has this fingerprint and is the one that `is` accepts.
    #[inline(always)]
    pub(super) fn find(&self, fingerprint: Fingerprint, is: impl Fn(&[u8]) -> bool) -> Option<&Child> {
        if self.bits & fingerprint.bit() == 0 {
            return None;
        }
        self.children.iter().find(|child| child.fingerprint == fingerprint && is(&child.name))
    }
}
