//! Nodes that do as they are told: an HTTP/1.1 server, with TLS or without, whose status can change.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

use rustls::server::{WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::harness::local;

/// A certificate for `localhost` that is its own authority.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Identity {
    pub fn new() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let pair = rcgen::generate_simple_self_signed(names).unwrap();
        Self { certificate: pair.cert.pem(), key: pair.signing_key.serialize_pem() }
    }

    /// The server's half of TLS with this certificate, speaking HTTP/1.1.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.with(WebPkiClientVerifier::no_client_auth())
    }

    /// The same, for clients with a certificate of this authority only.
    pub fn acceptor_for(&self, authority: &str) -> TlsAcceptor {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        self.with(verifier.build().unwrap())
    }

    fn with(&self, clients: Arc<dyn ClientCertVerifier>) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let chain = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![chain.unwrap()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A node. Paths that begin with `/health` get its health, all others its status.
#[derive(Clone)]
pub struct NodeServer {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    health: AtomicU16,
    status: AtomicU16,
    body: Mutex<&'static str>,
    /// Heads of the requests for its health, and how many others there were.
    probes: Mutex<Vec<String>>,
    requests: AtomicU16,
    connections: AtomicU16,
}

impl NodeServer {
    pub async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(local()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            health: AtomicU16::new(200),
            status: AtomicU16::new(200),
            body: Mutex::new("ok"),
            probes: Mutex::default(),
            requests: AtomicU16::new(0),
            connections: AtomicU16::new(0),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => state.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                state.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, state }
    }

    pub fn set_health(&self, status: u16) {
        self.state.health.store(status, Ordering::Relaxed);
    }

    pub fn set_status(&self, status: u16) {
        self.state.status.store(status, Ordering::Relaxed);
    }

    pub fn set_body(&self, body: &'static str) {
        *self.state.body.lock().unwrap() = body;
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u16 {
        self.state.connections.load(Ordering::Relaxed)
    }

    pub fn probes(&self) -> Vec<String> {
        self.state.probes.lock().unwrap().clone()
    }

    /// Requests of clients since the last time somebody asked.
    pub fn take_requests(&self) -> u16 {
        self.state.requests.swap(0, Ordering::Relaxed)
    }
}

impl State {
    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut bytes = Vec::new();
        while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            let head = String::from_utf8_lossy(&bytes).into_owned();
            if !is_complete(&head) {
                continue;
            }
            let status = if head.contains(" /health") {
                self.probes.lock().unwrap().push(head);
                self.health.load(Ordering::Relaxed)
            } else {
                self.requests.fetch_add(1, Ordering::Relaxed);
                self.status.load(Ordering::Relaxed)
            };
            bytes.clear();
            let body = *self.body.lock().unwrap();
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} Fine\r\nContent-Length: {length}\r\n\r\n{body}");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// Whether a request is there, and its body if it says how long that is.
fn is_complete(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
