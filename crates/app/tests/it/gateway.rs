//! Who is a gateway, and what it reports.

use gantry_app::App;
use gantry_app::billing;
use gantry_app::gateway::{self, Via};
use gantry_app::instance;
use gantry_model::ErrorCode;
use gantry_model::instance::InstanceStatus;
use gantry_testkit::database::Database;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;

use crate::harness::{self, Bench, on_both_engines};

on_both_engines! {
    a_certificate_names_its_cluster_until_it_is_revoked_or_expires
    a_gateway_user_signs_in
    silence_changes_the_status
    calls_are_counted_once_however_often_they_are_reported
}

async fn a_certificate_names_its_cluster_until_it_is_revoked_or_expires(database: Database) {
    let bench = Bench::new(database).await;
    let issue = async || {
        let bundle = gateway::issue_certificate(&bench.cx, bench.cluster()).await.unwrap();
        CertificateDer::from_pem_slice(bundle.certificate.as_bytes()).unwrap()
    };
    let (one, two) = (issue().await, issue().await);
    let identity = gateway::identify_certificate(&bench.app, &one).await.unwrap();
    assert_eq!((identity.cluster, identity.org), (bench.cluster(), bench.first.organization));
    let Via::Certificate { serial } = identity.via else { panic!("not by certificate") };
    gateway::revoke_certificate(&bench.cx, bench.cluster(), &serial).await.unwrap();
    let revoked = gateway::identify_certificate(&bench.app, &one).await.unwrap_err();
    assert_eq!(revoked.code, ErrorCode::Unauthorized);
    gateway::identify_certificate(&bench.app, &two).await.unwrap();
    bench.config.clock.turn(398 * 24 * 3600);
    assert!(gateway::identify_certificate(&bench.app, &two).await.is_err());
}

async fn a_gateway_user_signs_in(database: Database) {
    let bench = Bench::new(database).await;
    let user = gateway::issue_user(&bench.cx, bench.cluster()).await.unwrap();
    let token = gateway::login(&bench.app, &user.name, user.password.expose()).await.unwrap();
    let identity = gateway::identify_token(&bench.app, &token).await.unwrap();
    assert_eq!(identity.cluster, bench.cluster());
    assert!(gateway::login(&bench.app, &user.name, "wrong").await.is_err());
    let other = bench.first.access_token.expose();
    assert!(gateway::identify_token(&bench.app, other).await.is_err());
}

async fn silence_changes_the_status(database: Database) {
    let bench = Bench::new(database).await;
    let bundle = gateway::issue_certificate(&bench.cx, bench.cluster()).await.unwrap();
    let der = CertificateDer::from_pem_slice(bundle.certificate.as_bytes()).unwrap();
    let identity = gateway::identify_certificate(&bench.app, &der).await.unwrap();
    let report = json!({"id": "gw-1", "hostname": "h", "ip": "127.0.0.1", "api_calls": 3,
        "etcd_reachable": true});
    for _ in 0..2 {
        harness::beat(&bench.app, &identity, "run", report.clone()).await;
    }
    let status = async || {
        let page = instance::list(&bench.cx, bench.cluster()).await.unwrap();
        page.list.first().map(|one| (one.status, one.report.api_calls))
    };
    assert_eq!(status().await, Some((InstanceStatus::Healthy, 6)));
    bench.config.clock.turn(31);
    assert_eq!(status().await, Some((InstanceStatus::LostConnection, 6)));
    bench.config.clock.turn(7 * 24 * 3600);
    assert_eq!(status().await, None);
}

async fn calls_are_counted_once_however_often_they_are_reported(database: Database) {
    let bench = Bench::new(database).await;
    let bundle = gateway::issue_certificate(&bench.cx, bench.cluster()).await.unwrap();
    let der = CertificateDer::from_pem_slice(bundle.certificate.as_bytes()).unwrap();
    let identity = gateway::identify_certificate(&bench.app, &der).await.unwrap();
    let beat = async |app: &App, run: &str, new: i64, total: Option<i64>| {
        let mut report = json!({ "id": "gw-1", "hostname": "h", "ip": "127.0.0.1",
            "api_calls": new });
        if let Some(total) = total {
            report["api_calls_total"] = total.into();
        }
        harness::beat(app, &identity, run, report).await;
    };
    let billed = async || {
        let invoice = billing::upcoming_invoice(&bench.cx, bench.first.organization).await;
        let instances = instance::list(&bench.cx, bench.cluster()).await.unwrap();
        let billed = invoice.unwrap().lines[0].quantity;
        assert_eq!(instances.list[0].report.api_calls, billed);
        assert_eq!(instances.list[0].report.api_calls_total, None);
        billed
    };
    let app = &bench.app;
    beat(app, "run-1", 5, Some(5)).await;
    // The answer was lost: the same calls are new to the gateway still.
    beat(app, "run-1", 5, Some(5)).await;
    assert_eq!(billed().await, 5);
    // It was lost again, and four more came.
    beat(app, "run-1", 9, Some(9)).await;
    // An old report that was long on its way.
    beat(app, "run-1", 5, Some(5)).await;
    assert_eq!(billed().await, 9);
    // A successor runs beside it for a while; both go on to report.
    beat(app, "run-2", 3, Some(3)).await;
    beat(app, "run-1", 1, Some(10)).await;
    beat(app, "run-2", 4, Some(7)).await;
    assert_eq!(billed().await, 17);
    // The server dies and comes back, and so does a report it had answered.
    let another = bench.another().await;
    beat(&another, "run-2", 4, Some(7)).await;
    assert_eq!(billed().await, 17);
    // Many copies at once, at two servers.
    let servers = [app, &another];
    let copies = (0..16).map(|number| beat(servers[number % 2], "run-2", 13, Some(20)));
    futures::future::join_all(copies).await;
    assert_eq!(billed().await, 30);
    // Gateways of others do not tell a total.
    beat(app, "run-3", 2, None).await;
    beat(app, "run-3", 2, None).await;
    assert_eq!(billed().await, 34);
}
