//! The way to a PostgreSQL server over TLS: what each `sslmode` accepts of a real server, and what it says when it refuses.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // A test fails by panicking.

mod common;

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use chio_receipts::{Durability, Signer};
use chio_store::testing::postgres::{Server, ServerTls};
use chio_store::testing::{Sample, suite};
use chio_store::{BatchStore, Log, LogError, LogLocation, LogOptions, PostgresStore, PostgresUrl};
use common::consume;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, date_time_ymd,
};
use zeroize::Zeroizing;

const PASSWORD: &str = "se-cret";

/// Without the usual harness, because this program is also the process that trusts other roots.
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, url] = arguments.as_slice()
        && mode == "--open"
    {
        println!("{}", open(url).map_or_else(|error| error.to_string(), |_| "opened".to_owned()));
        return;
    }
    what_would_not_protect_is_refused();
    direct_negotiation_begins_with_the_handshake();
    let Some(server) = Server::start() else { return };
    let files = tempfile::tempdir().unwrap();
    let pki = Pki::make(files.path().to_path_buf());
    a_server_without_tls_serves_only_who_does_not_ask_for_it(&server, &pki);
    pki.serve(&server, &pki.leaf(&["localhost"]), "");
    each_mode_accepts_what_libpq_accepts(&server, &pki);
    refusals_say_what_to_write(&server, &pki);
    roots_of_the_machine_are_the_default_of_verify_full(&server, &pki);
    channel_binding_ties_the_password_to_the_certificate(&server, &pki);
    a_store_keeps_its_promises_over_tls(&server, &pki);
    a_lost_session_comes_back_over_tls(&server, &pki);
    clients_show_their_certificates(&server, &pki);
    certificates_that_are_of_no_use_are_named(&server, &pki);
    what_is_only_preferred_is_done_without(&server, &pki);
}

fn open(url: &str) -> Result<PostgresStore, LogError> {
    PostgresStore::open(&PostgresUrl::parse(url)?, Durability::Full)
}

/// The error of a URL that cannot be opened, without the password.
fn refused(url: &str) -> String {
    let refused = open(url).err().unwrap_or_else(|| panic!("{url} was opened")).to_string();
    assert!(!refused.contains(PASSWORD) && !refused.contains('\n'), "{refused}");
    refused
}

/// Opens a URL, and tells whether its session is encrypted.
fn is_encrypted(server: &Server, url: &str) -> bool {
    let _store = open(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    // Former sessions may not have ended yet.
    let ask = format!(
        "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE application_name LIKE 'chio-fast process {} on %' ORDER BY backend_start DESC LIMIT 1",
        std::process::id()
    );
    match server.sql(&ask).as_str() {
        "t" => true,
        "f" => false,
        other => panic!("no session of this process: {other}"),
    }
}

/// A certificate and its key, both PEM.
struct Leaf {
    certificate: String,
    key: String,
}

/// Two authorities, and files with what they have signed.
struct Pki {
    files: PathBuf,
    ours: CertifiedIssuer<'static, KeyPair>,
    other: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn make(files: PathBuf) -> Self {
        let authority = || {
            let mut parameters = CertificateParams::default();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
        };
        Self { files, ours: authority(), other: authority() }
    }

    /// A certificate that our authority has signed for these hosts.
    fn leaf(&self, hosts: &[&str]) -> Leaf {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        sign(CertificateParams::new(hosts).unwrap(), &self.ours)
    }

    /// The path of a file with this text, which others may not read.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.files.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    fn root(&self) -> String {
        self.file("root.pem", &self.ours.pem())
    }

    fn other_root(&self) -> String {
        self.file("other.pem", &self.other.pem())
    }

    /// Has the server show this certificate, and admit sessions by these lines of `pg_hba.conf` first.
    fn serve(&self, server: &Server, leaf: &Leaf, rules: &str) {
        let clients = self.ours.pem();
        server.serve_tls(&ServerTls { certificate: &leaf.certificate, key: &leaf.key, clients: &clients, rules });
    }
}

