//! One session with the server: its socket, its statements, and the errors that it may end with.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

use super::socket::{CONNECT, Socket, speaks_tls};
use super::tls::{self, Mode};
use super::url::{PostgresUrl, Server, cause};
use crate::error::LogError;
use crate::fork;

/// Why a piece of work did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The session is gone, or is of no use: what it did last shows only by looking.
    Lost(String),
    /// The work was refused; the session goes on.
    Refused(LogError),
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    /// Sorts an error of the client library; `log` is what messages call the log.
    fn sort(log: &Path, error: &tokio_postgres::Error) -> Self {
        let Some(server) = error.as_db_error() else { return Self::Lost(cause(error)) };
        let code = server.code();
        let path = log.to_path_buf();
        let detail = format!("{} ({})", server.message(), code.code());
        // Class 08: connection; 57P: shut down or starting; 53300: too many sessions; 40: try again.
        let passing = ["08", "57P", "40"].iter().any(|class| code.code().starts_with(class));
        if passing || *code == SqlState::TOO_MANY_CONNECTIONS {
            return Self::Lost(detail);
        }
        Self::Refused(match *code {
            SqlState::DISK_FULL => LogError::Full { path },
            SqlState::LOCK_NOT_AVAILABLE => LogError::Server {
                path,
                detail: "another session has held the lock of the log for too long: find it in `pg_locks`, and keep backups and \
                         shells off its tables"
                    .to_owned(),
            },
            SqlState::INVALID_CATALOG_NAME => LogError::Missing { path },
            SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => LogError::Corrupt { path, detail },
            _ => LogError::Server { path, detail },
        })
    }
}

/// An open session. Its socket is closed in a forked child, which must leak this.
pub(super) struct Connection {
    runtime: Runtime,
    pub(super) session: Session,
    descriptor: RawFd,
}

/// What work on a connection sees of it.
pub(super) struct Session {
    client: Client,
    /// The server's process behind the session, once it is known.
    pub(super) pid: i32,
    statements: HashMap<&'static str, Statement>,
    log: PathBuf,
}

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Session {
    fn sort(&self, error: &tokio_postgres::Error) -> Failure {
        Failure::sort(&self.log, error)
    }

    /// What is stored contradicts itself.
    pub(super) fn corrupt(&self, detail: String) -> Failure {
        LogError::corrupt(&self.log, detail).into()
    }

    /// The server is not one that a log can be kept with.
    pub(super) fn refuse(&self, detail: &str) -> Failure {
        LogError::Server { path: self.log.clone(), detail: detail.to_owned() }.into()
    }

    async fn prepared(&mut self, sql: &'static str) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(|error| self.sort(&error))?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// The rows of a query.
    pub(super) async fn rows(&mut self, sql: &'static str, with: Parameters<'_>) -> Result<Vec<Row>, Failure> {
        let statement = self.prepared(sql).await?;
        self.client.query(&statement, with).await.map_err(|error| self.sort(&error))
    }

    /// The only row of a query, if there is one.
    pub(super) async fn row(&mut self, sql: &'static str, with: Parameters<'_>) -> Result<Option<Row>, Failure> {
        Ok(self.rows(sql, with).await?.into_iter().next())
    }

    /// The only row of a query that always has one.
    pub(super) async fn one(&mut self, sql: &'static str, with: Parameters<'_>) -> Result<Row, Failure> {
        let row = self.row(sql, with).await?;
        row.ok_or_else(|| self.corrupt("the row of the log is missing".to_owned()))
    }

    /// Changes rows, and tells how many.
    pub(super) async fn execute(&mut self, sql: &'static str, with: Parameters<'_>) -> Result<u64, Failure> {
        let statement = self.prepared(sql).await?;
        self.client.execute(&statement, with).await.map_err(|error| self.sort(&error))
    }

    /// Runs statements without parameters.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<(), Failure> {
        self.client.batch_execute(sql).await.map_err(|error| self.sort(&error))
    }

    /// Runs `work` in a transaction whose statements see what others have committed by then.
    pub(super) async fn transaction<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.batch("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        match work(self).await {
            Ok(done) => self.batch("COMMIT").await.map(|()| done),
            Err(Failure::Refused(refusal)) => {
                self.batch("ROLLBACK").await?;
                Err(Failure::Refused(refusal))
            }
            Err(lost) => Err(lost),
        }
    }
}

impl Connection {
    /// Connects to one server; without TLS where that is only preferred and does not come about.
    pub(super) fn open(url: &PostgresUrl, server: &Server) -> Result<Self, Failure> {
        // As in libpq, nobody can listen on a Unix socket.
        let with_tls = url.tls.mode > Mode::Disable && matches!(server.host, Host::Tcp(_));
        match Self::attempt(url, server, with_tls) {
            Err(unmet) if unmet.by_tls && url.tls.mode == Mode::Prefer => Self::attempt(url, server, false),
            done => done,
        }
        .map_err(|unmet| unmet.failure)
    }

