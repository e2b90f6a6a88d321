//! The session of a store, made again when it is lost, with the claims that it held.

use std::mem::ManuallyDrop;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chio_receipts::Durability;

use super::connection::{Connection, Failure, Session};
use super::schema;
use super::url::PostgresUrl;
use crate::error::LogError;
use crate::fork::Generation;

/// How long to wait before the first new attempt; doubled with each, up to a second.
const PAUSE: Duration = Duration::from_millis(20);

/// Settings of every session. A client that vanished must not hold the lock of the log or a claim for long, and a setting
/// that the server's configuration changes later must not change here.
const SETTINGS: &str = "
SET idle_in_transaction_session_timeout = '15s';
SET lock_timeout = '25s';
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3;
SET client_min_messages = warning;
SET bytea_output = 'hex';
";

/// What a store does with its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write(Durability),
}

/// The session with the server, for one user at a time.
pub(super) struct Sessions {
    url: PostgresUrl,
    purpose: Purpose,
    opened: Generation,
    /// Never dropped in a forked child, whose copy of the socket is closed already.
    state: ManuallyDrop<Mutex<State>>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// The session that was lost last: the server may not have noticed yet.
    lost: Option<Backend>,
    present: Option<Backend>,
    /// Names and keys of the claims, taken again by every new session.
    claims: Vec<(String, i64)>,
}

/// The server's process behind a session, with the time of its start, because numbers of processes come again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Backend {
    pid: i32,
    started: String,
}

impl Sessions {
    /// Begins the first session. It is not waited for as long as for a lost one: who starts can be told at once.
    pub(super) fn open(url: &PostgresUrl, purpose: Purpose) -> Result<Self, LogError> {
        let sessions = Self {
            url: url.clone(),
            purpose,
            opened: Generation::current(),
            state: ManuallyDrop::new(Mutex::default()),
        };
        let mut state = sessions.lock();
        sessions.connect(&mut state, Instant::now() + url.patience).map_err(|failure| sessions.give_up(failure))?;
        drop(state);
        Ok(sessions)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, failure: Failure) -> LogError {
        match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Lost(detail) => LogError::Unavailable { path: self.url.shown().to_path_buf(), detail },
        }
    }

    /// Runs `work`, again in a new session when one is lost, in all for as long as the URL's patience says. `work` is told whether it may have been done before; an
    /// attempt whose end nobody saw is looked up, never assumed.
    pub(super) fn run<T>(&self, work: impl AsyncFn(&mut Session, bool) -> Result<T, Failure>) -> Result<T, LogError> {
        if !self.opened.is_current() {
            return Err(LogError::Forked { path: self.url.shown().to_path_buf() });
        }
        let deadline = Instant::now() + self.url.patience;
        let mut state = self.lock();
        let (mut again, mut pause) = (false, PAUSE);
        loop {
            let done = match &mut state.connection {
                Some(connection) => {
                    let done = connection.run(deadline, async |session| work(session, again).await);
                    again = true;
                    done
                }
                None => match self.connect(&mut state, deadline) {
                    Ok(()) => continue,
                    Err(failure) => Err(failure),
                },
            };
            match done {
                Ok(done) => return Ok(done),
                Err(Failure::Refused(refusal)) => return Err(refusal),
                Err(Failure::Lost(detail)) => {
                    state.connection = None;
                    state.lost = state.present.take().or(state.lost.take());
                    if Instant::now() + pause >= deadline {
                        return Err(self.give_up(Failure::Lost(detail)));
                    }
                    std::thread::sleep(pause);
                    pause = (2 * pause).min(Duration::from_secs(1));
                }
            }
        }
    }

    /// Takes the claim of `name` by its `key` for as long as this store lives. The inner `Err` names the holder.
    pub(super) fn claim(&self, name: &str, key: i64) -> Result<Result<(), String>, LogError> {
        let claimed = self.run(async |session, _| try_claim(session, key).await)?;
        Ok(match claimed {
            Claimed::Taken => {
                self.lock().claims.push((name.to_owned(), key));
                Ok(())
            }
            Claimed::HeldBy(_, holder) => Err(holder),
        })
    }

    /// Begins a session with the first server that serves the purpose, and takes the claims again.
    fn connect(&self, state: &mut State, deadline: Instant) -> Result<(), Failure> {
        let mut last = Failure::Lost("the URL names no server".to_owned());
        for server in self.url.servers() {
            let begun = Connection::open(&self.url, &server).and_then(|mut connection| {
                let present =
                    connection.run(deadline, async |session| begin(session, &self.url, self.purpose).await)?;
                Ok((connection, present))
            });
            match begun {
                Ok((mut connection, present)) => {
                    let (lost, claims) = (state.lost.clone(), &state.claims);
                    connection.run(deadline, async |session| take_over(session, lost.as_ref(), claims).await)?;
                    state.connection = Some(connection);
                    state.present = Some(present);
                    state.lost = None;
                    return Ok(());
                }
                Err(Failure::Refused(refusal)) => return Err(Failure::Refused(refusal)),
                Err(lost) => last = lost,
            }
        }
        Err(last)
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        if !self.opened.is_current() {
            return;
        }
        let mut state = self.lock();
        if !state.claims.is_empty()
            && let Some(connection) = &mut state.connection
        {
            // Whoever opens the log next finds the claims free, without waiting for the server to notice the end.
            let unlock = async |session: &mut Session| session.batch("SELECT pg_advisory_unlock_all()").await;
            let _ = connection.run(Instant::now() + Duration::from_secs(2), unlock);
        }
        drop(state);
        // SAFETY: `drop` runs once, and nobody uses the state after it.
        unsafe { ManuallyDrop::drop(&mut self.state) };
    }
}

