//! TLS before the fake, as a proxy or `security.ssl.rest.enabled` gives it.

use std::{io, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use crate::pki::Identity;

/// A certificate for the fake.
#[derive(Debug, Clone)]
pub struct FakeTls {
    /// Certificate and key.
    pub identity: Identity,
    /// The authority that clients' certificates must come from (PEM); without it, none is asked for.
    pub client_ca_pem: Option<String>,
}

impl FakeTls {
    pub(super) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        crate::install_crypto();
        let bad = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        let chain = certificates(&self.identity.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(self.identity.key.as_bytes()).map_err(|error| bad(&error))?;
        let config = match &self.client_ca_pem {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(authority)?);
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                ServerConfig::builder().with_client_cert_verifier(verifier.map_err(|error| bad(&error))?)
            }
        };
        let config = config.with_single_cert(chain, key).map_err(|error| bad(&error))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(pem: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    chain.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
}
