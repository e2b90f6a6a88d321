//! From the parser's tree to a [`Node`] tree: names are resolved, what conditions do not have is refused.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, MapExpr, SelectExpr, SourceInfo, operators,
};
use regex::RegexBuilder;

use crate::calls;
use crate::literal::Literal;
use crate::names::{self, Root};
use crate::program::{Document, Node, Quantifier, Source};
use crate::scratch::Plans;
use crate::{CompileError, LIMITS, Reads};

/// Bytes of a compiled pattern, and of the cache that matching may fill.
const PATTERN_SIZE: usize = 1 << 18;
const PATTERN_CACHE: usize = 1 << 20;

/// Deepest tree that is accepted. The limits on the text keep it far below; this holds whatever the parser does.
const MAX_DEPTH: usize = 160;

type Lowered = Result<Node, CompileError>;

/// The compilation of one condition.
pub(crate) struct Lowering<'c> {
    pub plans: &'c mut Plans,
    pub source_info: &'c SourceInfo,
    pub reads: Reads,
    /// The documents that must be scanned before the condition runs.
    pub documents: [bool; 3],
    /// Variables of the comprehensions around the current place, outermost first.
    variables: Vec<String>,
    depth: usize,
}

impl<'c> Lowering<'c> {
    pub(crate) fn new(plans: &'c mut Plans, source_info: &'c SourceInfo) -> Self {
        Self { plans, source_info, reads: Reads::NONE, documents: [false; 3], variables: Vec::new(), depth: 0 }
    }

