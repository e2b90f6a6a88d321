//! The tables of the index.

/// Marks the file as an index ("chix" in ASCII).
pub(super) const APPLICATION: i64 = 0x6368_6978;

/// An index of any other version is made anew.
pub(super) const VERSION: i64 = 1;

/// Positions are those of the log. Names stand in a table of their own, because few of them fill millions of rows.
pub(super) const TABLES: &str = "
CREATE TABLE progress (
    log TEXT NOT NULL,                       -- id of the log
    batch INTEGER NOT NULL,                  -- newest batch that is indexed; 0 for none
    checkpoint BLOB NOT NULL                 -- hash of its checkpoint
) STRICT;

CREATE TABLE name (
    name INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE batch (
    batch INTEGER PRIMARY KEY,
    issuer INTEGER NOT NULL,                 -- name
    policy_version BLOB NOT NULL,
    checkpoint BLOB NOT NULL,
    state TEXT NOT NULL                      -- as the log shows it, and outcome records change it
) STRICT;
CREATE INDEX batch_by_policy ON batch (policy_version);
CREATE INDEX batch_by_checkpoint ON batch (checkpoint);

CREATE TABLE receipt (
    position INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,                   -- place in Kind::ALL
    verdict INTEGER,                         -- place in Verdict::ALL
    time INTEGER NOT NULL,
    identity INTEGER NOT NULL,               -- name
    scope INTEGER,                           -- name
    rule INTEGER,                            -- name
    topic INTEGER,                           -- name
    partition INTEGER,
    offset INTEGER,
    tool INTEGER,                            -- name
    correlation TEXT
) STRICT;

CREATE TABLE parent (
    parent BLOB NOT NULL,
    position INTEGER NOT NULL,               -- of the child
    PRIMARY KEY (parent, position)
) STRICT, WITHOUT ROWID;
";

/// One column each, so that what an index finds is in the order of the log, and a page needs no sorting.
/// Made after the first rows are in, when an index is made anew: sorting once costs less than inserting in place.
pub(super) const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS receipt_by_verdict ON receipt (verdict) WHERE verdict <> 0;
CREATE INDEX IF NOT EXISTS receipt_by_identity ON receipt (identity);
CREATE INDEX IF NOT EXISTS receipt_by_scope ON receipt (scope);
CREATE INDEX IF NOT EXISTS receipt_by_rule ON receipt (rule);
CREATE INDEX IF NOT EXISTS receipt_by_topic ON receipt (topic);
CREATE INDEX IF NOT EXISTS receipt_by_offset ON receipt (offset) WHERE offset IS NOT NULL;
CREATE INDEX IF NOT EXISTS receipt_by_tool ON receipt (tool) WHERE tool IS NOT NULL;
CREATE INDEX IF NOT EXISTS receipt_by_correlation ON receipt (correlation) WHERE correlation IS NOT NULL;
";
