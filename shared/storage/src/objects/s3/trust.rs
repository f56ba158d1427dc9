//! Whom to trust of the servers that are asked over TLS.

use std::{fs, path::Path};

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use maskline_foundation::tls;

use crate::error::StorageError;

/// A client of HTTP that trusts the authorities in the PEM file and no others.
pub(super) fn in_authorities(file: &Path) -> Result<SharedHttpClient, StorageError> {
    let wrong = |problem: String| StorageError::Misconfigured(format!("AWS_CA_BUNDLE: {problem}"));
    // The SDK panics over a file that is no good.
    tls::client(Some(file)).map_err(|error| wrong(error.to_string()))?;
    let pem = fs::read(file).map_err(|error| wrong(format!("{}: {error}", file.display())))?;
    let trusted = TrustStore::empty().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|error| wrong(error.to_string()))?;
    Ok(Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https())
}
