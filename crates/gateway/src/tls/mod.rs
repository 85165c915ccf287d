//! TLS towards clients: the server name of the hello picks a certificate of the snapshot, and with
//! it everything else about the handshake, such as protocol versions and the clients' authority.

mod client;
mod depth;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use fancy_regex::Regex;
use pingora::{
    listeners::{TlsAccept, tls::Acceptor},
    protocols::{
        l4::stream::Stream,
        tls::{TlsRef, TlsStream, server::handshake_with_callback},
    },
};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    server::{Acceptor as Hello, ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::AsyncReadExt;

use crate::state::State;
pub use client::{ClientCertificate, cipher};
use depth::Depth;

/// A certificate with its keys, and how handshakes with it go.
pub struct Certificate {
    pub id: String,
    acceptor: Acceptor,
    /// What clients must show, if anything.
    pub clients: Option<Clients>,
}

/// Client certificates are asked for and, if presented, verified in the handshake.
pub struct Clients {
    /// Paths that pass without a certificate. None: the handshake itself demands one.
    pub exempt: Option<Vec<Regex>>,
}

/// What a request may want to know about the handshake of its connection.
pub struct Handshake {
    pub server_name: String,
    pub certificate: Arc<Certificate>,
    /// True if the client presented a certificate; it was verified then.
    pub client_verified: bool,
    /// What variables say of that certificate.
    pub client: Option<ClientCertificate>,
    /// Such as `TLSv1.3`.
    pub version: &'static str,
    /// As rustls calls it.
    pub cipher: &'static str,
}

/// What an ssl resource says, still as text.
pub struct CertificateSource<'a> {
    pub id: &'a str,
    /// Pairs of certificate chain and private key, PEM.
    pub pairs: Vec<(&'a str, &'a str)>,
    /// PEM certificates of the clients' authorities, and how many certificates may stand between
    /// these and a client's.
    pub authority: Option<(&'a str, usize)>,
    pub exempt: Option<Vec<Regex>>,
    /// Names such as `TLSv1.2`; empty means all that are supported.
    pub protocols: &'a [String],
}

impl Certificate {
    /// Reads and checks everything once, so that handshakes only look it up.
    pub fn compile(source: &CertificateSource<'_>) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let keys: Vec<_> = source
            .pairs
            .iter()
            .map(|(chain, key)| certified(chain, key, &provider).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(source.protocols)?)
            .map_err(|error| error.to_string())?;
        let builder = match source.authority {
            None => builder.with_no_client_auth(),
            Some((authority, intermediates_max)) => {
                let roots = Arc::new(roots(authority)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if source.exempt.is_some() {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                let verifier = verifier.build().map_err(|error| error.to_string())?;
                builder.with_client_cert_verifier(Arc::new(Depth { verifier, intermediates_max }))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Keys(keys)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            id: source.id.to_owned(),
            acceptor: Acceptor::from_server_config(Arc::new(config)),
            clients: source.authority.map(|_| Clients { exempt: source.exempt.clone() }),
        })
    }
}

/// Reads a PEM chain and its key and makes sure that they belong together.
pub fn certified(
    chain: &str,
    key: &str,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| format!("the private key: {error}"))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| format!("the key pair: {error}"))
}

/// The certificates of a PEM text; at least one.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("there is no certificate in the PEM text".to_owned()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("the certificate: {error}")),
    }
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| format!("the clients' authority: {error}"))?;
    }
    Ok(roots)
}

fn versions(names: &[String]) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let versions: Vec<_> = [("TLSv1.2", &TLS12), ("TLSv1.3", &TLS13)]
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .collect();
    if versions.is_empty() {
        return Err("none of ssl_protocols is supported; use TLSv1.2 or TLSv1.3".to_owned());
    }
    Ok(versions.into_iter().map(|(_, version)| version).collect())
}

/// The key pairs of one certificate resource, such as one RSA and one ECDSA.
#[derive(Debug)]
struct Keys(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits =
            |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(fits).or(self.0.first()).cloned()
    }
}

/// Why a connection did not come to TLS.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Opens TLS connections with the certificates of the snapshot in force.
pub struct Doorkeeper {
    pub state: Arc<State>,
    /// The name to assume when a client names none.
    pub fallback_name: Option<String>,
}

/// No sensible hello is longer; post-quantum key shares take some 1.2 KiB.
const HELLO_BYTES_MAX: usize = 32 * 1024;

impl Doorkeeper {
    /// Reads the hello, looks the certificate up and shakes hands as it says.
    pub async fn open(&self, mut stream: Stream) -> Result<TlsStream<Stream>, Refused> {
        let (hello, name) = read_hello(&mut stream).await?;
        stream.rewind(&hello);
        let name = name.or_else(|| self.fallback_name.clone());
        let Some(name) = name else { return Err(Refused("the client named no server".to_owned())) };
        let snapshot = self.state.snapshot();
        let certificate = snapshot
            .certificates
            .lookup(&name)
            .cloned()
            .ok_or_else(|| Refused(format!("there is no certificate for {name}")))?;
        let note = Note { server_name: name, certificate: Arc::clone(&certificate) };
        Ok(handshake_with_callback(&certificate.acceptor, stream, &note).await?)
    }
}

/// The bytes of the client's hello and the server name in it.
async fn read_hello(stream: &mut Stream) -> Result<(Vec<u8>, Option<String>), Refused> {
    let mut hello = Hello::default();
    let mut bytes = Vec::with_capacity(2048);
    while bytes.len() < HELLO_BYTES_MAX {
        let start = bytes.len();
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(Refused("the client hung up".to_owned()));
        }
        let mut fresh = bytes.get(start..).unwrap_or_default();
        while !fresh.is_empty() {
            hello.read_tls(&mut fresh)?;
        }
        match hello.accept() {
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
                return Ok((bytes, name));
            }
            Ok(None) => {}
            Err((error, _)) => return Err(error.into()),
        }
    }
    Err(Refused("the hello is too long".to_owned()))
}

/// Leaves a note about the handshake where requests find it.
struct Note {
    server_name: String,
    certificate: Arc<Certificate>,
}

#[async_trait]
impl TlsAccept for Note {
    async fn handshake_complete_callback(
        &self,
        tls: &TlsRef,
    ) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
        // An Arc inside, so that requests can keep it.
        Some(Arc::new(Arc::new(Handshake {
            server_name: self.server_name.clone(),
            certificate: Arc::clone(&self.certificate),
            client_verified: tls.peer_certificate_der().is_some(),
            client: tls.peer_certificate_der().and_then(ClientCertificate::read),
            version: match tls.version() {
                Some("TLSv1_2") => "TLSv1.2",
                Some("TLSv1_3") => "TLSv1.3",
                other => other.unwrap_or(""),
            },
            cipher: tls.current_cipher_name().unwrap_or(""),
        })))
    }
}