fn sign(mut parameters: CertificateParams, by: &CertifiedIssuer<'static, KeyPair>) -> Leaf {
    // Not the authority's own name, which is the library's default: the certificate would seem to have signed itself.
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "leaf");
    let key = KeyPair::generate().unwrap();
    Leaf { certificate: parameters.signed_by(&key, by).unwrap().pem(), key: key.serialize_pem() }
}

/// The URL of a log, at a host of the server's address, with more parameters.
fn url(server: &Server, host: &str, parameters: &str) -> String {
    server.url("tls").replace("@127.0.0.1", &format!("@{host}")) + "&hostaddr=127.0.0.1" + parameters
}

fn what_would_not_protect_is_refused() {
    for (parameters, part) in [
        ("sslmode=allow", "unknown `sslmode`"),
        ("sslmode=verify-ca", "checks no name"),
        ("sslrootcert=system&sslmode=require", "checks no name"),
        ("sslrootcert=system&sslmode=verify-ca", "checks no name"),
        ("sslrootcert=/root.pem", "does without them"),
        ("sslrootcert=/root.pem&sslmode=disable", "does without them"),
        ("sslcert=/me.pem&sslkey=/me.key", "does without them"),
        ("sslcert=/me.pem&sslmode=require", "only one of `sslcert` and `sslkey`"),
        ("sslnegotiation=direct", "`sslnegotiation=direct` without TLS"),
    ] {
        let refused = PostgresUrl::parse(&format!("postgresql://u:{PASSWORD}@h/d?{parameters}")).unwrap_err();
        let message = refused.to_string();
        assert!(
            message.contains(part) && message.contains("verify-full") | message.contains("write both"),
            "{message}"
        );
        assert!(!message.contains(PASSWORD), "{message}");
    }
}

/// Servers before PostgreSQL 17 do not know it, so what is looked at are the first bytes that reach one.
fn direct_negotiation_begins_with_the_handshake() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    for (parameters, begins) in
        [("sslmode=require", vec![0, 0, 0, 8]), ("sslmode=require&sslnegotiation=direct", vec![22])]
    {
        let heard = std::thread::scope(|scope| {
            scope.spawn(|| refused(&format!("postgresql://u:{PASSWORD}@127.0.0.1:{port}/d?{parameters}")));
            let mut heard = vec![0; begins.len()];
            listener.accept().unwrap().0.read_exact(&mut heard).unwrap();
            heard
        });
        assert_eq!(heard, begins, "{parameters}");
    }
}

fn a_server_without_tls_serves_only_who_does_not_ask_for_it(server: &Server, pki: &Pki) {
    let root = pki.root();
    for parameters in ["", "&sslmode=prefer", "&sslmode=disable"] {
        assert!(!is_encrypted(server, &url(server, "localhost", parameters)), "{parameters}");
    }
    for mode in ["require".to_owned(), format!("verify-full&sslrootcert={root}")] {
        let refused = refused(&url(server, "localhost", &format!("&sslmode={mode}")));
        assert!(refused.contains("does not speak TLS") && refused.contains("set `ssl = on`"), "{refused}");
    }
}

