//! Limits on the text of a condition, checked before the parser sees it.
//!
//! The parser descends recursively and builds a tree whose depth an adversary chooses; so does everything that walks
//! the tree afterwards. One pass over the tokens bounds that depth: brackets within each other, operators and selectors
//! that chain to the left, unary operators, and conditional operators that chain to the right.

use crate::{CompileError, LIMITS};

/// What has chained up since a bracket opened.
#[derive(Clone, Copy, Default)]
struct Level {
    selectors: usize,
    operators: usize,
    conditionals: usize,
}

impl Level {
    const fn depth(self) -> usize {
        self.selectors + self.operators + self.conditionals
    }
}

struct Tokens<'t> {
    text: &'t [u8],
    at: usize,
    levels: Vec<Level>,
    /// Depth of the levels that are not innermost.
    below: usize,
}

/// Checks length and nesting.
///
/// # Errors
/// When a limit is exceeded or a string is not closed.
pub(crate) fn check(text: &str) -> Result<(), CompileError> {
    if text.len() > LIMITS.length {
        return Err(CompileError::new(format!(
            "the condition is {} bytes long; write at most {}, or split it into several rules",
            text.len(),
            LIMITS.length
        )));
    }
    if text.trim().is_empty() {
        return Err(CompileError::new(
            "the condition is empty; write an expression such as `event.value.amount < 100`",
        ));
    }
    let mut tokens = Tokens { text: text.as_bytes(), at: 0, levels: vec![Level::default()], below: 0 };
    while let Some(byte) = tokens.peek(0) {
        tokens.token(byte)?;
    }
    Ok(())
}

impl Tokens<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn token(&mut self, byte: u8) -> Result<(), CompileError> {
        let start = self.at;
        match byte {
            b'"' | b'\'' => return self.string(false),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => return self.word(),
            b'0'..=b'9' => {
                // The point of a number is no selector.
                while let Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.') = self.peek(0) {
                    self.at += 1;
                }
                return Ok(());
            }
            b'/' if self.peek(1) == Some(b'/') => {
                while self.peek(0).is_some_and(|byte| byte != b'\n') {
                    self.at += 1;
                }
                return Ok(());
            }
            b'&' | b'|' | b'=' if self.peek(1) == Some(byte) => self.at += 1,
            b'<' | b'>' | b'!' if self.peek(1) == Some(b'=') => self.at += 1,
            _ => {}
        }
        self.at += 1;
        match byte {
            b'(' | b'[' | b'{' => self.open(),
            b')' | b']' | b'}' => self.close(),
            _ => self.operator(byte),
        }
        self.check_depth(start)
    }

    fn open(&mut self) {
        self.below += self.levels.last().map_or(0, |level| level.depth()) + 1;
        self.levels.push(Level::default());
    }

    fn close(&mut self) {
        if self.levels.len() > 1 {
            self.levels.pop();
            self.below = self.below.saturating_sub(self.levels.last().map_or(0, |level| level.depth()) + 1);
        }
        // Indices and calls chain like selectors: `a[0][0]`, `a.f().g()`.
        self.with_level(|level| level.selectors += 1);
    }

    fn operator(&mut self, byte: u8) {
        self.with_level(|level| match byte {
            b'.' => level.selectors += 1,
            b',' => *level = Level::default(),
            // Both branch evenly in the tree, however long the chain.
            b'&' | b'|' => (level.selectors, level.operators) = (0, 0),
            b'?' => *level = Level { conditionals: level.conditionals + 1, ..Level::default() },
            b':' => (level.selectors, level.operators) = (0, 0),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' => {
                level.selectors = 0;
                level.operators += 1;
            }
            _ => {}
        });
    }

    fn with_level(&mut self, change: impl FnOnce(&mut Level)) {
        if let Some(level) = self.levels.last_mut() {
            change(level);
        }
    }

    fn check_depth(&self, at: usize) -> Result<(), CompileError> {
        let depth = self.below + self.levels.last().map_or(0, |level| level.depth());
        if depth <= LIMITS.nesting {
            return Ok(());
        }
        Err(CompileError::at(
            at,
            format!(
                "the condition nests deeper than {} brackets, selectors and chained operators; split it into several \
                 rules, or write a constant list with `in` instead of a chain",
                LIMITS.nesting
            ),
        ))
    }

    /// An identifier, a keyword, or the prefix of a string.
    fn word(&mut self) -> Result<(), CompileError> {
        let start = self.at;
        while let Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_') = self.peek(0) {
            self.at += 1;
        }
        let word = self.text.get(start..self.at).unwrap_or_default();
        if let Some(b'"' | b'\'') = self.peek(0) {
            match word {
                b"r" | b"R" | b"br" | b"bR" | b"Br" | b"BR" | b"rb" | b"rB" | b"Rb" | b"RB" => {
                    return self.string(true);
                }
                b"b" | b"B" => return self.string(false),
                _ => {}
            }
        }
        if word == b"in" {
            self.operator(b'=');
            return self.check_depth(start);
        }
        Ok(())
    }

    /// A string literal; the position is at its first quote.
    fn string(&mut self, raw: bool) -> Result<(), CompileError> {
        let start = self.at;
        let quote = self.peek(0).unwrap_or(b'"');
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        self.at += if triple { 3 } else { 1 };
        while let Some(byte) = self.peek(0) {
            let closes = byte == quote && (!triple || (self.peek(1) == Some(quote) && self.peek(2) == Some(quote)));
            if closes {
                self.at += if triple { 3 } else { 1 };
                return Ok(());
            }
            self.at += if byte == b'\\' && !raw { 2 } else { 1 };
        }
        Err(CompileError::at(start, "a string is not closed; write its closing quote"))
    }
}