    pub(crate) fn lower(&mut self, expression: &IdedExpr) -> Lowered {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.refuse(expression, "the condition nests too deeply; split it into several rules"));
        }
        let node = self.lower_any(expression);
        self.depth -= 1;
        node
    }

    fn lower_any(&mut self, expression: &IdedExpr) -> Lowered {
        match &expression.expr {
            Expr::Literal(literal) => Ok(Node::Constant(constant(literal))),
            Expr::Ident(name) => self.name(expression, name),
            Expr::Select(select) => self.select(expression, select),
            Expr::Call(call) => self.call(expression, call),
            Expr::List(list) => self.list(expression, &list.elements),
            Expr::Map(map) => self.map(expression, map),
            Expr::Comprehension(comprehension) => self.comprehension(expression, comprehension),
            Expr::Struct(value) => Err(self.refuse(
                expression,
                format!("there is no message type `{}`; write a map such as `{{\"name\": value}}`", value.type_name),
            )),
            Expr::Unspecified => Err(self.refuse(expression, "the expression is not complete")),
        }
    }

    /// An error at the place of `expression`.
    pub(crate) fn refuse(&self, expression: &IdedExpr, message: impl Into<String>) -> CompileError {
        let offset = self.source_info.offset_for(expression.id).and_then(|(start, _)| usize::try_from(start).ok());
        CompileError { message: message.into(), offset }
    }

    // -- names -------------------------------------------------------------------------------------------------------

    fn name(&mut self, expression: &IdedExpr, name: &str) -> Lowered {
        if let Some(node) = self.variable(name) {
            return Ok(node);
        }
        match names::type_name(name) {
            Some(type_name) => Ok(Node::Type(type_name)),
            None => self.environment(expression, name, &[]),
        }
    }

    fn variable(&self, name: &str) -> Option<Node> {
        self.variables.iter().rposition(|variable| variable == name).map(Node::Variable)
    }

    fn select(&mut self, expression: &IdedExpr, select: &SelectExpr) -> Lowered {
        if select.test {
            return self.presence(&select.operand, &select.field, expression);
        }
        if let Some((root, path)) = self.path(expression) {
            return self.environment(expression, root, &path);
        }
        let of = self.lower(&select.operand)?;
        Ok(Node::Member { of: Box::new(of), name: select.field.as_str().into() })
    }

    /// `has(operand.field)`
    fn presence(&mut self, operand: &IdedExpr, field: &str, expression: &IdedExpr) -> Lowered {
        let Some((root, mut path)) = self.path(operand) else {
            let of = self.lower(operand)?;
            return Ok(Node::HasMember { of: Box::new(of), name: field.into() });
        };
        path.push(field);
        Ok(match self.environment(expression, root, &path)? {
            Node::Read(source) => Node::HasSource(source),
            Node::Member { of, name } => Node::HasMember { of, name },
            other => other,
        })
    }

    /// The variable of the environment and the member names that an expression spells, if it spells some.
    fn path<'e>(&self, expression: &'e IdedExpr) -> Option<(&'e str, Vec<&'e str>)> {
        let mut names = Vec::new();
        let mut at = expression;
        loop {
            match &at.expr {
                Expr::Ident(root) if self.variable(root).is_none() => {
                    names.reverse();
                    return Some((root, names));
                }
                Expr::Select(select) if !select.test => {
                    names.push(select.field.as_str());
                    at = &select.operand;
                }
                Expr::Call(call) if call.func_name == operators::INDEX => {
                    let [of, index] = call.args.as_slice() else { return None };
                    let Expr::Literal(LiteralValue::String(name)) = &index.expr else { return None };
                    names.push(name.inner());
                    at = of;
                }
                _ => return None,
            }
        }
    }

    fn environment(&mut self, expression: &IdedExpr, root: &str, path: &[&str]) -> Lowered {
        let resolved = names::resolve(root, path).map_err(|message| self.refuse(expression, message))?;
        self.reads |= resolved.reads;
        let (source, rest) = match resolved.root {
            Root::Source(source) => (source, resolved.rest),
            Root::Document(document) => {
                if let Some(loaded) = self.documents.get_mut(document.index()) {
                    *loaded = true;
                }
                let slot = self.plans.get_mut(document.index()).map_or(0, |plan| plan.slot(resolved.rest));
                (Source::Json(document, slot), &[][..])
            }
        };
        let read = Node::Read(source);
        Ok(rest.iter().fold(read, |of, name| Node::Member { of: Box::new(of), name: (*name).into() }))
    }

    // -- calls, lists, maps ------------------------------------------------------------------------------------------

    fn call(&mut self, expression: &IdedExpr, call: &CallExpr) -> Lowered {
        if call.func_name == operators::INDEX
            && let Some((root, path)) = self.path(expression)
        {
            return self.environment(expression, root, &path);
        }
        if let Some(message) = calls::misused_macro(&call.func_name) {
            return Err(self.refuse(expression, message));
        }
        let mut operands = Vec::with_capacity(call.args.len() + 1);
        for operand in call.target.iter().map(|target| &**target).chain(&call.args) {
            operands.push(self.lower(operand)?);
        }
        let inside = !self.variables.is_empty();
        calls::call(&call.func_name, call.target.is_some(), operands, inside)
            .map_err(|message| self.refuse(expression, message))
    }

    fn list(&mut self, expression: &IdedExpr, elements: &[IdedExpr]) -> Lowered {
        let mut items = Vec::with_capacity(elements.len());
        for element in elements {
            items.push(self.lower(element)?);
        }
        match all_constant(items) {
            Ok(items) => Ok(Node::Constant(Literal::List(items))),
            Err(_) if !self.variables.is_empty() => Err(self.builds_inside(expression, "list")),
            Err(items) => Ok(Node::List(items)),
        }
    }

    fn map(&mut self, expression: &IdedExpr, map: &MapExpr) -> Lowered {
        if !self.variables.is_empty() {
            return Err(self.builds_inside(expression, "map"));
        }
        let mut entries = Vec::with_capacity(map.entries.len());
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                return Err(self.refuse(expression, "a map has keys and values; write `{\"name\": value}`"));
            };
            entries.push((self.lower(&entry.key)?, self.lower(&entry.value)?));
        }
        Ok(Node::Map(entries))
    }

    fn builds_inside(&self, expression: &IdedExpr, what: &str) -> CompileError {
        self.refuse(
            expression,
            format!(
                "a {what} is built inside a comprehension, which could grow without bound; compare the fields one \
                     by one, or write a list of constants"
            ),
        )
    }

    // -- comprehensions ----------------------------------------------------------------------------------------------

    fn comprehension(&mut self, expression: &IdedExpr, comprehension: &ComprehensionExpr) -> Lowered {
        let variable = self.variables.len();
        if variable >= LIMITS.comprehension_depth {
            let limit = LIMITS.comprehension_depth;
            return Err(
                self.refuse(expression, format!("comprehensions nest deeper than {limit}; split the condition"))
            );
        }
        let name = &comprehension.iter_var;
        if names::is_variable(name) || comprehension.iter_var2.is_some() || name.starts_with('@') {
            return Err(self.refuse(expression, format!("`{name}` cannot be a comprehension's variable; write `x`")));
        }
        let over = Box::new(self.lower(&comprehension.iter_range)?);
        let parts = Parts::of(comprehension).ok_or_else(|| {
            self.refuse(
                expression,
                "unknown comprehension; write `all`, `exists`, `exists_one`, \
                                                    `map` or `filter`",
            )
        })?;
        self.variables.push(name.clone());
        let node = self.comprehension_over(expression, over, variable, &parts);
        self.variables.pop();
        node
    }

    fn comprehension_over(
        &mut self,
        expression: &IdedExpr,
        over: Box<Node>,
        variable: usize,
        parts: &Parts<'_>,
    ) -> Lowered {
        match parts {
            Parts::Quantify(quantifier, test) => {
                let test = Box::new(self.lower(test)?);
                Ok(Node::Quantify { quantifier: *quantifier, over, variable, test })
            }
            Parts::Transform(..) if variable > 0 => Err(self.builds_inside(expression, "list")),
            Parts::Transform(test, form) => {
                let test = test.map(|test| self.lower(test)).transpose()?.map(Box::new);
                Ok(Node::Transform { over, variable, test, form: Box::new(self.lower(form)?) })
            }
        }
    }
}

