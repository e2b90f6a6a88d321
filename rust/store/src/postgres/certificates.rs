//! Certificates on the way to a server: whose signature is good, what a client shows, and the files that say so.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use crate::error::LogError;
use crate::keys::check_private;

/// What of a server's certificate is looked at, and by which roots.
#[derive(Debug, Clone)]
pub(super) enum Check<R> {
    Nothing,
    Authority(R),
    AuthorityAndName(R),
}

impl<R> Check<R> {
    pub(super) fn roots(&self) -> Option<&R> {
        match self {
            Self::Nothing => None,
            Self::Authority(roots) | Self::AuthorityAndName(roots) => Some(roots),
        }
    }
}

impl Check<Roots> {
    /// The same with the roots read.
    pub(super) fn read(&self) -> Result<Check<RootCertStore>, LogError> {
        Ok(match self {
            Self::Nothing => Check::Nothing,
            Self::Authority(roots) => Check::Authority(roots.read()?),
            Self::AuthorityAndName(roots) => Check::AuthorityAndName(roots.read()?),
        })
    }
}

/// Whose signature makes a server's certificate good.
#[derive(Debug, Clone)]
pub(super) enum Roots {
    /// That of an authority which this machine trusts.
    System,
    /// That of an authority in this file.
    File(PathBuf),
}

impl Roots {
    /// The roots, as they are now.
    fn read(&self) -> Result<RootCertStore, LogError> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                if roots.add_parsable_certificates(found.certs).0 == 0 {
                    let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
                    return Err(LogError::Options {
                        detail: format!(
                            "this machine has no root certificates{why}: install them (Debian: `ca-certificates`), or write \
                             `sslrootcert=` with the file of the server's authority into the URL of the receipt log"
                        ),
                    });
                }
            }
            Self::File(path) => {
                if roots.add_parsable_certificates(certificates("sslrootcert", path)?).0 == 0 {
                    return Err(wrong(
                        "sslrootcert",
                        path,
                        "holds nothing that can be a root: write that of the authority",
                    ));
                }
            }
        }
        Ok(roots)
    }
}

/// The files of a client's certificate.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

impl Identity {
    /// The certificate with what leads to its authority, and its key.
    pub(super) fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), LogError> {
        let chain = certificates("sslcert", &self.chain)?;
        let unread = |error: std::io::Error| {
            wrong("sslkey", &self.key, &format!("cannot be read ({error}): write the path of the client's key"))
        };
        let file = File::open(&self.key).map_err(unread)?;
        check_private(&file, &self.key)?;
        // What the parser says could show a line of the file.
        let key = PrivateKeyDer::from_pem_reader(file).map_err(|_| {
            wrong(
                "sslkey",
                &self.key,
                "holds no private key in PEM form without a password: decrypt it with `openssl pkey`",
            )
        })?;
        Ok((chain, key))
    }
}

fn certificates(parameter: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, LogError> {
    let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Err(pem::Error::Io(error)) => Err(wrong(
            parameter,
            path,
            &format!("cannot be read ({error}): write the path of a file with certificates"),
        )),
        _ => Err(wrong(parameter, path, "holds no certificate in PEM form: write the path of a file that does")),
    }
}

/// What is wrong with the file that a parameter of the URL names.
pub(super) fn wrong(parameter: &str, path: &Path, detail: &str) -> LogError {
    LogError::Options { detail: format!("`{parameter}` of the receipt log's URL: `{}` {detail}", path.display()) }
}

/// An authority that was made anew bears its former name: one of that name with another key is another one.
fn unknown_issuer(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => CertificateError::UnknownIssuer.into(),
        other => other,
    }
}

/// The key in a certificate that may be of any version: PostgreSQL's manual makes some of version 1.
fn key_of(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, rustls::Error> {
    let key =
        Certificate::from_der(certificate).and_then(|parsed| parsed.tbs_certificate.subject_public_key_info.to_der());
    key.map(SubjectPublicKeyInfoDer::from).map_err(|_| CertificateError::BadEncoding.into())
}

/// Checks a server's certificate as far as the mode says. That the server has its key is checked always, because
/// channel binding relies on it.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) check: Check<RootCertStore>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = self.check.roots() {
            let certificate = ParsedCertificate::try_from(certificate)?;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, self.algorithms.all)
                .map_err(unknown_issuer)?;
            if matches!(self.check, Check::AuthorityAndName(_)) {
                verify_server_name(&certificate, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if let Check::Nothing = self.check {
            return verify_tls13_signature_with_raw_key(message, &key_of(certificate)?, signature, &self.algorithms);
        }
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