    fn attempt(url: &PostgresUrl, server: &Server, with_tls: bool) -> Result<Self, Unmet> {
        let lost = |error: std::io::Error| Failure::Lost(format!("{server}: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(lost)?;
        // A fork between opening and registering would leave the child with a socket that it does not know of.
        let gate = fork::gate();
        let socket = Socket::open(server).map_err(lost)?;
        let descriptor = socket.descriptor();
        fork::register_descriptor(descriptor)?;
        drop(gate);
        let connected = runtime.block_on(async {
            let greet = async {
                match socket {
                    Socket::Tcp(stream) => {
                        greet(url, server, tokio::net::TcpStream::from_std(stream).map_err(lost)?, with_tls).await
                    }
                    Socket::Unix(stream) => {
                        greet(url, server, tokio::net::UnixStream::from_std(stream).map_err(lost)?, with_tls).await
                    }
                }
            };
            let late = |_| Err(Failure::Lost(format!("{server}: no answer in {} s", CONNECT.as_secs())).into());
            tokio::time::timeout(CONNECT, greet).await.unwrap_or_else(late)
        });
        match connected {
            Ok(client) => {
                let log = url.shown().to_path_buf();
                Ok(Self { runtime, session: Session { client, pid: 0, statements: HashMap::new(), log }, descriptor })
            }
            Err(unmet) => {
                fork::forget_descriptor(descriptor);
                Err(unmet)
            }
        }
    }

    /// Runs `work` until `deadline`; what is not done by then is as good as lost.
    pub(super) fn run<T>(
        &mut self,
        deadline: Instant,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Self { runtime, session, .. } = self;
        let left = deadline.saturating_duration_since(Instant::now());
        runtime.block_on(async {
            tokio::time::timeout(left, work(session))
                .await
                .unwrap_or_else(|_| Err(Failure::Lost("the server did not answer in time".to_owned())))
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A child that is forked before the socket is closed keeps a copy of it, which does no harm: the claims of a session
        // are given up before it ends, or taken from it by the next one.
        fork::forget_descriptor(self.descriptor);
    }
}

/// Why a session did not begin.
struct Unmet {
    failure: Failure,
    /// It may begin without TLS.
    by_tls: bool,
}

impl<F: Into<Failure>> From<F> for Unmet {
    fn from(failure: F) -> Self {
        Self { failure: failure.into(), by_tls: false }
    }
}

/// Begins a session on an open socket; its driver runs whenever the session is used.
async fn greet<S>(url: &PostgresUrl, server: &Server, mut stream: S, with_tls: bool) -> Result<Client, Unmet>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut config = url.config.clone();
    config.application_name(application_name()).ssl_mode(SslMode::Disable);
    let lost = |error: std::io::Error| Failure::Lost(format!("{server}: {error}"));
    let is_direct = config.get_ssl_negotiation() == SslNegotiation::Direct;
    if !with_tls || !(is_direct || speaks_tls(&mut stream).await.map_err(lost)?) {
        if with_tls && url.tls.mode > Mode::Prefer {
            return Err(refuse_tls(url, url.tls.explain_none(server)));
        }
        let (client, driver) =
            config.connect_raw(stream, NoTls).await.map_err(|error| Failure::sort(url.shown(), &error))?;
        tokio::spawn(driver);
        return Ok(client);
    }
    if ServerName::try_from(server.name.as_str()).is_err() {
        return Err(refuse_tls(
            url,
            format!("no certificate can be for `{}`: write a host's name or address", server.name),
        ));
    }
    let Ok(connector) = MakeTlsConnect::<S>::make_tls_connect(&mut url.tls.connector()?, &server.name);
    // The client library begins with the handshake: what comes before it is done.
    config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    let (client, driver) = config.connect_raw(stream, connector).await.map_err(|error| match tls::fault(&error) {
        Some(fault) => refuse_tls(url, url.tls.explain(fault, server)),
        // Servers can be told to take a session only in clear.
        None => Unmet {
            failure: Failure::sort(url.shown(), &error),
            by_tls: error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
        },
    })?;
    tokio::spawn(driver);
    Ok(client)
}

fn refuse_tls(url: &PostgresUrl, detail: String) -> Unmet {
    Unmet { failure: LogError::Server { path: url.shown().to_path_buf(), detail }.into(), by_tls: true }
}

/// How the server's tables of sessions and locks show this process, at most 63 bytes.
fn application_name() -> String {
    let name = format!("chio-fast {}", crate::claim::this_process());
    name.chars().filter(char::is_ascii).take(63).collect()
}