/// Sets a session up, refuses a server that does not keep what it acknowledges, and sees to the tables.
async fn begin(session: &mut Session, url: &PostgresUrl, purpose: Purpose) -> Result<Backend, Failure> {
    session.batch(SETTINGS).await?;
    session.batch(&format!("SET search_path TO {}", url.schema)).await?;
    let row = session
        .one(
            "SELECT pg_backend_pid(), pg_is_in_recovery(),
                    (SELECT extract(epoch FROM backend_start)::text FROM pg_stat_activity WHERE pid = pg_backend_pid())",
            &[],
        )
        .await?;
    let (pid, is_standby, started): (i32, bool, Option<String>) = (row.get(0), row.get(1), row.get(2));
    session.pid = pid;
    match purpose {
        Purpose::Read => {
            session.batch("SET default_transaction_read_only = on").await?;
            schema::recognise(session, url).await?;
        }
        Purpose::Write(_) if is_standby => {
            return Err(Failure::Lost("the server is a standby, which takes no writes".to_owned()));
        }
        Purpose::Write(durability) => {
            set_durability(session, url, durability).await?;
            schema::create(session, url).await?;
        }
    }
    Ok(Backend { pid, started: started.unwrap_or_default() })
}

/// Fixes for this session what a commit means. `on` and what goes beyond it or replicates less all sync the server's own
/// disk; `off` does not.
async fn set_durability(session: &mut Session, url: &PostgresUrl, durability: Durability) -> Result<(), Failure> {
    if durability == Durability::Relaxed {
        return session.batch("SET synchronous_commit = off").await;
    }
    let row = session.one("SELECT current_setting('synchronous_commit'), current_setting('fsync')", &[]).await?;
    let (commit, sync): (String, String) = (row.get(0), row.get(1));
    let refuse = |detail: &str| {
        Failure::Refused(LogError::Server { path: url.shown().to_path_buf(), detail: detail.to_owned() })
    };
    if sync == "off" {
        return Err(refuse("the server runs with `fsync = off` and loses what it acknowledged: set it to `on`"));
    }
    if commit == "off" {
        return Err(refuse(
            "`synchronous_commit` is `off` here, so commits are acknowledged before they are durable: set it to `on` for \
             this role, or open the log with durability `relaxed`",
        ));
    }
    session.batch(&format!("SET synchronous_commit = {commit}")).await
}

/// Ends the session that was lost, whose transaction and claims the server may still hold, and takes the claims again.
async fn take_over(session: &mut Session, lost: Option<&Backend>, claims: &[(String, i64)]) -> Result<(), Failure> {
    if let Some(lost) = lost {
        let ask = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE pid = $1 AND extract(epoch FROM backend_start)::text = $2";
        session.rows(ask, &[&lost.pid, &lost.started]).await?;
    }
    for (name, key) in claims {
        while let Claimed::HeldBy(pid, holder) = try_claim(session, *key).await? {
            if pid.is_some_and(|pid| lost.is_none_or(|lost| lost.pid != pid)) {
                let holder = format!("{holder}, since this process lost its connection");
                return Err(LogError::Claimed { issuer: name.clone(), holder }.into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

enum Claimed {
    Taken,
    HeldBy(Option<i32>, String),
}

/// Tries to lock `key` for this session.
async fn try_claim(session: &mut Session, key: i64) -> Result<Claimed, Failure> {
    let taken: bool = session.one("SELECT pg_try_advisory_lock($1)", &[&key]).await?.get(0);
    if taken {
        return Ok(Claimed::Taken);
    }
    // The lock's key stands in two halves.
    let holder = session
        .row(
            "SELECT pid, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
             WHERE locktype = 'advisory' AND granted AND objsubid = 1
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND (classid::bigint << 32 | objid::bigint) = $1",
            &[&key],
        )
        .await?;
    Ok(match holder {
        Some(row) => {
            let (pid, name): (i32, String) = (row.get(0), row.get(1));
            let name = if name.is_empty() { "another process".to_owned() } else { name };
            Claimed::HeldBy(Some(pid), format!("{name}, server session {pid}"))
        }
        None => Claimed::HeldBy(None, "a process that has just ended".to_owned()),
    })
}
