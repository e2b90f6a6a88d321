//! Writing batches: every transaction first locks the row of the log, so appends of all issuers follow each other.

use chio_receipts::id::tag;

use super::connection::{Failure, Session};
use super::read;
use crate::batch_store::{Head, NewBatch, OutcomeOf, Rewrite, State};
use crate::continuity::{self, Ids, int};
use crate::error::LogError;

/// Locks the log and gives the position of its newest batch. What is checked here can change while a session lives.
async fn lock(session: &mut Session) -> Result<u64, Failure> {
    let row = session.one("SELECT last, pg_backend_pid(), current_setting('fsync') FROM log FOR UPDATE", &[]).await?;
    let (last, pid, sync): (i64, i32, String) = (row.get(0), row.get(1), row.get(2));
    if pid != session.pid {
        return Err(session.refuse(
            "sessions are shared by a connection pool, so a claim cannot be held: connect to the server itself, or to a pool \
             that keeps one session for each client",
        ));
    }
    if sync == "off" {
        return Err(
            session.refuse("the server has been set to `fsync = off` and loses what it acknowledges: set it to `on`")
        );
    }
    Ok(last.unsigned_abs())
}

/// Records a start and returns the largest one recorded before.
pub(super) async fn start(session: &mut Session, now: i64) -> Result<i64, Failure> {
    session
        .transaction(async |session| {
            let earlier = session.one("SELECT started FROM log FOR UPDATE", &[]).await?.get(0);
            session.execute("UPDATE log SET started = greatest(started, $1)", &[&now]).await?;
            Ok(earlier)
        })
        .await
}

/// Appends batches of one issuer in one transaction.
///
/// `again`: an attempt at the same may have been committed in a session that was lost since. The lock waits for its end, so
/// the head tells: it is the one expected, or the one that these batches make.
pub(super) async fn append(
    session: &mut Session,
    expected: Option<&Head>,
    batches: &[NewBatch],
    again: bool,
) -> Result<Head, Failure> {
    let issuer = continuity::issuer_of(batches)?;
    session
        .transaction(async |session| {
            let mut place = lock(session).await?;
            let mut head = read::head(session, issuer).await?;
            if again
                && let Some(head) = &head
                && is_last(head, batches)
            {
                return Ok(head.clone());
            }
            continuity::expect(issuer, head.as_ref(), expected)?;
            for batch in batches {
                continuity::continues(head.as_ref(), batch, issuer)?;
                place += 1;
                let next = insert(session, place, head.as_ref(), batch).await?;
                for outcome in &batch.outcomes {
                    if !resolve(session, place, outcome).await? {
                        return Err(continuity::no_subject(outcome).into());
                    }
                }
                head = Some(next);
            }
            session.execute("UPDATE log SET last = $1", &[&int(place)]).await?;
            head.ok_or_else(|| continuity::superseded(issuer, "nothing was appended").into())
        })
        .await
}

/// Whether `head` is what the last of `batches` makes.
fn is_last(head: &Head, batches: &[NewBatch]) -> bool {
    batches.last().is_some_and(|batch| batch.sealed.checkpoint_hash == head.checkpoint)
}

/// Appends batches of any issuers in one transaction.
pub(super) async fn import(session: &mut Session, batches: &[NewBatch], again: bool) -> Result<(), Failure> {
    session
        .transaction(async |session| {
            let mut place = lock(session).await?;
            if again
                && let Some(last) = batches.last()
                && read::find_checkpoint(session, &last.sealed.checkpoint_hash).await?.is_some()
            {
                return Ok(());
            }
            for batch in batches {
                let meta = &batch.sealed.meta;
                let head = read::head(session, &meta.issuer).await?;
                continuity::continues(head.as_ref(), batch, &meta.issuer)?;
                place += 1;
                insert(session, place, head.as_ref(), batch).await?;
                for outcome in &batch.outcomes {
                    if !resolve(session, place, outcome).await? {
                        keep_early(session, place, outcome).await?;
                    }
                }
                apply_early(session, place, &meta.checkpoint_hash).await?;
            }
            session.execute("UPDATE log SET last = $1", &[&int(place)]).await?;
            Ok(())
        })
        .await
}

async fn issuer_row(session: &mut Session, name: &str) -> Result<i64, Failure> {
    if let Some(row) = session.row("SELECT issuer FROM issuer WHERE name = $1", &[&name]).await? {
        return Ok(row.get(0));
    }
    Ok(session.one("INSERT INTO issuer (name) VALUES ($1) RETURNING issuer", &[&name]).await?.get(0))
}

/// Writes a batch at `place`, and returns the head that it is.
async fn insert(session: &mut Session, place: u64, head: Option<&Head>, batch: &NewBatch) -> Result<Head, Failure> {
    let meta = &batch.sealed.meta;
    let issuer = issuer_row(session, &meta.issuer).await?;
    let ids = Ids::of(batch, head);
    session
        .execute(
            "INSERT INTO batch (batch, issuer, epoch, first_seq, count, running_count, tag, min_id, max_id, top_id,
                                key_id, policy_version, previous, checkpoint, time, state, frame)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
            &[
                &int(place),
                &issuer,
                &int(meta.epoch),
                &int(meta.first_seq),
                &i64::from(meta.count),
                &int(meta.running_count),
                &i64::from(tag(&meta.issuer, meta.epoch)),
                &ids.min.to_bytes().as_slice(),
                &ids.max.to_bytes().as_slice(),
                &ids.top.to_bytes().as_slice(),
                &meta.key_id.as_slice(),
                &meta.policy_version.as_slice(),
                &meta.previous.as_slice(),
                &meta.checkpoint_hash.as_slice(),
                &meta.time,
                &continuity::first_state(&meta.mode).as_str(),
                &batch.sealed.frame,
            ],
        )
        .await?;
    session.execute("UPDATE log SET widest = $1 WHERE widest < $1", &[&ids.span()]).await?;
    cover(session, place, batch).await?;
    Ok(continuity::head_after(place, batch, &ids))
}

