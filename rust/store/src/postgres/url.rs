//! The URL of a log in PostgreSQL.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslNegotiation};

use super::tls::{self, Mode, Tls};
use crate::error::LogError;

/// The schema that holds a log when its URL names none.
const SCHEMA: &str = "chio";

/// The port of a server whose URL names none.
const PORT: u16 = 5432;

/// How long a lost server is waited for when the URL does not say.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest patience in seconds: whoever waits for a receipt waits so long.
const LONGEST_PATIENCE: u64 = 600;

/// The parameters that say what the log is and for how long its server is waited for.
const OWN: [&str; 2] = ["schema", "patience"];

/// `postgresql://user:password@host:port/database?schema=name&patience=30`, with the parameters that libpq knows beside
/// these two: the schema that holds the log, and for how many seconds a lost server is waited for.
///
/// `sslmode`, `sslrootcert`, `sslcert` and `sslkey` ask for TLS as in libpq, but that files which are not named are not
/// looked for, and that certificates are not named in vain.
///
/// It is shown without its password.
#[derive(Clone)]
pub struct PostgresUrl {
    pub(super) config: Config,
    pub(super) schema: String,
    pub(super) patience: Duration,
    pub(super) tls: Tls,
    shown: PathBuf,
}

impl PostgresUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// `Options` when it is malformed, names no server, or asks for TLS in a way that would not protect.
    pub fn parse(text: &str) -> Result<Self, LogError> {
        let refuse = |detail: &str| LogError::Options {
            detail: format!(
                "the URL of the receipt log {detail}; write `postgresql://user:password@host:5432/database?schema={SCHEMA}`"
            ),
        };
        let (text, parameters) = take(text);
        let schema = parameters.get("schema").map_or(SCHEMA, String::as_str).to_owned();
        if !is_plain(&schema) {
            return Err(refuse("names a schema that is not 1 to 63 lower-case letters, digits or `_`"));
        }
        let seconds = parameters.get("patience").map_or(Some(PATIENCE.as_secs()), |text| text.parse().ok());
        let Some(seconds) = seconds.filter(|seconds| (1..=LONGEST_PATIENCE).contains(seconds)) else {
            return Err(refuse(&format!("has a `patience` that is no number of seconds from 1 to {LONGEST_PATIENCE}")));
        };
        let tls = Tls::of(&parameters)?;
        // The parser's messages name options, never values of the user or the password.
        let config = Config::from_str(&text).map_err(|error| refuse(&format!("cannot be read: {}", cause(&error))))?;
        if config.get_ssl_negotiation() == SslNegotiation::Direct && tls.mode < Mode::Require {
            return Err(refuse("asks for `sslnegotiation=direct` without TLS: add `sslmode=verify-full`"));
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(refuse("names no host"));
        }
        let shown = PathBuf::from(show(&config, &schema));
        Ok(Self { config, schema, patience: Duration::from_secs(seconds), tls, shown })
    }

    /// What messages call the log.
    pub(crate) fn shown(&self) -> &Path {
        &self.shown
    }

    /// The servers to try, in order.
    pub(super) fn servers(&self) -> Vec<Server> {
        let names = self.config.get_hosts();
        let addresses = self.config.get_hostaddrs().iter().map(|address| Host::Tcp(address.to_string()));
        let mut hosts: Vec<Host> = addresses.collect();
        if hosts.is_empty() {
            hosts = names.to_vec();
        }
        let ports = self.config.get_ports();
        // One port serves all hosts, else there is one for each.
        let port = |place: usize| ports.get(place).or(ports.first()).copied().unwrap_or(PORT);
        let named = |place: usize, host: &Host| show_host(names.get(place).unwrap_or(host));
        let server = |(place, host): (usize, Host)| Server { name: named(place, &host), port: port(place), host };
        hosts.into_iter().enumerate().map(server).collect()
    }
}

/// One server of a URL.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it is.
    pub(super) host: Host,
    pub(super) port: u16,
    /// What the URL calls it, and its certificate should.
    pub(super) name: String,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresUrl").field(&self.shown).finish()
    }
}

/// Takes the parameters out of a URL that the client library does not know, or knows in part.
fn take(text: &str) -> (String, HashMap<&str, String>) {
    let Some((before, query)) = text.split_once('?') else { return (text.to_owned(), HashMap::new()) };
    let (mut taken, mut rest) = (HashMap::new(), Vec::new());
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some((name, value)) if OWN.contains(&name) || tls::PARAMETERS.contains(&name) => {
                taken.insert(name, percent_decode_str(value).decode_utf8_lossy().into_owned());
            }
            _ => rest.push(parameter),
        }
    }
    let text = if rest.is_empty() { before.to_owned() } else { format!("{before}?{}", rest.join("&")) };
    (text, taken)
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
        .map(show_host)
        .chain(config.get_hostaddrs().iter().take(usize::from(config.get_hosts().is_empty())).map(ToString::to_string))
        .collect();
    let ports: Vec<String> = config.get_ports().iter().map(|port| format!(":{port}")).collect();
    let database = config.get_dbname().unwrap_or_default();
    format!("postgresql://{user}{}{}/{database}?schema={schema}", hosts.join(","), ports.join(","))
}

fn show_host(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

/// What is at the bottom of an error of the client library.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => cause(source),
        None => error.to_string(),
    }
}
