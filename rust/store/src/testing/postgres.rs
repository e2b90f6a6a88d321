//! A PostgreSQL server of one's own for tests and drills, from the binaries of this machine.

use std::ffi::CString;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{LogError, LogLocation, PostgresStore, PostgresUrl};

/// Set to 1 where tests must not be skipped for want of a server.
pub const REQUIRE: &str = "CHIO_REQUIRE_POSTGRES";

const PASSWORD: &str = "se-cret";

/// How long the server may take to start, recovery from a crash included.
const START: Duration = Duration::from_secs(60);

/// A running server with a data directory of its own. Dropping it ends the server and removes the directory.
#[derive(Debug)]
pub struct Server {
    binaries: PathBuf,
    directory: PathBuf,
    port: u16,
    process: Child,
}

/// How a server speaks TLS. Texts of certificates and keys are PEM.
#[derive(Debug, Clone, Copy)]
pub struct ServerTls<'a> {
    /// The server's certificate.
    pub certificate: &'a str,
    /// The key of the certificate.
    pub key: &'a str,
    /// The authority of the certificates of clients.
    pub clients: &'a str,
    /// Lines of `pg_hba.conf` that go before the present ones.
    pub rules: &'a str,
}

impl Server {
    /// Starts a server; `None`, said loudly, when this machine has none.
    ///
    /// # Panics
    /// When the server does not start, or there is none and `CHIO_REQUIRE_POSTGRES` is 1.
    pub fn start() -> Option<Self> {
        let Some(binaries) = find_binaries() else {
            let what = "no PostgreSQL server in PATH or /usr/lib/postgresql (Debian: `apt-get install postgresql`)";
            assert!(std::env::var(REQUIRE).as_deref() != Ok("1"), "{what}, and {REQUIRE} is 1");
            eprintln!("SKIPPED, nothing of the Postgres store is tested: {what}");
            return None;
        };
        let directory = std::env::temp_dir().join(format!("chio-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let words = directory.join("password");
        std::fs::write(&words, PASSWORD).unwrap();
        give_away(&[&directory, &words]);
        let mut init = as_server(&binaries.join("initdb"));
        init.args(["--username=chio", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--pwfile"]).arg(&words);
        let made = init.arg("--pgdata").arg(directory.join("data")).output().unwrap();
        assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let process = serve(&binaries, &directory, port);
        let mut server = Self { binaries, directory, port, process };
        server.wait();
        Some(server)
    }

    /// The URL of the log with this name.
    pub fn url(&self, name: &str) -> String {
        format!("postgresql://chio:{PASSWORD}@127.0.0.1:{}/postgres?schema={}", self.port, name.replace('-', "_"))
    }

    /// The port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The location of the log with this name.
    pub fn location(&self, name: &str) -> LogLocation {
        LogLocation::parse(self.url(name).as_ref()).unwrap()
    }

    /// A folder of the server's for what belongs to its logs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs SQL as the owner of the database, and gives what it prints.
    pub fn sql(&self, text: &str) -> String {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-XAtqc", text, "-h", "127.0.0.1", "-U", "chio", "-p", &self.port.to_string(), "postgres"]);
        let done = psql.env("PGPASSWORD", PASSWORD).output().unwrap();
        assert!(done.status.success(), "{text}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// Speaks TLS with every session that begins from now on, as `tls` says.
    pub fn serve_tls(&self, tls: &ServerTls<'_>) {
        // In a place of its own, whose name a new session shows once the server has taken it up.
        let place =
            (0..).map(|number| self.directory.join(format!("tls-{number}"))).find(|place| !place.exists()).unwrap();
        std::fs::create_dir(&place).unwrap();
        give_away(&[&place]);
        let files = [("cert", tls.certificate), ("key", tls.key), ("ca", tls.clients)];
        for (name, text) in files {
            let file = place.join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            give_away(&[&file]);
            self.sql(&format!("ALTER SYSTEM SET ssl_{name}_file = '{}'", file.display()));
        }
        self.sql("ALTER SYSTEM SET ssl = on");
        let rules = self.directory.join("data/pg_hba.conf");
        let former = std::fs::read_to_string(&rules).unwrap();
        std::fs::write(&rules, format!("{}\n{former}", tls.rules)).unwrap();
        self.sql("SELECT pg_reload_conf()");
        while self.sql("SHOW ssl_cert_file") != place.join("cert").display().to_string() {
            std::thread::yield_now();
        }
    }

    /// Kills the server's first process with SIGKILL; its others notice and end.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts the server again and waits until it has recovered.
    pub fn restart(&mut self) {
        self.process = serve(&self.binaries, &self.directory, self.port);
        self.wait();
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + START;
        let url = PostgresUrl::parse(&self.url("nothing")).unwrap();
        // A log that is not there is told by a server that is.
        while !matches!(PostgresStore::open_readable(&url), Err(LogError::Missing { .. })) {
            assert!(Instant::now() < deadline, "the server does not start");
            // The others of a killed server may hold its shared memory for a moment, and a new one does not wait.
            if self.process.try_wait().unwrap().is_some() {
                self.process = serve(&self.binaries, &self.directory, self.port);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: the call has no memory to mind. SIGINT is the server's fast shutdown.
        unsafe { libc::kill(self.process.id().cast_signed(), libc::SIGINT) };
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn serve(binaries: &Path, directory: &Path, port: u16) -> Child {
    let mut server = as_server(&binaries.join("postgres"));
    server.arg("-D").arg(directory.join("data")).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""]);
    server.args(["-c", "log_min_messages=fatal", "-c", "max_connections=40"]);
    server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn find_binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut installed: Vec<PathBuf> = installed.map(|version| version.path().join("bin")).collect();
    installed.sort();
    installed.into_iter().rev().chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").exists())
}

/// The server refuses to be run by root, who runs it as somebody else.
fn as_server(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = somebody_else() {
        command.uid(user).gid(group);
    }
    command.current_dir("/");
    command
}

fn give_away(paths: &[&Path]) {
    if let Some((user, group)) = somebody_else() {
        for path in paths {
            std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
        }
    }
}

/// User and group of `postgres`, else of `nobody`; `None` when this process is not root.
fn somebody_else() -> Option<(u32, u32)> {
    // SAFETY: the call has no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|name| {
        let name = CString::new(*name).ok()?;
        // SAFETY: the name ends with zero; the entry is read before anybody asks for another one.
        unsafe { libc::getpwnam(name.as_ptr()).as_ref() }.map(|entry| (entry.pw_uid, entry.pw_gid))
    })
}