fn each_mode_accepts_what_libpq_accepts(server: &Server, pki: &Pki) {
    let (root, other) = (pki.root(), pki.other_root());
    // Here the server's certificate is for `localhost`.
    for (host, parameters, encrypted) in [
        ("localhost", "&sslmode=disable".to_owned(), false),
        ("elsewhere", String::new(), true),
        ("elsewhere", "&sslmode=prefer".to_owned(), true),
        ("elsewhere", "&sslmode=require".to_owned(), true),
        ("elsewhere", format!("&sslmode=require&sslrootcert={root}"), true),
        ("elsewhere", format!("&sslmode=verify-ca&sslrootcert={root}"), true),
        ("localhost", format!("&sslmode=verify-full&sslrootcert={root}"), true),
        ("localhost", format!("&sslmode=verify-full&sslrootcert={}", root.replace('/', "%2F")), true),
    ] {
        assert_eq!(is_encrypted(server, &url(server, host, &parameters)), encrypted, "{host} {parameters}");
    }
    for (host, mode, root, part) in [
        ("localhost", "require", &other, "signed by no authority in"),
        ("localhost", "verify-ca", &other, "signed by no authority in"),
        ("localhost", "verify-full", &other, "signed by no authority in"),
        ("elsewhere", "verify-full", &root, "not for `elsewhere`"),
        ("127.0.0.1", "verify-full", &root, "not for `127.0.0.1`"),
    ] {
        let refused = refused(&url(server, host, &format!("&sslmode={mode}&sslrootcert={root}")));
        assert!(refused.contains(part) && refused.contains("write"), "{refused}");
    }
}

fn refusals_say_what_to_write(server: &Server, pki: &Pki) {
    let (root, empty) = (pki.root(), pki.file("empty.pem", "nothing"));
    let (mine, another) = (pki.leaf(&[]), pki.leaf(&[]));
    let (chain, key) = (pki.file("mine.pem", &mine.certificate), pki.file("mine.key", &mine.key));
    let (another, open) = (pki.file("another.key", &another.key), pki.file("open.key", &mine.key));
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    for (parameters, part) in [
        (
            "sslrootcert=/no/root.pem".to_owned(),
            "`sslrootcert` of the receipt log's URL: `/no/root.pem` cannot be read",
        ),
        (format!("sslrootcert={empty}"), "holds no certificate in PEM form: write the path"),
        (format!("sslrootcert={root}&sslcert={empty}&sslkey={key}"), "`sslcert` of the receipt log's URL"),
        (format!("sslrootcert={root}&sslcert={chain}&sslkey=/no/key.pem"), "cannot be read"),
        (format!("sslrootcert={root}&sslcert={chain}&sslkey={empty}"), "holds no private key"),
        (
            format!("sslrootcert={root}&sslcert={chain}&sslkey={another}"),
            "does not go with the certificate in `sslcert`",
        ),
        (format!("sslrootcert={root}&sslcert={chain}&sslkey={open}"), "run `chmod 600"),
    ] {
        let refused = refused(&url(server, "localhost", &format!("&sslmode=verify-full&{parameters}")));
        assert!(refused.contains(part), "{refused}");
    }
}

fn roots_of_the_machine_are_the_default_of_verify_full(server: &Server, pki: &Pki) {
    let trusting = |root: &str, parameters: &str| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--open", &url(server, "localhost", parameters)])
            .env("SSL_CERT_FILE", root)
            .env_remove("SSL_CERT_DIR");
        let done = child.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    };
    let (root, other, empty) = (pki.root(), pki.other_root(), pki.file("empty.pem", "nothing"));
    for parameters in ["&sslmode=verify-full", "&sslrootcert=system", "&sslmode=verify-full&sslrootcert=system"] {
        assert_eq!(trusting(&root, parameters), "opened", "{parameters}");
        assert!(trusting(&other, parameters).contains("signed by no authority that this machine trusts"));
        assert!(trusting(&empty, parameters).contains("this machine has no root certificates"));
    }
}

fn channel_binding_ties_the_password_to_the_certificate(server: &Server, pki: &Pki) {
    let verified = format!("&channel_binding=require&sslmode=verify-full&sslrootcert={}", pki.root());
    assert!(is_encrypted(server, &url(server, "localhost", &verified)));
    let refused = refused(&url(server, "localhost", "&channel_binding=require&sslmode=disable"));
    assert!(refused.contains("channel binding"), "{refused}");
}

fn a_store_keeps_its_promises_over_tls(server: &Server, pki: &Pki) {
    let parameters = format!("&hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={}", pki.root());
    suite::run(&|name| -> Box<dyn BatchStore> {
        let url = server.url(&format!("tls_{name}")).replace("@127.0.0.1", "@localhost") + &parameters;
        Box::new(open(&url).unwrap())
    });
}

