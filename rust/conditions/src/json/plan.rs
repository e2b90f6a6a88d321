//! Which members of a document the conditions need.

use super::names::fingerprint;

/// A tree of member names. Node 0 is the document itself; the index of a node is the index of its slot.
#[derive(Clone, Debug)]
pub struct Plan {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub children: Vec<Child>,
}

/// A member that is needed.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub fingerprint: u64,
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

    pub(super) fn node(&self, index: usize) -> &[Child] {
        self.nodes.get(index).map_or(&[], |node| &node.children)
    }

    fn child(&mut self, parent: usize, name: &str) -> usize {
        let known = self.node(parent).iter().find(|child| *child.name == *name.as_bytes());
        if let Some(child) = known {
            return child.slot;
        }
        let child = self.nodes.len();
        self.nodes.push(Node::default());
        if let Some(node) = self.nodes.get_mut(parent) {
            let name = name.as_bytes();
            node.children.push(Child { fingerprint: fingerprint(name), name: name.into(), slot: child });
        }
        child
    }
}
