//! TLS to the servers: whom to trust, and what to do where trust fails.

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

/// Why there is nobody to trust.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("the file of certificates {} can't be read: {problem}", file.display())]
    Unreadable { file: PathBuf, problem: String },
    #[error("the file {} holds no certificate in PEM, -----BEGIN CERTIFICATE-----", .0.display())]
    Empty(PathBuf),
    #[error(
        "no authority for certificates is known{0}: install the system's (Debian: ca-certificates), \
         or name a PEM file of them in SSL_CERT_FILE"
    )]
    Nobody(String),
}

/// A client's side of TLS that trusts the authorities in the PEM file `authorities`
/// and no others; without one, those in the file that `SSL_CERT_FILE` names, or
/// else the system's.
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
                return Err(TlsError::Nobody(problem));
            }
        }
    }
    // Named, because the process has more than one, and none by default.
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

/// What to do about a handshake that failed, told by the error's text: of some
/// clients' errors no more is left. `option` is where the server's address names its
/// authority. `None` where the error is about something else.
pub fn advice(error: &str, option: &str) -> Option<String> {
    let told = |text: &str| error.contains(text);
    Some(if told("UnknownIssuer") {
        format!(
            "its certificate is not trusted. Name the PEM file of the authority that signed it \
             in {option}, or in SSL_CERT_FILE for all servers"
        )
    } else if told("certificate not valid for name") || told("NotValidForName") {
        "its certificate is another host's. Write the host's name as the certificate has it, or \
         give the server a certificate for this one"
            .to_owned()
    } else if told("certificate expired") || told("certificate not valid yet") {
        "renew the server's certificate, or set this machine's clock".to_owned()
    } else if told("invalid peer certificate") {
        "give the server a certificate that TLS clients take".to_owned()
    } else if told("received corrupt message of type") {
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
    fn a_file_that_names_nobody_to_trust_is_refused() {
        let missing = client(Some(Path::new("/no/such.pem"))).unwrap_err();
        assert!(missing.to_string().contains("/no/such.pem"), "{missing}");

        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "no certificate").unwrap();
        let empty = client(Some(file.path())).unwrap_err();
        assert!(empty.to_string().contains("BEGIN CERTIFICATE"), "{empty}");
    }

    #[test]
    fn each_failure_of_trust_has_its_advice() {
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
