//! A port with an application behind it, and clusters to connect to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Extension;
use gantry_app::{App, Config, Cx, certificate, cluster, consumer, feed, gateway, setup};
use gantry_model::Id;
use gantry_model::config::cluster::ClusterCreate;
use gantry_model::config::{CertificateSpec, CertificateType};
use gantry_testkit::Database;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tempfile::TempDir;
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
    organization: Id,
    clusters: AtomicUsize,
    _shutdown: DropGuard,
    _data: TempDir,
    _database: Database,
}

/// A cluster to write configuration to.
pub struct TestCluster {
    pub id: Id,
    pub bundle: Bundle,
    cx: Cx,
    consumers: Mutex<HashMap<String, Id>>,
}

impl Gateways {
    pub async fn start() -> Self {
        Self::start_on(Database::Sqlite).await
    }

    pub async fn start_on(database: Database) -> Self {
        let data = TempDir::new().expect("a folder");
        let mut config = Config::new(data.path());
        config.database = database.url().map(str::to_owned);
        let app = App::open(config).await.expect("an application");
        let first = setup::first_start(&app, "owner@example.com", None, "127.0.0.1:1").await;
        let first = first.expect("a first start").expect("nobody was here before");
        let cx = Cx::system(&app, "test");
        let ca = gateway::issue_certificate(&cx, first.cluster).await.expect("a certificate");

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shutdown = CancellationToken::new();
        let dp = axum::Router::new().route("/api/v1/dp/me", axum::routing::get(me));
        tokio::spawn(gantry_etcd::serve(listener, app.clone(), dp, shutdown.clone()));
        Self {
            app,
            address,
            ca: ca.ca_certificate,
            organization: first.organization,
            clusters: AtomicUsize::new(0),
            _shutdown: shutdown.drop_guard(),
            _data: data,
            _database: database,
        }
    }

    /// A new, empty cluster.
    pub async fn cluster(&self) -> TestCluster {
        let cx = Cx::system(&self.app, "test");
        let number = self.clusters.fetch_add(1, Ordering::Relaxed);
        let create = ClusterCreate { name: format!("test-{number}"), region_id: None };
        let id = cluster::create(&cx, self.organization, create).await.expect("a cluster").id;
        let issued = gateway::issue_certificate(&cx, id).await.expect("a certificate");
        let bundle = Bundle { certificate: issued.certificate, key: issued.private_key };
        TestCluster { id, bundle, cx, consumers: Mutex::default() }
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

/// Configuration, one revision per call; each answers its revision.
impl TestCluster {
    /// Adds a consumer.
    pub async fn add(&self, name: &str) -> i64 {
        let spec =
            json!({"name": name, "credentials": {"key-auth": {"key": format!("{name}-key")}}});
        let spec = serde_json::from_value(spec).expect("a consumer");
        let written = consumer::create(&self.cx, self.id, spec).await.expect("a new consumer");
        self.consumers.lock().expect("no test panicked").insert(name.to_owned(), written.value.id);
        written.revision
    }

    /// Changes a consumer; another `number` makes another key.
    pub async fn change(&self, name: &str, number: i64) -> i64 {
        let id = self.consumers.lock().expect("no test panicked")[name];
        let patch = json!({"credentials": {"key-auth": {"key": format!("{name}-{number}")}}});
        let patch = patch.as_object().expect("an object").clone();
        consumer::patch(&self.cx, self.id, id, patch).await.expect("a change").revision
    }

    /// Removes a consumer.
    pub async fn remove(&self, name: &str) -> i64 {
        let id = self
            .consumers
            .lock()
            .expect("no test panicked")
            .remove(name)
            .expect("a known consumer");
        consumer::delete(&self.cx, self.id, id).await.expect("a removal").revision
    }

    /// Adds a certificate; answers its key too.
    pub async fn add_certificate(&self, sni: &str) -> (i64, String) {
        let made = rcgen::generate_simple_self_signed([sni.to_owned()]).expect("a certificate");
        let spec = CertificateSpec {
            certificate: made.cert.pem(),
            private_key: made.signing_key.serialize_pem(),
            ca_certificate: None,
            labels: Vec::new(),
            kind: CertificateType::Server,
        };
        let written = certificate::create(&self.cx, self.id, spec).await.expect("a certificate");
        (written.revision, format!("/apisix/ssls/{}", written.value.id))
    }

    /// Forgets the revisions before `revision`.
    pub async fn compact(&self, revision: i64) {
        let range = feed::range(&self.cx.app, self.id, "/", None, None).await.expect("a range");
        let keep = range.revision - revision;
        feed::compact(&self.cx.app, self.id, keep).await.expect("a compaction");
    }

    /// What is stored under a key.
    pub async fn value(&self, key: &str) -> String {
        let range = feed::range(&self.cx.app, self.id, key, None, None).await.expect("a range");
        range.entries.first().expect("the key exists").value.to_string()
    }

    /// Name and password of a user of the cluster.
    pub async fn user(&self) -> (String, String) {
        let user = gateway::issue_user(&self.cx, self.id).await.expect("a user");
        (user.name, user.password.expose().to_owned())
    }

    /// Revokes the cluster's certificate.
    pub async fn revoke(&self) {
        let der = CertificateDer::from_pem_slice(self.bundle.certificate.as_bytes());
        let der = der.expect("a certificate");
        let identity = gateway::identify_certificate(&self.cx.app, &der).await.expect("it is good");
        let gateway::Via::Certificate { serial } = identity.via else { panic!("{identity:?}") };
        gateway::revoke_certificate(&self.cx, self.id, &serial).await.expect("it is revoked");
    }
}

/// What a request of the data plane's own API finds out about its sender.
async fn me(Extension(identity): Extension<gateway::Identity>) -> String {
    identity.cluster.to_string()
}
