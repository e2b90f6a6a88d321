//! Which members of a document the conditions need.

/// A tree of member names. Node 0 is the document itself; the index of a node is the index of its slot.
#[derive(Clone, Debug)]
pub struct Plan {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub children: Vec<(Box<[u8]>, usize)>,
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

    pub(super) fn node(&self, index: usize) -> &[(Box<[u8]>, usize)] {
        self.nodes.get(index).map_or(&[], |node| &node.children)
    }

    fn child(&mut self, parent: usize, name: &str) -> usize {
        let known = self.node(parent).iter().find(|(known, _)| **known == *name.as_bytes());
        if let Some((_, child)) = known {
            return *child;
        }
        let child = self.nodes.len();
        self.nodes.push(Node::default());
        if let Some(node) = self.nodes.get_mut(parent) {
            node.children.push((name.as_bytes().into(), child));
        }
        child
    }
}
