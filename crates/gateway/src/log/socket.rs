//! Connections to log servers, with TLS or without.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, SignatureScheme, WantsVerifier,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Where a log server listens.
#[derive(Clone)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    pub security: Security,
    /// For connecting, and again for sending.
    pub timeout: Duration,
}

/// How the connection is protected.
#[derive(Clone)]
pub enum Security {
    None,
    /// TLS; the name is the one asked for, the host's by default.
    Tls {
        config: Arc<ClientConfig>,
        name: Option<String>,
    },
}

/// A connection, whatever it is made of.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Endpoint {
    /// Connects.
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let opening = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            let Security::Tls { config, name } = &self.security else {
                return Ok::<Box<dyn Stream>, io::Error>(Box::new(stream));
            };
            let name = name.as_deref().unwrap_or(&self.host).to_owned();
            let name = ServerName::try_from(name).map_err(io::Error::other)?;
            let connector = TlsConnector::from(Arc::clone(config));
            Ok(Box::new(connector.connect(name, stream).await?))
        };
        timeout(self.timeout, opening).await?
    }

    /// Connects, sends, and closes.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.connect().await?;
        let sending = async {
            stream.write_all(bytes).await?;
            stream.shutdown().await
        };
        timeout(self.timeout, sending).await?
    }

    /// A socket for datagrams to this place.
    pub async fn datagrams(&self) -> io::Result<UdpSocket> {
        let opening = async {
            let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
            let address = addresses.into_iter().next().ok_or(io::ErrorKind::AddrNotAvailable)?;
            let any = if address.is_ipv4() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            } else {
                IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            };
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(address).await?;
            Ok(socket)
        };
        timeout(self.timeout, opening).await?
    }
}

/// TLS with servers whose certificates the system trusts.
pub fn known() -> Result<Arc<ClientConfig>, String> {
    let config = builder()?.with_platform_verifier().map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_no_client_auth()))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, String> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())
}

/// TLS that asks nobody who they are, as APISIX's loggers do.
pub fn anyone() -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let config = builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes any certificate, but checks that the other side has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
