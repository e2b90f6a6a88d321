//! The tables of a log in PostgreSQL.

use chio_receipts::hex;

use super::connection::{Failure, Session};
use super::url::PostgresUrl;
use crate::error::LogError;
use crate::keys::fill_random;

/// Key of the advisory lock under which tables are made: "chiomake" in ASCII.
const CREATION: i64 = 0x6368_696F_6D61_6B65;

/// The newest format that is known here (`log.format`).
pub(super) const FORMAT: i64 = 1;

/// The frames are the truth; everything else is written in the same transaction from what they hold, so that a look-up
/// reads no frame. PostgreSQL keeps long values apart from their rows, so listing batches reads none either; they are
/// compressed already, so it is told not to try.
pub(super) const TABLES: &str = "
CREATE TABLE log (
    format bigint NOT NULL,
    id text NOT NULL,                        -- random, part of every issuer's name
    started bigint NOT NULL DEFAULT 0,       -- Unix ms of the newest claim: ids given later are above it
    last bigint NOT NULL DEFAULT 0,          -- position of the newest batch; who appends locks this row
    widest bigint NOT NULL DEFAULT 0         -- ms between the smallest and the largest id of any batch, at most
);
CREATE TABLE issuer (
    issuer bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);
CREATE TABLE batch (
    batch bigint PRIMARY KEY,                -- position in the log, from 1, no gaps
    issuer bigint NOT NULL REFERENCES issuer,
    epoch bigint NOT NULL,
    first_seq bigint NOT NULL,
    count bigint NOT NULL,
    running_count bigint NOT NULL,
    tag bigint NOT NULL,                     -- of issuer and epoch, part of every id
    min_id bytea NOT NULL,
    max_id bytea NOT NULL,
    top_id bytea NOT NULL,                   -- largest of the issuer up to here
    key_id bytea NOT NULL,
    policy_version bytea NOT NULL,
    previous bytea NOT NULL,                 -- hash of the issuer's checkpoint before this one
    checkpoint bytea NOT NULL UNIQUE,        -- hash of this one
    time bigint NOT NULL,                    -- Unix ms of sealing
    state text NOT NULL,                     -- recorded | attempt | prepared | committed | rolled_back
    frame bytea NOT NULL,
    UNIQUE (issuer, epoch, first_seq)
);
ALTER TABLE batch ALTER COLUMN frame SET STORAGE EXTERNAL;
CREATE INDEX batch_by_id ON batch (tag, min_id, max_id);
CREATE INDEX batch_prepared ON batch (batch) WHERE state = 'prepared';
CREATE TABLE coverage (                      -- offsets that the consume receipts of a batch cover
    partition bytea NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    batch bigint NOT NULL REFERENCES batch,
    PRIMARY KEY (partition, first, batch)
);
CREATE TABLE partition (                     -- what bounds a search in coverage
    partition bytea PRIMARY KEY,
    highest bigint NOT NULL,                 -- the largest last
    widest bigint NOT NULL                   -- the largest last - first
);
CREATE TABLE outcome (                       -- which batch says what became of another
    subject bigint PRIMARY KEY REFERENCES batch,
    batch bigint NOT NULL REFERENCES batch
);
CREATE TABLE early_outcome (                 -- imported outcomes whose batches are not imported yet
    checkpoint bytea PRIMARY KEY,            -- hash of the checkpoint of such a batch
    state text NOT NULL,                     -- committed | rolled_back
    batch bigint NOT NULL REFERENCES batch   -- where the record is
);
CREATE TABLE rotation (                      -- changes of keys that an operator recorded
    former bytea NOT NULL,                   -- key id
    present bytea NOT NULL,                  -- key id
    time bigint NOT NULL,
    PRIMARY KEY (former, present)
);
";

/// Makes the tables where there are none yet; of several processes that start together, one does.
pub(super) async fn create(session: &mut Session, url: &PostgresUrl) -> Result<(), Failure> {
    if find(session, url).await? {
        return recognise(session, url).await;
    }
    let mut random = [0u8; 16];
    fill_random(&mut random).map_err(|error| LogError::from_io(url.shown(), &error))?;
    let log_id = hex::encode(&random);
    session
        .transaction(async |session| {
            session.execute("SELECT pg_advisory_xact_lock($1)", &[&CREATION]).await?;
            if find(session, url).await? {
                return Ok(());
            }
            session.batch(&format!("CREATE SCHEMA IF NOT EXISTS {}", url.schema)).await?;
            session.batch(TABLES).await?;
            session.execute("INSERT INTO log (format, id) VALUES ($1, $2)", &[&FORMAT, &log_id]).await?;
            Ok(())
        })
        .await?;
    recognise(session, url).await
}

/// Refuses what is not a log, or one of a version that is not known here.
pub(super) async fn recognise(session: &mut Session, url: &PostgresUrl) -> Result<(), Failure> {
    let path = || url.shown().to_path_buf();
    if !find(session, url).await? {
        return Err(LogError::Missing { path: path() }.into());
    }
    let found: i64 = session.one("SELECT format FROM log", &[]).await?.get(0);
    if found > FORMAT {
        return Err(LogError::Newer { path: path(), found, known: FORMAT }.into());
    }
    Ok(())
}

/// Whether the schema holds a log. One that holds something else is refused.
async fn find(session: &mut Session, url: &PostgresUrl) -> Result<bool, Failure> {
    let row = session
        .one(
            "SELECT count(*), count(*) FILTER (WHERE (table_name, column_name) = ('log', 'format'))
             FROM information_schema.columns WHERE table_schema = $1",
            &[&url.schema],
        )
        .await?;
    let (columns, marks): (i64, i64) = (row.get(0), row.get(1));
    match (columns, marks) {
        (0, _) => Ok(false),
        (_, 0) => Err(LogError::Foreign { path: url.shown().to_path_buf() }.into()),
        _ => Ok(true),
    }
}
