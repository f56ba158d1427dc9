//! TLS to the servers: which authorities are trusted, and what to do when a handshake fails.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls_native_certs::load_native_certs;
use thiserror::Error;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Why no authority can be trusted.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file is missing, or it is damaged.
    #[error("the file of certificates {} can't be read: {problem}", file.display())]
    Unreadable { file: PathBuf, problem: String },
    /// The file holds no certificate.
    #[error("the file {} holds no certificate in PEM, -----BEGIN CERTIFICATE-----", .0.display())]
    Empty(PathBuf),
    /// Neither the system nor the environment names an authority.
    #[error(
        "no authority for certificates is known{0}: install the system's (Debian: ca-certificates), \
         or name a PEM file of them in SSL_CERT_FILE"
    )]
    NoAuthority(String),
}

/// The client's side of TLS. It trusts the authorities in the PEM file `authorities` and no
/// others. Without that file it trusts those in the file that `SSL_CERT_FILE` names, and
/// without that variable those of the system.
pub fn client(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(file) => {
            for certificate in certificates(file)? {
                let added = roots.add(certificate);
                added.map_err(|error| unreadable(file, &error))?;
            }
            if roots.is_empty() {
                return Err(TlsError::Empty(file.to_owned()));
            }
        }
        None => {
            let known = load_native_certs();
            roots.add_parsable_certificates(known.certs);
            if roots.is_empty() {
                let problem = known.errors.first();
                let problem = problem.map_or(String::new(), |error| format!(" ({error})"));
                return Err(TlsError::NoAuthority(problem));
            }
        }
    }
    // The provider is named, because the process has several and none is the default.
    let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions that it is built for")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &dyn std::error::Error) -> TlsError {
    TlsError::Unreadable {
        file: file.to_owned(),
        problem: error.to_string(),
    }
}

/// What to do about a handshake that failed. `error` is the error's text, since some clients
/// keep nothing else of it. `option` is the part of the server's address that names its
/// authority. Returns `None` if the error is about something else.
pub fn advice(error: &str, option: &str) -> Option<String> {
    let says = |text: &str| error.contains(text);
    Some(if says("UnknownIssuer") {
        format!(
            "its certificate is not trusted. Name the PEM file of the authority that signed it \
             in {option}, or in SSL_CERT_FILE for all servers"
        )
    } else if says("certificate not valid for name") || says("NotValidForName") {
        "its certificate is another host's. Write the host's name as the certificate has it, or \
         give the server a certificate for this one"
            .to_owned()
    } else if says("certificate expired") || says("certificate not valid yet") {
        "renew the server's certificate, or set this machine's clock".to_owned()
    } else if says("invalid peer certificate") {
        "give the server a certificate that TLS clients take".to_owned()
    } else if says("received corrupt message of type") {
        "it does not speak TLS at this port. Name its port for TLS".to_owned()
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio_rustls::rustls::{CertificateError, Error, InvalidMessage};

    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let missing = client(Some(Path::new("/no/such.pem"))).unwrap_err();
        assert!(missing.to_string().contains("/no/such.pem"), "{missing}");

        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "no certificate").unwrap();
        let empty = client(Some(file.path())).unwrap_err();
        assert!(empty.to_string().contains("BEGIN CERTIFICATE"), "{empty}");
    }

    #[test]
    fn each_failed_handshake_has_its_advice() {
        let cases = [
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "SSL_CERT_FILE",
            ),
            (
                Error::InvalidCertificate(CertificateError::NotValidForName),
                "another host's",
            ),
            (
                Error::InvalidCertificate(CertificateError::Revoked),
                "give the server",
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "port",
            ),
        ];
        for (error, advised) in cases {
            let advice = advice(&error.to_string(), "cacertfile=FILE").unwrap();
            assert!(advice.contains(advised), "{error}: {advice}");
        }
        assert_eq!(advice("connection refused", "cacertfile=FILE"), None);
    }
}
