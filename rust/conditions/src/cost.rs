//! How many steps a condition can take on an event, known before it runs.
//!
//! A step is one round of a comprehension, or one element that an operator inside a comprehension walks over. The
//! bound is a polynomial in the size of the event, made once at compilation. What depends only on the innermost
//! comprehension's variable walks over that variable's part of the event; all rounds together walk over the event once,
//! so it adds a constant to each round.

use crate::functions::Function;
use crate::literal::Literal;
use crate::program::{Comparison, Node, Source, Variable};

/// Coefficients of the powers of the event's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost([u64; 5]);

const SIZE: Cost = Cost([0, 1, 0, 0, 0]);

impl Cost {
    const fn constant(steps: u64) -> Self {
        Self([steps, 0, 0, 0, 0])
    }

    fn plus(self, other: Self) -> Self {
        let mut sum = self;
        for (power, coefficient) in sum.0.iter_mut().zip(other.0) {
            *power = power.saturating_add(coefficient);
        }
        sum
    }

    /// Powers beyond the last are kept as the last with the largest coefficient: they are beyond every limit.
    fn times(self, other: Self) -> Self {
        let mut product = Self::default();
        for (i, left) in self.0.iter().enumerate() {
            for (j, right) in other.0.iter().enumerate() {
                let coefficient = left.saturating_mul(*right);
                let beyond = i + j >= product.0.len() && coefficient > 0;
                let power = (i + j).min(product.0.len() - 1);
                if let Some(sum) = product.0.get_mut(power) {
                    *sum = sum.saturating_add(if beyond { u64::MAX } else { coefficient });
                }
            }
        }
        product
    }

    /// The bound for an event of `size`.
    pub(crate) fn at(self, size: u64) -> u64 {
        self.0.iter().rev().fold(0, |sum: u64, coefficient| sum.saturating_mul(size).saturating_add(*coefficient))
    }
}

/// The cost of a condition; `None` when it holds no comprehension and is therefore linear.
pub(crate) fn of_condition(node: &Node) -> Option<Cost> {
    has_comprehension(node).then(|| cost(node, None))
}

fn has_comprehension(node: &Node) -> bool {
    matches!(node, Node::Quantify { .. } | Node::Transform { .. }) || children(node).into_iter().any(has_comprehension)
}

/// The operands of a node.
pub(crate) fn children(node: &Node) -> Vec<&Node> {
    match node {
        Node::Constant(_) | Node::Type(_) | Node::Read(_) | Node::Variable(_) | Node::HasSource(_) => Vec::new(),
        Node::Member { of, .. }
        | Node::HasMember { of, .. }
        | Node::Not(of)
        | Node::Negate(of)
        | Node::Matches(of, _)
        | Node::Call(_, of) => vec![of],
        Node::Index { of: left, at: right }
        | Node::And(left, right)
        | Node::Or(left, right)
        | Node::Compare(_, left, right)
        | Node::In { element: left, container: right }
        | Node::Arithmetic { left, right, .. }
        | Node::StringTest(_, left, right)
        | Node::Quantify { over: left, test: right, .. } => vec![left, right],
        Node::Choose { test, then, otherwise } => vec![test, then, otherwise],
        Node::List(items) => items.iter().collect(),
        Node::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
        Node::Transform { over, test, form, .. } => {
            let mut nodes: Vec<&Node> = vec![over, form];
            nodes.extend(test.as_deref());
            nodes
        }
    }
}

/// `innermost` is the variable of the innermost comprehension around the node.
fn cost(node: &Node, innermost: Option<Variable>) -> Cost {
    match node {
        Node::Quantify { over, variable, test, .. } => rounds(over, innermost, cost(test, Some(*variable))),
        Node::Transform { over, variable, test, form } => {
            let test = test.as_deref().map_or_else(Cost::default, |test| cost(test, Some(*variable)));
            rounds(over, innermost, test.plus(cost(form, Some(*variable))))
        }
        _ => children(node).into_iter().fold(own(node, innermost), |sum, child| sum.plus(cost(child, innermost))),
    }
}

fn rounds(over: &Node, innermost: Option<Variable>, round: Cost) -> Cost {
    let length = match over {
        Node::Constant(list) => Cost::constant(list.values()),
        Node::List(items) => Cost::constant(items.len() as u64),
        _ if rooted(over, innermost) => Cost::constant(1),
        _ => SIZE,
    };
    length.times(round.plus(Cost::constant(1))).plus(cost(over, innermost))
}

/// What an operator itself walks over.
fn own(node: &Node, innermost: Option<Variable>) -> Cost {
    let local = |node: &Node| rooted(node, innermost) || is_scalar(node);
    let walks = match node {
        Node::Member { of, .. } | Node::HasMember { of, .. } | Node::Matches(of, _) => !local(of),
        Node::Call(Function::Size | Function::Str | Function::Bytes, of) => !local(of),
        Node::Index { of, .. } => !local(of),
        Node::Compare(Comparison::Equal | Comparison::NotEqual, left, right) => !local(left) && !local(right),
        Node::Compare(_, left, right) => !local(left) && !local(right),
        Node::In { container: constant, .. } if matches!(**constant, Node::Constant(_)) => {
            return if let Node::Constant(list) = &**constant { Cost::constant(list.values()) } else { SIZE };
        }
        Node::In { container, .. } => !local(container),
        Node::StringTest(_, left, right) => !(local(left) && local(right)),
        Node::Arithmetic { left, right, .. } => !(local(left) || local(right)),
        _ => false,
    };
    if walks { SIZE } else { Cost::default() }
}

/// Whether the node is a part of what the innermost variable holds.
fn rooted(node: &Node, innermost: Option<Variable>) -> bool {
    match node {
        Node::Variable(variable) => Some(*variable) == innermost,
        Node::Member { of, .. } | Node::Index { of, .. } => rooted(of, innermost),
        _ => false,
    }
}

/// Whether the node's value is a constant or a short name.
fn is_scalar(node: &Node) -> bool {
    match node {
        Node::Constant(literal) => !matches!(literal, Literal::List(_) | Literal::Map(_)),
        Node::Read(source) => matches!(
            source,
            Source::IdentityName | Source::Scope | Source::Kind | Source::Now | Source::Topic(_) | Source::Size(_)
        ),
        _ => false,
    }
}
