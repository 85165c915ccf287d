//! A port with an application behind it, and clusters to connect to.

use std::net::SocketAddr;
use std::sync::Arc;

use gantry_app::{App, feed};
use gantry_model::Id;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// A client certificate of a cluster.
pub struct Bundle {
    pub certificate: String,
    pub key: String,
}

/// The port gateways connect to, until dropped.
pub struct Gateways {
    pub app: App,
    pub address: SocketAddr,
    pub ca: String,
    _shutdown: DropGuard,
}

/// A cluster to write configuration to.
pub struct TestCluster {
    pub id: Id,
    pub bundle: Bundle,
    app: App,
}

impl Gateways {
    pub async fn start() -> Self {
        let app = App::stub();
        let ca = app.0.ca.pem();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shutdown = CancellationToken::new();
        let dp = axum::Router::new();
        tokio::spawn(gantry_etcd::serve(listener, app.clone(), dp, shutdown.clone()));
        Self { app, address, ca, _shutdown: shutdown.drop_guard() }
    }

    pub async fn cluster(&self) -> TestCluster {
        static NEXT: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(7);
        let id = Id::new(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).unwrap();
        let (certificate, key) = self.app.issue(id);
        TestCluster { id, bundle: Bundle { certificate, key }, app: self.app.clone() }
    }

    /// A gRPC connection with the certificate of a cluster.
    pub async fn channel(&self, bundle: &Bundle) -> Channel {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(Identity::from_pem(&bundle.certificate, &bundle.key))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address));
        let endpoint = endpoint.expect("an address").tls_config(tls).expect("a TLS setup");
        endpoint.connect().await.expect("a connection")
    }

    pub fn tls_client(&self, bundle: Option<&Bundle>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca.as_bytes()) {
            roots.add(certificate.expect("a certificate")).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match bundle {
            None => config.with_no_client_auth(),
            Some(bundle) => config
                .with_client_auth_cert(
                    CertificateDer::pem_slice_iter(bundle.certificate.as_bytes())
                        .collect::<Result<_, _>>()
                        .expect("a certificate"),
                    PrivateKeyDer::from_pem_slice(bundle.key.as_bytes()).expect("a key"),
                )
                .expect("a key of the certificate"),
        };
        TlsConnector::from(Arc::new(config))
    }
}

impl TestCluster {
    /// Makes a route, changes it, or deletes it; answers the revision of the change.
    pub async fn write(&self, key: &str, value: Option<&str>) -> i64 {
        let feed = feed::open(&self.app, self.id).await.expect("a feed");
        feed.write(&[(key, value)])
    }

    pub async fn compact(&self, revision: i64) {
        feed::open(&self.app, self.id).await.expect("a feed").compact(revision);
    }
}

impl TestCluster {
    pub fn login(&self) -> (String, String) {
        (self.id.to_string(), "good".into())
    }

    pub async fn revoke(&self) {
        let der = CertificateDer::from_pem_slice(self.bundle.certificate.as_bytes()).unwrap();
        self.app.0.certs.lock().unwrap().remove(&der.to_vec());
    }
}
