//! Operators and functions of the parser's tree, and which of them conditions have.

use cel::common::ast::operators;

use crate::functions::{Arithmetic, Function, StringTest};
use crate::literal::Literal;
use crate::lower::pattern;
use crate::program::{Comparison, Node};

const FUNCTIONS: &str = "`size`, `contains`, `startsWith`, `endsWith`, `matches`, `int`, `uint`, `double`, `string`, \
                         `bytes`, `bool`, `type`, `dyn`, `has`, `all`, `exists`, `exists_one`, `map` and `filter`";

/// The node of a call. `operands` begin with the target, if there is one; `inside` says whether a comprehension is
/// around it.
///
/// # Errors
/// A message for the writer of the condition.
pub(crate) fn call(name: &str, has_target: bool, operands: Vec<Node>, inside: bool) -> Result<Node, String> {
    let count = operands.len();
    let mut operands = operands.into_iter().map(Box::new);
    match (operands.next(), operands.next(), operands.next(), count) {
        (Some(operand), None, None, 1) => unary(name, has_target, *operand),
        (Some(left), Some(right), None, 2) => binary(name, has_target, left, right, inside),
        (Some(test), Some(then), Some(otherwise), 3) if name == operators::CONDITIONAL => {
            Ok(Node::Choose { test, then, otherwise })
        }
        _ => Err(unknown(name, count)),
    }
}

fn unary(name: &str, has_target: bool, operand: Node) -> Result<Node, String> {
    match (name, operand) {
        (operators::LOGICAL_NOT, operand) => Ok(Node::Not(Box::new(operand))),
        (operators::NEGATE, Node::Constant(Literal::Double(value))) => Ok(Node::Constant(Literal::Double(-value))),
        (operators::NEGATE, operand) => Ok(Node::Negate(Box::new(operand))),
        (_, operand) => match Function::named(name) {
            Some(function) if function == Function::Size || !has_target => Ok(Node::Call(function, Box::new(operand))),
            _ => Err(unknown(name, 1)),
        },
    }
}

fn binary(name: &str, has_target: bool, left: Box<Node>, right: Box<Node>, inside: bool) -> Result<Node, String> {
    let comparison = |comparison, left, right| Ok(Node::Compare(comparison, left, right));
    let arithmetic = |operator, left, right| Ok(Node::Arithmetic { operator, left, right, builds: !inside });
    let string_test = |test, left, right| Ok(Node::StringTest(test, left, right));
    match name {
        operators::LOGICAL_AND => Ok(Node::And(left, right)),
        operators::LOGICAL_OR => Ok(Node::Or(left, right)),
        operators::EQUALS => comparison(Comparison::Equal, left, right),
        operators::NOT_EQUALS => comparison(Comparison::NotEqual, left, right),
        operators::LESS => comparison(Comparison::Less, left, right),
        operators::LESS_EQUALS => comparison(Comparison::LessOrEqual, left, right),
        operators::GREATER => comparison(Comparison::Greater, left, right),
        operators::GREATER_EQUALS => comparison(Comparison::GreaterOrEqual, left, right),
        operators::IN => Ok(Node::In { element: left, container: right }),
        operators::INDEX => Ok(index(left, *right)),
        operators::ADD if inside && (is_text_or_list(&left) || is_text_or_list(&right)) => {
            Err("a string or list is built inside a comprehension, which could grow without bound; compare the parts \
                 one by one"
                .to_owned())
        }
        operators::ADD => arithmetic(Arithmetic::Add, left, right),
        operators::SUBSTRACT => arithmetic(Arithmetic::Subtract, left, right),
        operators::MULTIPLY => arithmetic(Arithmetic::Multiply, left, right),
        operators::DIVIDE => arithmetic(Arithmetic::Divide, left, right),
        operators::MODULO => arithmetic(Arithmetic::Remainder, left, right),
        "contains" if has_target => string_test(StringTest::Contains, left, right),
        "startsWith" if has_target => string_test(StringTest::StartsWith, left, right),
        "endsWith" if has_target => string_test(StringTest::EndsWith, left, right),
        "matches" => matches(left, &right),
        _ => Err(unknown(name, 2)),
    }
}

fn index(of: Box<Node>, at: Node) -> Node {
    match at {
        Node::Constant(Literal::Str(name)) => Node::Member { of, name: name.into() },
        at => Node::Index { of, at: Box::new(at) },
    }
}

fn matches(subject: Box<Node>, argument: &Node) -> Result<Node, String> {
    match argument {
        Node::Constant(Literal::Str(text)) => Ok(Node::Matches(subject, pattern(text)?)),
        _ => Err("the pattern of `matches` must be a constant string; write `x.matches(\"^[a-z]+$\")`, or use \
                  `contains`, `startsWith` or `endsWith` with a computed string"
            .to_owned()),
    }
}

fn is_text_or_list(node: &Node) -> bool {
    matches!(node, Node::Constant(Literal::Str(_) | Literal::Bytes(_) | Literal::List(_)) | Node::List(_))
}

fn unknown(name: &str, count: usize) -> String {
    match name {
        "timestamp" | "duration" | "getFullYear" | "getMonth" | "getDate" | "getDayOfMonth" | "getDayOfWeek"
        | "getDayOfYear" | "getHours" | "getMinutes" | "getSeconds" | "getMilliseconds" => format!(
            "there is no function `{name}`; times are integers in milliseconds since 1970, write for example `now - \
             event.timestamp < 60000`, or give the rule `not_before` and `expires_at`"
        ),
        _ if Function::named(name).is_some() || matches!(name, "contains" | "startsWith" | "endsWith" | "matches") => {
            format!("`{name}` does not take {count} operands; write `size(x)`, `int(x)` or `x.startsWith(\"a\")`")
        }
        _ => format!("there is no function `{name}`; the functions are {FUNCTIONS}"),
    }
}

/// What to write instead of a macro that the parser did not expand, because its operands are not those of a macro.
pub(crate) fn misused_macro(name: &str) -> Option<String> {
    match name {
        "has" => Some("`has` takes a field; write `has(event.value.field)`".to_owned()),
        "all" | "exists" | "exists_one" | "map" | "filter" => {
            Some(format!("`{name}` takes a variable and an expression; write `list.{name}(x, x > 0)`"))
        }
        _ => None,
    }
}
