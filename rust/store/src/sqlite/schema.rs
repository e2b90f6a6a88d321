//! The tables of the log's file.

/// Marks the file as a receipt log (`PRAGMA application_id`): "chio" in ASCII.
pub(super) const APPLICATION: i64 = 0x6368_696F;

/// The newest format that is known here (`PRAGMA user_version`).
pub(super) const VERSION: i64 = 1;

/// The frames are the truth. All other tables are written in the same transaction from what the frames hold, so that a
/// look-up reads no frame; `frame` is apart from `batch`, so that listing batches reads none either.
pub(super) const TABLES: &str = "
CREATE TABLE log (
    id TEXT NOT NULL,                        -- random, part of every issuer's name
    started INTEGER NOT NULL DEFAULT 0,      -- Unix ms of the newest claim: ids given later are above it
    widest INTEGER NOT NULL DEFAULT 0        -- ms between the smallest and the largest id of any batch, at most
) STRICT;

CREATE TABLE issuer (
    issuer INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE batch (
    batch INTEGER PRIMARY KEY,               -- position in the log, from 1, no gaps
    issuer INTEGER NOT NULL REFERENCES issuer,
    epoch INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    running_count INTEGER NOT NULL,
    tag INTEGER NOT NULL,                    -- of issuer and epoch, part of every id
    min_id BLOB NOT NULL,
    max_id BLOB NOT NULL,
    top_id BLOB NOT NULL,                    -- largest of the issuer up to here
    key_id BLOB NOT NULL,
    policy_version BLOB NOT NULL,
    previous BLOB NOT NULL,                  -- hash of the issuer's checkpoint before this one
    checkpoint BLOB NOT NULL UNIQUE,         -- hash of this one
    time INTEGER NOT NULL,                   -- Unix ms of sealing
    state TEXT NOT NULL,                     -- recorded | attempt | prepared | committed | rolled_back
    UNIQUE (issuer, epoch, first_seq)
) STRICT;
CREATE INDEX batch_by_id ON batch (tag, min_id, max_id);
CREATE INDEX batch_prepared ON batch (batch) WHERE state = 'prepared';

CREATE TABLE frame (
    batch INTEGER PRIMARY KEY REFERENCES batch,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE coverage (                      -- offsets that the consume receipts of a batch cover
    partition BLOB NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    batch INTEGER NOT NULL REFERENCES batch,
    PRIMARY KEY (partition, first, batch)
) STRICT, WITHOUT ROWID;

CREATE TABLE partition (                     -- what bounds a search in `coverage`
    partition BLOB PRIMARY KEY,
    highest INTEGER NOT NULL,                -- the largest `last`
    widest INTEGER NOT NULL                  -- the largest `last - first`
) STRICT, WITHOUT ROWID;

CREATE TABLE outcome (                       -- which batch says what became of another
    subject INTEGER PRIMARY KEY REFERENCES batch,
    batch INTEGER NOT NULL REFERENCES batch
) STRICT;

CREATE TABLE early_outcome (                 -- imported outcomes whose batches are not imported yet
    checkpoint BLOB PRIMARY KEY,             -- hash of the checkpoint of such a batch
    state TEXT NOT NULL,                     -- committed | rolled_back
    batch INTEGER NOT NULL REFERENCES batch  -- where the record is
) STRICT, WITHOUT ROWID;

CREATE TABLE rotation (                      -- changes of keys that an operator recorded
    former BLOB NOT NULL,                    -- key id
    present BLOB NOT NULL,                   -- key id
    time INTEGER NOT NULL,
    PRIMARY KEY (former, present)
) STRICT, WITHOUT ROWID;
";
