//! TLS towards clients and upstreams.

use std::sync::Arc;

use gantry_testkit::Origin;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    harness::{Rig, route},
    node::NodeServer,
};

type Versions = &'static [&'static SupportedProtocolVersion];
static BOTH: Versions = &[&TLS12, &TLS13];
static OLD: Versions = &[&TLS12];
static NEW: Versions = &[&TLS13];

const RSA: (&str, &str) = (include_str!("fixtures/rsa.crt"), include_str!("fixtures/rsa.key"));

/// A certificate and its key, PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    /// Its own authority.
    fn new(name: &str) -> Self {
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self { certificate: pair.cert.pem(), key: pair.signing_key.serialize_pem() }
    }

    /// An authority and a certificate of it.
    fn issued(name: &str) -> (String, Self) {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        (authority, Self { certificate, key: key.serialize_pem() })
    }

    /// An authority and a certificate that as many others stand between as said; the certificate
    /// comes with these.
    fn distant(name: &str, between: usize) -> (String, Self) {
        let authority = |number: usize| {
            let mut params = CertificateParams::new([]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
            params
        };
        let (params, key) = (authority(0), KeyPair::generate().unwrap());
        let root = params.self_signed(&key).unwrap().pem();
        let mut issuer = Issuer::new(params, key);
        let mut chain = String::new();
        for number in 1..=between {
            let (params, key) = (authority(number), KeyPair::generate().unwrap());
            chain.insert_str(0, &params.signed_by(&key, &issuer).unwrap().pem());
            issuer = Issuer::new(params, key);
        }
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        chain.insert_str(0, &params.signed_by(&key, &issuer).unwrap().pem());
        (root, Self { certificate: chain, key: key.serialize_pem() })
    }

    fn ssl(&self, name: &str) -> Value {
        json!({"sni": name, "cert": self.certificate, "key": self.key})
    }
}

/// How a client opens TLS.
struct Client<'a> {
    trusted: &'a [&'a str],
    versions: Versions,
    /// Only certificates with keys of this kind.
    schemes: Option<SignatureScheme>,
    shows: Option<&'a Pair>,
}

impl<'a> Client<'a> {
    fn new(trusted: &'a [&'a str]) -> Self {
        Self { trusted, versions: BOTH, schemes: None, shows: None }
    }

    async fn connect(&self, rig: &Rig, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for pem in self.trusted {
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        }
        let mut provider = rustls::crypto::ring::default_provider();
        if let Some(wanted) = self.schemes {
            let mut algorithms = provider.signature_verification_algorithms;
            let fits = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == wanted);
            algorithms.mapping = Vec::leak(fits.copied().collect());
            provider.signature_verification_algorithms = algorithms;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match self.shows {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect(rig.gateway.bound.https.unwrap()).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// The status of `GET path` under a Host; None if there was no TLS.
    async fn get(&self, rig: &Rig, name: &str, host: &str, path: &str) -> Option<u16> {
        let mut stream = self.connect(rig, name).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        // A refusal in TLS 1.3 comes after the client's side of the handshake.
        stream.read_to_end(&mut answer).await.ok()?;
        String::from_utf8_lossy(&answer).get(9..12)?.parse().ok()
    }
}

#[tokio::test]
async fn the_server_name_picks_the_certificate_and_http2_is_spoken() {
    let origin = Origin::start("one").await;
    let (one, two) = (Pair::new("one.com"), Pair::new("a.two.com"));
    let rig = Rig::start(&[
        ("routes/1", route("/*", origin.address)),
        ("ssls/1", one.ssl("one.com")),
        ("ssls/2", two.ssl("*.two.com")),
    ])
    .await;
    let address = rig.gateway.bound.https.unwrap();
    let get = async |name: &str, trusted: &Pair| {
        let authority = reqwest::Certificate::from_pem(trusted.certificate.as_bytes()).unwrap();
        let client =
            gantry_testkit::client::builder().tls_certs_only([authority]).resolve(name, address);
        client.build().unwrap().get(format!("https://{name}:{}/x", address.port())).send().await
    };
    for (name, pair) in [("one.com", &one), ("a.two.com", &two)] {
        let response = get(name, pair).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.version(), http::Version::HTTP_2);
        let seen: Value = response.json().await.unwrap();
        assert_eq!(seen["headers"]["x-forwarded-proto"], "https");
    }
    assert!(get("one.com", &two).await.is_err(), "each name has its own certificate");
    assert!(get("three.com", &one).await.is_err(), "no certificate, no handshake");
}

#[tokio::test]
async fn each_certificate_has_its_own_protocol_versions() {
    let origin = Origin::start("one").await;
    let pair = Pair::new("one.com");
    let mut resources =
        vec![("routes/1", route("/*", origin.address)), ("ssls/1", pair.ssl("one.com"))];
    resources[1].1["ssl_protocols"] = json!(["TLSv1.2"]);
    let rig = Rig::start(&resources).await;
    let trusted = [pair.certificate.as_str()];
    let outcome = async |versions| {
        let client = Client { versions, ..Client::new(&trusted) };
        client.get(&rig, "one.com", "one.com", "/").await
    };
    assert_eq!(outcome(OLD).await, Some(200));
    assert_eq!(outcome(NEW).await, None);
    resources[1].1["ssl_protocols"] = json!(["TLSv1.3"]);
    rig.put("ssls/1", &resources[1].1).await;
    assert_eq!(outcome(OLD).await, None);
    assert_eq!(outcome(NEW).await, Some(200));
}

