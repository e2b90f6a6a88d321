//! A condition after compilation: a tree of typed operations over the environment.

use std::cmp::Ordering;

use regex::Regex;

use crate::functions::{Arithmetic, Function, StringTest};
use crate::literal::Literal;

/// Which of the two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Event,
    Output,
}

/// Which of the three JSON texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    Event,
    Output,
    Arguments,
}

impl Document {
    pub(crate) const ALL: [Self; 3] = [Self::Event, Self::Output, Self::Arguments];

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Event => 0,
            Self::Output => 1,
            Self::Arguments => 2,
        }
    }
}

/// What a condition reads of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    IdentityName,
    Attributes,
    Scope,
    Kind,
    Now,
    Tool,
    Topic(Side),
    Partition,
    Offset,
    Timestamp,
    Key(Side),
    Headers(Side),
    Size(Side),
    /// A slot of a document; slot 0 is the document itself.
    Json(Document, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// Whether it holds for operands in this order.
    pub(crate) const fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    All,
    Exists,
    ExistsOne,
}

/// Variables of comprehensions are numbered from the outside.
pub(crate) type Variable = usize;

#[derive(Debug)]
pub(crate) enum Node {
    Constant(Literal),
    Type(&'static str),
    Read(Source),
    Variable(Variable),
    /// `of.name` and `of["name"]`.
    Member {
        of: Box<Node>,
        name: Box<str>,
    },
    /// `of[at]` with any other index.
    Index {
        of: Box<Node>,
        at: Box<Node>,
    },
    /// `has()` of a part of the environment.
    HasSource(Source),
    /// `has(of.name)` of anything else.
    HasMember {
        of: Box<Node>,
        name: Box<str>,
    },
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Choose {
        test: Box<Node>,
        then: Box<Node>,
        otherwise: Box<Node>,
    },
    Compare(Comparison, Box<Node>, Box<Node>),
    In {
        element: Box<Node>,
        container: Box<Node>,
    },
    Arithmetic {
        operator: Arithmetic,
        left: Box<Node>,
        right: Box<Node>,
        /// Whether `+` may join strings, bytes and lists: not inside comprehensions.
        builds: bool,
    },
    StringTest(StringTest, Box<Node>, Box<Node>),
    Matches(Box<Node>, Regex),
    Call(Function, Box<Node>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Quantify {
        quantifier: Quantifier,
        over: Box<Node>,
        variable: Variable,
        test: Box<Node>,
    },
    /// `map` and `filter`; the form of `filter` is its variable.
    Transform {
        over: Box<Node>,
        variable: Variable,
        test: Option<Box<Node>>,
        form: Box<Node>,
    },
}
