//! Asking the index.

use chio_receipts::ReceiptId;
use rusqlite::types::Value;

use super::Index;
use super::fill::{kind_number, verdict_number};
use crate::error::LogError;
use crate::filter::{Filter, Order, Position};

/// Conditions over `receipt r` and `batch b`, with their values.
#[derive(Default)]
struct Conditions {
    text: Vec<String>,
    values: Vec<Value>,
    /// Whether a condition is about the batch.
    on_batch: bool,
    /// Whether a condition picks so few receipts that only its index is of use. SQLite keeps no statistics here, and
    /// might take the index over a topic rather than the one over offsets.
    is_narrow: bool,
}

impl Conditions {
    /// Adds a condition; `?` in it stands for the value.
    fn add(&mut self, text: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.text.push(text.replace('?', &format!("?{}", self.values.len())));
    }

    fn add_name(&mut self, column: &str, text: &str) {
        let column = self.column(column);
        self.add(&format!("{column} = (SELECT name FROM name WHERE text = ?)"), text.to_owned());
    }

    /// A column that many receipts share; a plus sign keeps its index out of use.
    fn column(&self, name: &str) -> String {
        format!("{}r.{name}", if self.is_narrow { "+" } else { "" })
    }

    fn add_on_batch(&mut self, text: &str, value: impl Into<Value>) {
        self.on_batch = true;
        self.add(text, value);
    }
}

impl Index {
    /// At most `limit` receipts that pass `filter`, after `after` in the order asked for.
    pub(crate) fn query(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Position>, LogError> {
        let mut conditions = of_filter(filter)?;
        if let Some(after) = after {
            let side = match order {
                Order::OldestFirst => "r.position > ?",
                Order::NewestFirst => "r.position < ?",
            };
            conditions.add(side, after.row());
        }
        let direction = match order {
            Order::OldestFirst => "ASC",
            Order::NewestFirst => "DESC",
        };
        // A condition on batches picks these first; their receipts are a range of positions each.
        let tables = if conditions.on_batch {
            "batch b CROSS JOIN receipt r ON r.position BETWEEN b.batch << 20 AND (b.batch << 20) + 1048575"
        } else {
            "receipt r"
        };
        let sort = if conditions.on_batch {
            format!("b.batch {direction}, r.position {direction}")
        } else {
            format!("r.position {direction}")
        };
        let all = if conditions.text.is_empty() { "true".to_owned() } else { conditions.text.join(" AND ") };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!("SELECT r.position FROM {tables} WHERE {all} ORDER BY {sort} LIMIT {limit}");
        self.database.run(|c| {
            c.prepare_cached(&sql)?
                .query_map(rusqlite::params_from_iter(&conditions.values), |row| row.get(0).map(Position::from_row))?
                .collect()
        })
    }

    /// Positions of at most `limit` receipts that name `parent` as a parent.
    pub(crate) fn children(&self, parent: ReceiptId, limit: usize) -> Result<Vec<Position>, LogError> {
        self.database.run(|c| {
            c.prepare_cached("SELECT position FROM parent WHERE parent = ?1 ORDER BY position LIMIT ?2")?
                .query_map((parent.to_bytes(), i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
                    row.get(0).map(Position::from_row)
                })?
                .collect()
        })
    }
}

fn of_filter(filter: &Filter) -> Result<Conditions, LogError> {
    let is_narrow = filter.parent.is_some() || filter.correlation.is_some() || filter.offset.is_some();
    let mut all = Conditions { is_narrow, ..Conditions::default() };
    if let Some(kind) = filter.kind {
        all.add("r.kind = ?", kind_number(kind));
    }
    if let Some(verdict) = filter.verdict {
        let number = verdict_number(verdict);
        // The second half lets SQLite use the index over verdicts that are no allow.
        all.add(if number == 0 { "r.verdict = ?" } else { "r.verdict = ? AND r.verdict <> 0" }, number);
    }
    for (column, text) in
        [("identity", &filter.identity), ("rule", &filter.rule), ("topic", &filter.topic), ("tool", &filter.tool)]
    {
        if let Some(text) = text {
            all.add_name(column, text);
        }
    }
    if let Some(scope) = &filter.scope {
        add_scope(&mut all, scope)?;
    }
    if let Some(partition) = filter.partition {
        all.add("r.partition = ?", i64::from(partition));
    }
    if let Some(offset) = filter.offset {
        all.add("r.offset = ?", offset);
    }
    if let Some(from) = filter.from {
        all.add("r.time >= ?", from);
    }
    if let Some(until) = filter.until {
        all.add("r.time < ?", until);
    }
    if let Some(correlation) = &filter.correlation {
        all.add("r.correlation = ?", correlation.clone());
    }
    if let Some(parent) = filter.parent {
        all.add("r.position IN (SELECT position FROM parent WHERE parent = ?)", parent.to_bytes().to_vec());
    }
    if let Some(state) = filter.state {
        all.add_on_batch("b.state = ?", state.as_str().to_owned());
    }
    if let Some(version) = filter.policy_version {
        all.add_on_batch("b.policy_version = ?", version.to_vec());
    }
    if let Some(issuer) = &filter.issuer {
        all.add_on_batch("b.issuer = (SELECT name FROM name WHERE text = ?)", issuer.clone());
    }
    Ok(all)
}

/// Exact, or `prefix*`; a star elsewhere is refused, because it would look like a pattern and match itself.
fn add_scope(all: &mut Conditions, scope: &str) -> Result<(), LogError> {
    match scope.split_once('*') {
        None => all.add_name("scope", scope),
        Some((prefix, "")) => {
            let column = all.column("scope");
            all.add(&format!("{column} IN (SELECT name FROM name WHERE text >= ?"), prefix.to_owned());
            // The largest text that begins with the prefix is below the prefix followed by the largest character.
            all.add("text < ?)", format!("{prefix}{}", char::MAX));
        }
        Some(_) => {
            return Err(LogError::Query {
                detail: format!(
                    "scope filter `{}` has a star inside: write a whole scope, or `prefix*`",
                    scope.escape_debug()
                ),
            });
        }
    }
    Ok(())
}
