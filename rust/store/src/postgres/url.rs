//! The URL of a log in PostgreSQL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::error::LogError;

/// The schema that holds a log when its URL names none.
const SCHEMA: &str = "chio";

/// The port of a server whose URL names none.
const PORT: u16 = 5432;

/// How long a lost server is waited for when the URL does not say.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest patience in seconds: whoever waits for a receipt waits so long.
const LONGEST_PATIENCE: u64 = 600;

/// `postgresql://user:password@host:port/database?schema=name&patience=30`, with the parameters that libpq knows beside
/// these two: the schema that holds the log, and for how many seconds a lost server is waited for.
///
/// It is shown without its password.
#[derive(Clone)]
pub struct PostgresUrl {
    pub(super) config: Config,
    pub(super) schema: String,
    pub(super) patience: Duration,
    shown: PathBuf,
}

impl PostgresUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// `Options` when it is malformed, names no server, or asks for TLS.
    pub fn parse(text: &str) -> Result<Self, LogError> {
        let refuse = |detail: &str| LogError::Options {
            detail: format!(
                "the URL of the receipt log {detail}; write `postgresql://user:password@host:5432/database?schema={SCHEMA}`"
            ),
        };
        let (text, schema) = take(text, "schema=");
        let (text, patience) = take(&text, "patience=");
        let schema = schema.unwrap_or_else(|| SCHEMA.to_owned());
        if !is_plain(&schema) {
            return Err(refuse("names a schema that is not 1 to 63 lower-case letters, digits or `_`"));
        }
        let seconds = patience.map_or(Some(PATIENCE.as_secs()), |text| text.parse().ok());
        let Some(seconds) = seconds.filter(|seconds| (1..=LONGEST_PATIENCE).contains(seconds)) else {
            return Err(refuse(&format!("has a `patience` that is no number of seconds from 1 to {LONGEST_PATIENCE}")));
        };
        if ["sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"].iter().any(|mode| text.contains(mode)) {
            return Err(refuse_tls());
        }
        // The parser's messages name options, never values of the user or the password.
        let config = Config::from_str(&text).map_err(|error| refuse(&format!("cannot be read: {}", cause(&error))))?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(refuse_tls());
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(refuse("names no host"));
        }
        let shown = PathBuf::from(show(&config, &schema));
        Ok(Self { config, schema, patience: Duration::from_secs(seconds), shown })
    }

    /// What messages call the log.
    pub(crate) fn shown(&self) -> &Path {
        &self.shown
    }

    /// The servers to try, in order, each with its port.
    pub(super) fn servers(&self) -> Vec<(Host, u16)> {
        let addresses = self.config.get_hostaddrs().iter().map(|address| Host::Tcp(address.to_string()));
        let mut hosts: Vec<Host> = addresses.collect();
        if hosts.is_empty() {
            hosts = self.config.get_hosts().to_vec();
        }
        let ports = self.config.get_ports();
        // One port serves all hosts, else there is one for each.
        let port = |place: usize| ports.get(place).or(ports.first()).copied().unwrap_or(PORT);
        hosts.into_iter().enumerate().map(|(place, host)| (host, port(place))).collect()
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresUrl").field(&self.shown).finish()
    }
}

/// Takes a parameter of ours out of a URL, which libpq's rules do not know.
fn take(text: &str, name: &str) -> (String, Option<String>) {
    let Some((before, query)) = text.split_once('?') else { return (text.to_owned(), None) };
    let (ours, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(|parameter| parameter.starts_with(name));
    let text = if rest.is_empty() { before.to_owned() } else { format!("{before}?{}", rest.join("&")) };
    (text, ours.last().and_then(|parameter| parameter.strip_prefix(name)).map(str::to_owned))
}

/// A name that needs no quotes in SQL.
fn is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    starts && name.len() <= 63 && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn show(config: &Config, schema: &str) -> String {
    let user = config.get_user().map_or_else(String::new, |user| format!("{user}@"));
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        })
        .chain(config.get_hostaddrs().iter().take(usize::from(config.get_hosts().is_empty())).map(ToString::to_string))
        .collect();
    let ports: Vec<String> = config.get_ports().iter().map(|port| format!(":{port}")).collect();
    let database = config.get_dbname().unwrap_or_default();
    format!("postgresql://{user}{}{}/{database}?schema={schema}", hosts.join(","), ports.join(","))
}

fn refuse_tls() -> LogError {
    LogError::Options {
        detail: "the URL of the receipt log asks for TLS, which this build does not speak: reach the server by a Unix socket, \
                 the loopback interface or an encrypted tunnel, and leave `sslmode` out"
            .to_owned(),
    }
}

/// What is at the bottom of an error of the client library.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => cause(source),
        None => error.to_string(),
    }
}