fn a_lost_session_comes_back_over_tls(server: &Server, pki: &Pki) {
    let verified = format!("&sslmode=verify-full&sslrootcert={}", pki.root());
    let location = LogLocation::parse(url(server, "localhost", &verified).as_ref()).unwrap();
    let signer = Some(Arc::new(Signer::from_seed(&Zeroizing::new([7; 32]))));
    let options = LogOptions { issuer: Some("a".to_owned()), signer, ..LogOptions::default() };
    let (log, sample) = (Log::open(&location, &options).unwrap(), Sample::new("agents", "orders", 0));
    consume(&log, &sample, 0..5, b"v");
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'chio-fast%'");
    consume(&log, &sample, 5..10, b"v");
    log.close().unwrap();
}

fn clients_show_their_certificates(server: &Server, pki: &Pki) {
    server.sql("CREATE ROLE shown LOGIN SUPERUSER PASSWORD 'se-cret'");
    let rule = "hostssl all shown 127.0.0.1/32 scram-sha-256 clientcert=verify-ca";
    pki.serve(server, &pki.leaf(&["localhost"]), rule);
    let url = url(server, "localhost", &format!("&sslmode=verify-full&sslrootcert={}", pki.root()))
        .replace("chio:", "shown:");
    let with = |leaf: &Leaf| {
        let (chain, key) = (pki.file("me.pem", &leaf.certificate), pki.file("me.key", &leaf.key));
        format!("{url}&sslcert={chain}&sslkey={key}")
    };
    assert!(is_encrypted(server, &with(&pki.leaf(&[]))));
    let without = refused(&url);
    assert!(without.contains("requires a valid client certificate"), "{without}");
    let stranger = refused(&with(&sign(CertificateParams::default(), &pki.other)));
    assert!(stranger.contains("refuses a certificate of this client") && stranger.contains("`sslcert`"), "{stranger}");
}

fn certificates_that_are_of_no_use_are_named(server: &Server, pki: &Pki) {
    let verified = url(server, "localhost", &format!("&sslmode=verify-full&sslrootcert={}", pki.root()));
    let mut old = CertificateParams::new(["localhost".to_owned()]).unwrap();
    old.not_after = date_time_ymd(2020, 1, 1);
    let nameless = CertificateParams::default();
    let mut authority = CertificateParams::new(["localhost".to_owned()]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (parameters, part) in [
        (old, "has expired"),
        (nameless, "is for no name at all"),
        (authority, "cannot be used (CaUsedAsEndEntity): have an authority issue one"),
    ] {
        pki.serve(server, &sign(parameters, &pki.ours), "");
        let refused = refused(&verified);
        assert!(refused.contains(part), "{refused}");
    }
}

fn what_is_only_preferred_is_done_without(server: &Server, pki: &Pki) {
    server.sql("CREATE ROLE plain LOGIN SUPERUSER PASSWORD 'se-cret'");
    pki.serve(server, &pki.leaf(&["localhost"]), "hostssl all plain 127.0.0.1/32 reject");
    let plain = |parameters: &str| url(server, "localhost", parameters).replace("chio:", "plain:");
    assert!(!is_encrypted(server, &plain("")), "a role that is admitted only in clear");
    assert!(refused(&plain("&sslmode=require")).contains("pg_hba.conf"));

    for bound in ["min", "max"] {
        server.sql(&format!("ALTER SYSTEM SET ssl_{bound}_protocol_version = 'TLSv1.1'"));
    }
    pki.serve(server, &pki.leaf(&["localhost"]), "");
    assert!(!is_encrypted(server, &url(server, "localhost", "")), "a server that speaks only what is broken");
    let refused = refused(&url(server, "localhost", "&sslmode=require"));
    assert!(refused.contains("TLS with localhost:") && refused.contains("see the server's log"), "{refused}");
}