/// What a macro was before the parser expanded it.
enum Parts<'e> {
    Quantify(Quantifier, &'e IdedExpr),
    Transform(Option<&'e IdedExpr>, &'e IdedExpr),
}

impl<'e> Parts<'e> {
    /// Recognises an expansion by its accumulator and step: `@result && x`, `@result || x`, `x ? @result + 1 :
    /// @result`, `@result + [x]`, `x ? @result + [y] : @result`.
    fn of(comprehension: &'e ComprehensionExpr) -> Option<Self> {
        let Expr::Call(step) = &comprehension.loop_step.expr else { return None };
        match (&comprehension.accu_init.expr, step.func_name.as_str(), step.args.as_slice()) {
            (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_AND, [_, test]) => {
                Some(Self::Quantify(Quantifier::All, test))
            }
            (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_OR, [_, test]) => {
                Some(Self::Quantify(Quantifier::Exists, test))
            }
            (Expr::Literal(LiteralValue::Int(_)), operators::CONDITIONAL, [test, _, _]) => {
                Some(Self::Quantify(Quantifier::ExistsOne, test))
            }
            (Expr::List(_), operators::ADD, [_, item]) => Some(Self::Transform(None, only_item(item)?)),
            (Expr::List(_), operators::CONDITIONAL, [test, step, _]) => {
                let Expr::Call(step) = &step.expr else { return None };
                Some(Self::Transform(Some(test), only_item(step.args.get(1)?)?))
            }
            _ => None,
        }
    }
}

fn only_item(list: &IdedExpr) -> Option<&IdedExpr> {
    match &list.expr {
        Expr::List(list) => list.elements.first(),
        _ => None,
    }
}

fn constant(literal: &LiteralValue) -> Literal {
    match literal {
        LiteralValue::Boolean(value) => Literal::Bool(*value.inner()),
        LiteralValue::Bytes(bytes) => Literal::Bytes(bytes.inner().to_vec()),
        LiteralValue::Double(value) => Literal::Double(*value.inner()),
        LiteralValue::Int(value) => Literal::Int(*value.inner()),
        LiteralValue::Null => Literal::Null,
        LiteralValue::String(text) => Literal::Str(text.inner().to_owned()),
        LiteralValue::UInt(value) => Literal::Uint(*value.inner()),
    }
}

/// The constants, if all nodes are some.
fn all_constant(nodes: Vec<Node>) -> Result<Vec<Literal>, Vec<Node>> {
    if !nodes.iter().all(|node| matches!(node, Node::Constant(_))) {
        return Err(nodes);
    }
    let constants = nodes.into_iter().filter_map(|node| match node {
        Node::Constant(literal) => Some(literal),
        _ => None,
    });
    Ok(constants.collect())
}

/// Compiles the pattern of `matches` for a linear-time engine.
pub(crate) fn pattern(text: &str) -> Result<regex::Regex, String> {
    RegexBuilder::new(text).size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_CACHE).nest_limit(32).build().map_err(
        |error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("the pattern `{text}` is too large when compiled; write a shorter one with smaller repetitions")
            }
            _ => format!(
                "`{text}` is not a pattern that can be matched in linear time; write RE2 syntax, without \
                          look-around and back-references"
            ),
        },
    )
}

impl From<Document> for Root {
    fn from(document: Document) -> Self {
        Self::Document(document)
    }
}
