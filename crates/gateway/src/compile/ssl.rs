//! Certificates of ssl resources, for clients to see and for upstreams.

use gantry_routing::{regex, resource};
use pingora::utils::tls::CertKey;
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

use crate::tls::{Certificate, CertificateSource, certificates, certified};

/// What the gateway shows to clients that ask for one of the resource's names.
pub fn server_certificate(source: &resource::Ssl) -> Result<Certificate, String> {
    let further =
        source.certs.iter().zip(&source.keys).map(|(cert, key)| (cert.as_str(), key.as_str()));
    let exempt = match source.client.as_ref().map(|client| &client.skip_mtls_uri_regex) {
        Some(patterns) if !patterns.is_empty() => {
            let compiled = patterns.iter().map(|pattern| regex::compile(pattern, false));
            Some(compiled.collect::<Result<_, _>>()?)
        }
        _ => None,
    };
    Certificate::compile(&CertificateSource {
        id: &source.id,
        pairs: [(&*source.cert, &*source.key)].into_iter().chain(further).collect(),
        authority: source.client.as_ref().map(|client| (&*client.ca, client.depth as usize)),
        exempt,
        protocols: &source.ssl_protocols,
    })
}

/// What the gateway shows to upstreams.
pub fn client_certificate(source: &resource::Ssl) -> Result<CertKey, String> {
    cert_key(&source.cert, &source.key)
}

/// A chain and its key in Pingora's form; checked before, because that form panics on rubbish.
pub(super) fn cert_key(certificate: &str, key: &str) -> Result<CertKey, String> {
    certified(certificate, key, &rustls::crypto::ring::default_provider())?;
    let chain: Vec<Vec<u8>> =
        certificates(certificate)?.into_iter().map(|certificate| certificate.to_vec()).collect();
    for certificate in &chain {
        x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| format!("the certificate: {error}"))?;
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| format!("the private key: {error}"))?;
    Ok(CertKey::new(chain, key.secret_der().to_vec()))
}