/// Writes which offsets a batch covers.
async fn cover(session: &mut Session, place: u64, batch: &NewBatch) -> Result<(), Failure> {
    let coverage = &batch.sealed.meta.coverage;
    if coverage.is_empty() {
        return Ok(());
    }
    let partitions: Vec<&[u8]> = coverage.iter().map(|covered| covered.partition.0.as_slice()).collect();
    let firsts: Vec<i64> = coverage.iter().map(|covered| covered.first).collect();
    let lasts: Vec<i64> = coverage.iter().map(|covered| covered.last).collect();
    session
        .execute(
            "INSERT INTO coverage (partition, first, last, batch)
             SELECT *, $4 FROM unnest($1::bytea[], $2::bigint[], $3::bigint[])",
            &[&partitions, &firsts, &lasts, &int(place)],
        )
        .await?;
    session
        .execute(
            "INSERT INTO partition (partition, highest, widest)
             SELECT partition, last, last - first FROM unnest($1::bytea[], $2::bigint[], $3::bigint[])
                    AS covered (partition, first, last)
             ON CONFLICT (partition) DO UPDATE
             SET highest = greatest(partition.highest, excluded.highest),
                 widest = greatest(partition.widest, excluded.widest)",
            &[&partitions, &firsts, &lasts],
        )
        .await?;
    Ok(())
}

/// Applies an outcome record of the batch at `place` to the batch that it names, by compare-and-set under the lock of the
/// log. False when the log does not hold that one.
async fn resolve(session: &mut Session, place: u64, outcome: &OutcomeOf) -> Result<bool, Failure> {
    let Some(wanted) = continuity::wanted(outcome) else { return Ok(true) };
    let subject =
        session.row("SELECT batch, state FROM batch WHERE checkpoint = $1", &[&outcome.checkpoint.as_slice()]).await?;
    let Some(subject) = subject else { return Ok(false) };
    let present = read::state(session, subject.get(1))?;
    if continuity::changes(present, wanted, outcome)? {
        settle(session, subject.get(0), wanted.as_str(), int(place)).await?;
    }
    Ok(true)
}

/// Gives the batch `subject` its state, as the batch `by` says.
async fn settle(session: &mut Session, subject: i64, state: &str, by: i64) -> Result<(), Failure> {
    session.execute("UPDATE batch SET state = $2 WHERE batch = $1", &[&subject, &state]).await?;
    session
        .execute(
            "INSERT INTO outcome (subject, batch) VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET batch = $2",
            &[&subject, &by],
        )
        .await?;
    Ok(())
}

/// Keeps an outcome whose batch is not there yet. The last record counts, as it does for a batch that is there.
async fn keep_early(session: &mut Session, place: u64, outcome: &OutcomeOf) -> Result<(), Failure> {
    let Some(wanted) = continuity::wanted(outcome) else { return Ok(()) };
    let checkpoint = outcome.checkpoint.as_slice();
    if let Some(row) = session.row("SELECT state FROM early_outcome WHERE checkpoint = $1", &[&checkpoint]).await? {
        let earlier = read::state(session, row.get(0))?;
        if !continuity::changes(earlier, wanted, outcome)? {
            return Ok(());
        }
    }
    session
        .execute(
            "INSERT INTO early_outcome (checkpoint, state, batch) VALUES ($1, $2, $3)
             ON CONFLICT (checkpoint) DO UPDATE SET state = $2, batch = $3",
            &[&checkpoint, &wanted.as_str(), &int(place)],
        )
        .await?;
    Ok(())
}

/// Applies the outcome that came before the prepared batch at `place`, if one did.
async fn apply_early(session: &mut Session, place: u64, checkpoint: &[u8; 32]) -> Result<(), Failure> {
    let early = session
        .row("DELETE FROM early_outcome WHERE checkpoint = $1 RETURNING state, batch", &[&checkpoint.as_slice()])
        .await?;
    let Some(early) = early else { return Ok(()) };
    let row = session.one("SELECT state FROM batch WHERE batch = $1", &[&int(place)]).await?;
    if read::state(session, row.get(0))? != State::Prepared {
        return Err(continuity::not_prepared(checkpoint).into());
    }
    settle(session, int(place), early.get(0), early.get(1)).await
}

/// Replaces a frame.
pub(super) async fn rewrite_frame(session: &mut Session, batch: u64, rewrite: Rewrite<'_>) -> Result<(), Failure> {
    session
        .transaction(async |session| {
            let former = session.row("SELECT frame FROM batch WHERE batch = $1 FOR UPDATE", &[&int(batch)]).await?;
            let Some(former) = former else {
                return Err(LogError::NotFound { what: format!("batch {batch}") }.into());
            };
            let frame = rewrite(former.get(0))?;
            session.execute("UPDATE batch SET frame = $2 WHERE batch = $1", &[&int(batch), &frame]).await?;
            Ok(())
        })
        .await?;
    // Frees the room of the former frame for others. Its bytes stay in the server's journal and backups as long as those.
    session.batch("VACUUM batch").await
}
