//! What variables say about a request.

use std::sync::Arc;

use gantry_routing::{
    expr::Expr,
    vars::{self, Var, Vars},
};
use http::HeaderValue;
use pingora::http::{RequestHeader, ResponseHeader};
use serde_json::json;

use super::{Client, Exchange, Facts};
use crate::{
    machine,
    plugin::RequestId,
    snapshot::Snapshot,
    tls::{Certificate, CertificateSource, ClientCertificate, Handshake},
};

fn exchange() -> Exchange {
    Exchange::new(Arc::new(Snapshot::default()))
}

fn request(target: &str) -> RequestHeader {
    RequestHeader::build("GET", target.as_bytes(), None).unwrap()
}

fn text(exchange: &Exchange, request: &RequestHeader, name: &str) -> Option<String> {
    exchange.facts(request).var(name).and_then(|value| Some(value.text()?.into_owned()))
}

#[test]
fn arguments_are_decoded_and_their_names_have_a_case() {
    let (exchange, request) = (exchange(), request("/?b=x%20y+z&B=2&b=3&flag&empty=&%63=4"));
    let facts = exchange.facts(&request);
    for (name, expected) in [
        ("arg_b", Some(Var::from("x y z"))),
        ("arg_B", Some(Var::from("2"))),
        ("arg_flag", Some(Var::Flag(true))),
        ("arg_empty", Some(Var::from(""))),
        ("arg_c", Some(Var::from("4"))),
        ("arg_none", None),
    ] {
        assert_eq!(facts.var(name), expected, "{name}");
    }
}

#[test]
fn the_request_uri_is_normalised_and_the_real_one_is_not() {
    let mut exchange = exchange();
    let request = request("/a/../b%20c?x=%20");
    exchange.path = Some("/b c".to_owned());
    let read = |name| text(&exchange, &request, name);
    assert_eq!(read("uri").as_deref(), Some("/b c"));
    assert_eq!(read("request_uri").as_deref(), Some("/b c?x=%20"));
    assert_eq!(read("real_request_uri").as_deref(), Some("/a/../b%20c?x=%20"));
}

#[test]
fn the_host_name_is_the_machines() {
    let mut request = request("/");
    request.insert_header("Host", "A.com:80").unwrap();
    let exchange = exchange();
    assert_eq!(text(&exchange, &request, "hostname").as_deref(), Some(machine::hostname()));
    assert_eq!(text(&exchange, &request, "host").as_deref(), Some("a.com"));
}

#[test]
fn a_request_keeps_its_id_and_the_plugin_may_replace_the_one_in_logs() {
    let (mut exchange, request) = (exchange(), request("/"));
    let id = text(&exchange, &request, "request_id").unwrap();
    assert_eq!(id.len(), 32);
    assert_eq!(text(&exchange, &request, "request_id").as_ref(), Some(&id));
    assert_eq!(text(&exchange, &request, "apisix_request_id").as_ref(), Some(&id));
    exchange.notes.insert(RequestId(HeaderValue::from_static("mine")));
    assert_eq!(text(&exchange, &request, "apisix_request_id").as_deref(), Some("mine"));
    assert_eq!(text(&exchange, &request, "request_id"), Some(id));
}

#[test]
fn the_clients_address_has_neither_port_nor_mapping() {
    let (mut exchange, request) = (exchange(), request("/"));
    exchange.client = Client::new("[::ffff:10.0.0.1]:7".parse().unwrap());
    assert_eq!(text(&exchange, &request, "remote_addr").as_deref(), Some("10.0.0.1"));
    assert_eq!(text(&exchange, &request, "remote_port").as_deref(), Some("7"));
}

#[test]
fn times_read_as_nginx_writes_them() {
    let (exchange, request) = (exchange(), request("/"));
    let shape = |name| {
        let text = text(&exchange, &request, name).unwrap();
        text.chars()
            .map(|c| match c {
                '0'..='9' => '9',
                'a'..='z' | 'A'..='Z' if c != 'T' => 'a',
                '-' => '+',
                c => c,
            })
            .collect::<String>()
    };
    assert_eq!(shape("msec"), "9999999999.999");
    assert_eq!(shape("time_iso8601"), "9999+99+99T99:99:99+99:99");
    assert_eq!(shape("time_local"), "99/aaa/9999:99:99:99 +9999");
}

