//! TLS with the server, in libpq's words: what a URL asks for, and what was wrong when it cannot be had.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{AlertDescription, CertificateError, ClientConfig, OtherError};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::certificates::{Check, Identity, Roots, Verifier, wrong};
use super::url::Server;
use crate::error::LogError;

/// The parameters of a URL that are read here.
pub(super) const PARAMETERS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];

/// What the protocol inside is called, for servers that ask (ALPN).
const PROTOCOL: &[u8] = b"postgresql";

/// How much a session must be protected, from nothing to everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Mode {
    const ALL: [Self; 5] = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// What a URL asks for.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) mode: Mode,
    check: Check<Roots>,
    identity: Option<Identity>,
}

impl Tls {
    /// Reads the parameters of a URL, and refuses those that would give less than they seem to.
    pub(super) fn of(parameters: &HashMap<&str, String>) -> Result<Self, LogError> {
        let refuse = |detail: &str| Err(LogError::Options { detail: format!("the URL of the receipt log {detail}") });
        let given = |name: &str| parameters.get(name).filter(|value| !value.is_empty());
        let file = |name: &str| given(name).map(PathBuf::from);
        let root = given("sslrootcert").map(String::as_str);
        let mode = match given("sslmode") {
            Some(word) => Mode::ALL.into_iter().find(|mode| mode.as_str() == word),
            None if root == Some("system") => Some(Mode::VerifyFull),
            None => Some(Mode::Prefer),
        };
        let Some(mode) = mode else {
            return refuse(
                "has an unknown `sslmode`: write `verify-full`, or one of `disable`, `prefer`, `require`, `verify-ca`",
            );
        };
        let (chain, key) = (file("sslcert"), file("sslkey"));
        if mode < Mode::Require && (root.is_some() || chain.is_some() || key.is_some()) {
            return refuse("names certificates, and its `sslmode` does without them: write `sslmode=verify-full`");
        }
        let check = match (mode, root) {
            (Mode::Disable | Mode::Prefer | Mode::Require, None) => Check::Nothing,
            (Mode::VerifyFull, None | Some("system")) => Check::AuthorityAndName(Roots::System),
            // A public authority signs for whoever asks, so without the name its signature says nothing.
            (_, None | Some("system")) => {
                return refuse(
                    "trusts the authorities of this machine and checks no name, so any server would do: write \
                     `sslmode=verify-full`, or `sslrootcert=` with the file of the server's authority",
                );
            }
            (Mode::VerifyFull, Some(path)) => Check::AuthorityAndName(Roots::File(path.into())),
            (_, Some(path)) => Check::Authority(Roots::File(path.into())),
        };
        let identity = match (chain, key) {
            (None, None) => None,
            (Some(chain), Some(key)) => Some(Identity { chain, key }),
            _ => return refuse("has only one of `sslcert` and `sslkey`: write both, or neither"),
        };
        Ok(Self { mode, check, identity })
    }

    /// What makes a session secure. Files are read anew for each, so that renewed certificates are taken up.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, LogError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier { check: self.check.read()?, algorithms: provider.signature_verification_algorithms };
        let failed = |error: rustls::Error| LogError::Options { detail: format!("TLS cannot be used: {error}") };
        let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    let detail =
                        format!("does not go with the certificate in `sslcert`: {error}; write the key that does");
                    wrong("sslkey", &identity.key, &detail)
                })?
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(MakeRustlsConnect::new(config))
    }

    /// What to do about a `server` without TLS.
    pub(super) fn explain_none(&self, server: &Server) -> String {
        format!(
            "{server} does not speak TLS, and the URL asks for it (`sslmode={}`): set `ssl = on` there, or write \
             `sslmode=disable` where nobody can listen",
            self.mode.as_str()
        )
    }

    /// What to do about a handshake with `server` that failed.
    pub(super) fn explain(&self, error: &rustls::Error, server: &Server) -> String {
        use rustls::Error::{AlertReceived, InvalidCertificate};
        match error {
            InvalidCertificate(CertificateError::UnknownIssuer) => {
                let trusted = match self.check.roots() {
                    Some(Roots::File(path)) => format!("in `{}`", path.display()),
                    _ => "that this machine trusts".to_owned(),
                };
                format!(
                    "the certificate of {server} is signed by no authority {trusted}: write `sslrootcert=` with the file of \
                     the authority that has signed it"
                )
            }
            InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
                let names = if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") };
                format!(
                    "the certificate of {server} is for {names} (subjectAltName), not for `{}`: write a host that it is for, or \
                     have it issued for this one",
                    expected.to_str()
                )
            }
            InvalidCertificate(
                CertificateError::ExpiredContext { .. } | CertificateError::NotValidYetContext { .. },
            ) => {
                format!(
                    "the certificate of {server} has expired or is not valid yet: renew it, or set this machine's clock"
                )
            }
            InvalidCertificate(fault) => {
                let fault = match fault {
                    CertificateError::Other(OtherError(fault)) => fault.to_string(),
                    fault => fault.to_string(),
                };
                format!(
                    "the certificate of {server} cannot be used ({fault}): have an authority issue one for the server, of X.509 \
                     version 3"
                )
            }
            AlertReceived(alert) if is_about_client(*alert) => {
                let what = if self.identity.is_some() { "refuses" } else { "asks for" };
                format!(
                    "{server} {what} a certificate of this client ({alert:?}): write `sslcert` and `sslkey` with one that its \
                     authority has signed"
                )
            }
            _ => format!("TLS with {server} failed ({error}): see the server's log"),
        }
    }
}

/// What TLS itself found wrong, if that is why a session did not begin.
pub(super) fn fault<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(io) = error.downcast_ref::<std::io::Error>() {
        return io.get_ref().and_then(|inner| inner.downcast_ref());
    }
    error.source().and_then(fault)
}

fn is_about_client(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            // The signature of another authority of the same name.
            | Alert::DecryptError
    )
}
