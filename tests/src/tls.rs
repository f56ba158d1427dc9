//! Certificates of a certificate authority that the test makes, and TLS in front of
//! servers that do not speak it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// A certificate authority that no system trusts by default, with a certificate that it
/// has issued to a server.
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// Makes an authority and a server's certificate for names such as
    /// `IP:127.0.0.1,DNS:host`.
    pub fn with_server_names(names: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/certificates");
        let made = Command::new(script).arg(folder.path()).arg(names).status();
        assert!(made.expect("the script starts").success(), "certificates");
        Self { folder }
    }

    /// The PEM file for clients that are to trust the authority.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    fn server(&self) -> TlsAcceptor {
        let file = |name: &str| self.folder.path().join(name);
        let certificate = CertificateDer::from_pem_file(file("server.pem"));
        let key = PrivateKeyDer::from_pem_file(file("server.key"));
        let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the provider's own versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.expect("the script makes one")],
                key.expect("the script makes one"),
            );
        Arc::new(config.expect("the key belongs to the certificate")).into()
    }
}

/// Takes connections with TLS and forwards what comes through them to a server that speaks
/// none.
pub struct TlsProxy {
    pub address: SocketAddr,
    listening: AbortHandle,
}

impl TlsProxy {
    /// A proxy in front of the server at `HOST:PORT`, with the certificate that the
    /// authority has issued.
    pub async fn to(server: String, authority: &Authority) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("the port is bound");
        let tls = authority.server();
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (tls, server) = (tls.clone(), server.clone());
                // An error is the end of the connection, which both of its ends see.
                tokio::spawn(async move {
                    client.set_nodelay(true)?;
                    let mut client = tls.accept(client).await?;
                    let mut server = TcpStream::connect(server).await?;
                    server.set_nodelay(true)?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self {
            address,
            listening: listening.abort_handle(),
        }
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