#[tokio::test]
async fn a_name_may_have_certificates_of_two_kinds() {
    let pair = Pair::new("one.com");
    let mut ssl = pair.ssl("one.com");
    ssl["certs"] = json!([RSA.0]);
    ssl["keys"] = json!([RSA.1]);
    let rig = Rig::start(&[("ssls/1", ssl)]).await;
    let trusted = [pair.certificate.as_str(), RSA.0];
    for (scheme, expected) in [
        (SignatureScheme::ECDSA_NISTP256_SHA256, pair.certificate.as_str()),
        (SignatureScheme::RSA_PSS_SHA256, RSA.0),
    ] {
        let client = Client { schemes: Some(scheme), versions: NEW, ..Client::new(&trusted) };
        let stream = client.connect(&rig, "one.com").await.unwrap();
        let expected = CertificateDer::from_pem_slice(expected.as_bytes()).unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates(), Some([expected].as_slice()));
    }
}

#[tokio::test]
async fn clients_show_certificates_where_they_must() {
    let origin = Origin::start("one").await;
    let (authority, good) = Pair::issued("client");
    let (_, bad) = Pair::issued("stranger");
    let (one, two) = (Pair::new("one.com"), Pair::new("two.com"));
    let (mut strict, mut lenient) = (one.ssl("one.com"), two.ssl("two.com"));
    strict["client"] = json!({"ca": authority});
    lenient["client"] = json!({"ca": authority, "skip_mtls_uri_regex": ["^/public/.*"]});
    let open = Pair::new("open.com");
    let rig = Rig::start(&[
        ("routes/1", route("/*", origin.address)),
        ("ssls/1", strict),
        ("ssls/2", lenient),
        ("ssls/3", open.ssl("open.com")),
    ])
    .await;
    let trusted = [&one, &two, &open].map(|pair| pair.certificate.as_str());
    let get = async |shows, name, host, path| {
        Client { shows, ..Client::new(&trusted) }.get(&rig, name, host, path).await
    };
    assert_eq!(get(Some(&good), "one.com", "one.com", "/").await, Some(200));
    assert_eq!(get(None, "one.com", "one.com", "/").await, None, "refused in the handshake");
    assert_eq!(get(Some(&bad), "one.com", "one.com", "/").await, None);
    assert_eq!(get(Some(&good), "two.com", "two.com", "/").await, Some(200));
    assert_eq!(get(None, "two.com", "two.com", "/public/a").await, Some(200));
    assert_eq!(get(None, "two.com", "two.com", "/private").await, Some(400));
    assert_eq!(get(None, "open.com", "one.com", "/").await, Some(400), "not through another door");
    assert_eq!(get(None, "open.com", "else.com", "/").await, Some(200));
}

#[tokio::test]
async fn clients_are_no_further_from_their_authority_than_allowed() {
    let origin = Origin::start("one").await;
    for (between, depth, expected) in
        [(0, 0, Some(200)), (1, 0, None), (1, 1, Some(200)), (2, 1, None), (2, 2, Some(200))]
    {
        let (authority, pair) = Pair::distant("client", between);
        let one = Pair::new("one.com");
        let mut ssl = one.ssl("one.com");
        ssl["client"] = json!({"ca": authority, "depth": depth});
        let rig = Rig::start(&[("routes/1", route("/*", origin.address)), ("ssls/1", ssl)]).await;
        let trusted = [one.certificate.as_str()];
        let client = Client { shows: Some(&pair), ..Client::new(&trusted) };
        let status = client.get(&rig, "one.com", "one.com", "/").await;
        assert_eq!(status, expected, "{between} between, {depth} allowed");
    }
}

#[tokio::test]
async fn upstreams_are_verified_and_shown_a_certificate() {
    let identity = crate::node::Identity::new();
    let (authority, good) = Pair::issued("gateway");
    let node = NodeServer::start(Some(identity.acceptor_for(&authority))).await;
    let upstream = |tls: Value| {
        json!({"scheme": "https", "pass_host": "node", "tls": tls,
            "nodes": [{"host": "localhost", "port": node.address.port(), "weight": 1}]})
    };
    let at = |uri: &str, tls: Value| json!({"uri": uri, "upstream": upstream(tls)});
    let inline = json!({"client_cert": good.certificate, "client_key": good.key});
    let client_ssl = json!({"type": "client", "cert": good.certificate, "key": good.key});
    let mut verified = inline.clone();
    verified["verify"] = json!(true);
    let rig = Rig::start(&[
        ("ssls/9", client_ssl),
        ("routes/1", at("/inline", inline)),
        ("routes/2", at("/id", json!({"client_cert_id": "9"}))),
        ("routes/3", at("/none", json!({"verify": false}))),
        ("routes/4", at("/unknown", json!({"client_cert_id": "8"}))),
        ("routes/5", at("/verified", verified)),
    ])
    .await;
    for (path, status) in
        [("/inline", 200), ("/id", 200), ("/none", 502), ("/unknown", 502), ("/verified", 502)]
    {
        assert_eq!(rig.gateway.fetch(path).await.0, status, "{path}");
    }
}
