//! The `cel` parser behind limits.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::common::ast::{IdedExpr, SourceInfo};
use cel::parser::{ParseErrors, Parser};

use crate::{CompileError, tokens};

/// Syntax errors after which the parser stops looking for more; the first one is reported.
const MAX_RECOVERIES: u32 = 1;

/// Parses the text of a condition, macros expanded.
///
/// # Errors
/// When the text breaks a limit or is not CEL.
pub(crate) fn parse(text: &str) -> Result<(IdedExpr, SourceInfo), CompileError> {
    tokens::check(text)?;
    // The parser is generated code with assertions of its own. Should one fail on a text that passed the limits, the
    // condition is refused like any other that cannot be parsed.
    let parsed = catch_unwind(AssertUnwindSafe(|| {
        Parser::new().error_recovery_limit(MAX_RECOVERIES).parse_with_source_info(text)
    }));
    match parsed {
        Ok(Ok(parsed)) => Ok(parsed),
        Ok(Err(errors)) => Err(syntax_error(text, &errors)),
        Err(_) => Err(CompileError::new("the parser failed on this condition; write it in simpler terms")),
    }
}

fn syntax_error(text: &str, errors: &ParseErrors) -> CompileError {
    let Some(error) = errors.errors.first() else {
        return CompileError::new("not a CEL expression; write for example `event.value.amount < 100`");
    };
    let (line, column) = error.pos;
    let offset = usize::try_from(line - 1).ok().and_then(|line| {
        let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
        let at = start + usize::try_from(column).ok()?.saturating_sub(1);
        text.is_char_boundary(at).then_some(at)
    });
    let reason = error.msg.trim().trim_end_matches('.');
    let reason = reason.strip_prefix("Syntax error: ").unwrap_or(reason);
    CompileError {
        message: format!("not a CEL expression: {reason}; write for example `event.value.amount < 100`"),
        offset,
    }
}
