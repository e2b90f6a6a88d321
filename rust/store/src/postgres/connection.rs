//! One session with the server: its socket, its statements, and the errors that it may end with.

use std::collections::HashMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::url::{PostgresUrl, cause};
use crate::error::LogError;
use crate::fork;

/// How long one server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

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
    /// Connects to one server.
    pub(super) fn open(url: &PostgresUrl, host: &Host, port: u16) -> Result<Self, Failure> {
        let lost = |error: std::io::Error| Failure::Lost(format!("{}: {error}", name(host, port)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(lost)?;
        // A fork between opening and registering would leave the child with a socket that it does not know of.
        let gate = fork::gate();
        let socket = Socket::open(host, port).map_err(lost)?;
        let descriptor = socket.descriptor();
        fork::register_descriptor(descriptor)?;
        drop(gate);
        let log = url.shown().to_path_buf();
        let mut config = url.config.clone();
        config.application_name(application_name());
        let connected = runtime.block_on(async {
            let greet = async {
                match socket {
                    Socket::Tcp(stream) => {
                        greet(&config, tokio::net::TcpStream::from_std(stream).map_err(lost)?, &log).await
                    }
                    Socket::Unix(stream) => {
                        greet(&config, tokio::net::UnixStream::from_std(stream).map_err(lost)?, &log).await
                    }
                }
            };
            let late = |_| Err(Failure::Lost(format!("{}: no answer in {} s", name(host, port), CONNECT.as_secs())));
            tokio::time::timeout(CONNECT, greet).await.unwrap_or_else(late)
        });
        match connected {
            Ok(client) => {
                Ok(Self { runtime, session: Session { client, pid: 0, statements: HashMap::new(), log }, descriptor })
            }
            Err(failure) => {
                fork::forget_descriptor(descriptor);
                Err(failure)
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

/// Begins a session on an open socket; its driver runs whenever the session is used.
async fn greet<S>(config: &Config, stream: S, log: &Path) -> Result<Client, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, driver) = config.connect_raw(stream, NoTls).await.map_err(|error| Failure::sort(log, &error))?;
    tokio::spawn(driver);
    Ok(client)
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn open(host: &Host, port: u16) -> std::io::Result<Self> {
        match host {
            Host::Unix(directory) => {
                let stream = UnixStream::connect(directory.join(format!(".s.PGSQL.{port}")))?;
                stream.set_nonblocking(true)?;
                Ok(Self::Unix(stream))
            }
            Host::Tcp(name) => {
                let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
                for address in (name.as_str(), port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, CONNECT) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            stream.set_nonblocking(true)?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    fn descriptor(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

fn name(host: &Host, port: u16) -> String {
    match host {
        Host::Tcp(name) => format!("{name}:{port}"),
        Host::Unix(directory) => format!("{}:{port}", directory.display()),
    }
}

/// How the server's tables of sessions and locks show this process, at most 63 bytes.
fn application_name() -> String {
    let name = format!("chio-fast {}", crate::claim::this_process());
    name.chars().filter(char::is_ascii).take(63).collect()
}
