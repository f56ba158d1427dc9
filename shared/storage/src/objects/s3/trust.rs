//! The authorities that are trusted in requests over TLS.

use std::{fs, path::Path};

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use maskline_foundation::tls;

use crate::error::StorageError;

/// An HTTP client that trusts the authorities in the PEM file and no others.
pub(super) fn http_client(file: &Path) -> Result<SharedHttpClient, StorageError> {
    let wrong = || {
        let file = file.display();
        StorageError::misconfigured(format!("AWS_CA_BUNDLE: {file} can't be used"))
    };
    // The SDK panics over a file that it can't use, so the file is checked here first.
    tls::client(Some(file)).map_err(|error| wrong().caused_by(error))?;
    let pem = fs::read(file).map_err(|error| wrong().caused_by(error))?;
    let trusted = TrustStore::empty().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|error| wrong().caused_by(error))?;
    Ok(Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https())
}