/// Only `balancer_port` is a number in APISIX, which tells texts from numbers.
#[test]
fn measures_are_texts_and_their_times_have_milliseconds() {
    let (mut exchange, request) = (exchange(), request("/"));
    exchange.connection.server = "10.0.0.2:9443".parse().unwrap();
    exchange.client = Client::new("10.0.0.1:7".parse().unwrap());
    exchange.attempts.address = Some("10.0.0.3:80".parse().unwrap());
    exchange.attempts.header_time = Some(std::time::Duration::from_micros(1_500));
    exchange.attempts.connects =
        smallvec::smallvec![None, Some(std::time::Duration::from_micros(2_400))];
    let response = ResponseHeader::build(404, None).unwrap();
    let facts = Facts { response: Some(&response), ..exchange.facts(&request) };
    for (name, expected) in [
        ("upstream_connect_time", Var::from("-, 0.002")),
        ("server_port", Var::from("9443")),
        ("remote_port", Var::from("7")),
        ("status", Var::from("404")),
        ("body_bytes_sent", Var::from("0")),
        ("upstream_header_time", Var::from("0.002")),
        ("balancer_port", Var::Number(80.0)),
    ] {
        assert_eq!(facts.var(name), Some(expected), "{name}");
    }
    let holds = |condition| Expr::compile(&json!([condition])).unwrap().matches(&facts);
    assert!(holds(json!(["server_port", "==", "9443"])) && holds(json!(["status", ">=", 400])));
    assert!(!holds(json!(["status", "in", [404]])) && holds(json!(["status", "in", ["404"]])));
}

/// A connection whose client has presented a certificate.
fn handshake() -> Arc<Handshake> {
    let pair = rcgen::generate_simple_self_signed(["a.com".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let source = CertificateSource {
        id: "1",
        pairs: vec![(&certificate, &key)],
        authority: None,
        exempt: None,
        protocols: &[],
    };
    Arc::new(Handshake {
        server_name: "a.com".to_owned(),
        certificate: Arc::new(Certificate::compile(&source).unwrap()),
        client_verified: true,
        client: ClientCertificate::read(pair.cert.der()),
        version: "TLSv1.3",
        cipher: "TLS13_AES_128_GCM_SHA256",
    })
}

#[test]
fn the_server_knows_which_variables_lead_to_routes_here() {
    let mut exchange = exchange();
    exchange.connection.proxied = true;
    exchange.handshake = Some(handshake());
    let mut request = request("/a?x=1&query=%7Bx%7D");
    exchange.body = Some("x=1".into());
    for (name, value) in [
        ("Host", "a.com:80"),
        ("Cookie", "x=1"),
        ("X", "1"),
        ("Content-Length", "1"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Authorization", "Basic amFjazpzZWNyZXQ="),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Host", "a.com"),
        ("X-Forwarded-Port", "443"),
        ("Forwarded", "for=10.0.0.1"),
    ] {
        request.append_header(name, value).unwrap();
    }
    let facts = exchange.facts(&request);
    for variable in vars::all().into_iter().filter(|variable| variable.routing) {
        let name = format!("{}{}", variable.name, if variable.prefix { "x" } else { "" });
        assert_eq!(facts.var(&name).is_some(), vars::routes_in_gantry(&name), "{name}");
    }
}

#[test]
fn headers_about_the_way_are_the_clients_while_a_route_is_looked_for() {
    let (mut exchange, mut request) = (exchange(), request("/"));
    assert_eq!(text(&exchange, &request, "original_x_forwarded_proto").as_deref(), Some(""));
    request.insert_header("X-Forwarded-Proto", "https").unwrap();
    assert_eq!(text(&exchange, &request, "original_x_forwarded_proto").as_deref(), Some("https"));
    exchange.forwarding_noted = true;
    assert_eq!(text(&exchange, &request, "original_x_forwarded_proto"), None);
    assert_eq!(text(&exchange, &request, "http_x_forwarded_proto").as_deref(), Some("https"));
}
