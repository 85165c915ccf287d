//! What gateways report, on the port of their own.

use axum::Extension;
use gantry_app::App;
use gantry_app::gateway::{Identity, Via};
use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server, on_both};

/// The gateways' door for one cluster, as the etcd port opens it after the TLS handshake.
pub async fn door(app: &App, person: &Person) -> String {
    let via = Via::Certificate { serial: "01".into() };
    let id = |text: &str| text.parse().unwrap();
    let identity = Identity { cluster: id(&person.cluster), org: id(&person.org), via };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = gantry_rest::dp_router(app.clone()).layer(Extension(identity));
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    format!("http://{address}/api/v1/dp/instance/heartbeat")
}

pub async fn report(url: &str, body: &Value) -> Answer {
    report_of_run(url, "3f2b8c1e-5d1f-4a52-9a44-0d6c7e0f9b11", body).await
}

pub async fn report_of_run(url: &str, run: &str, body: &Value) -> Answer {
    let request = gantry_testkit::client().post(url).json(body);
    let request = request.header("X-APISEVEN-Instance-Id", "gw-1");
    let answer = Answer::read(request.header("X-APISEVEN-Run-Id", run)).await;
    let path = "/api/v1/dp/instance/heartbeat";
    gantry_testkit::contract::check_answer("POST", path, answer.status, &answer.body);
    answer
}

/// Makes a gateway of the owner's cluster online.
pub async fn report_as_gateway(server: &Server) {
    let url = door(&server.app, &server.owner).await;
    let heartbeat = json!({ "id": "gw-1", "hostname": "host", "ip": "10.0.0.1" });
    report(&url, &heartbeat).await.ok();
}

#[tokio::test]
async fn a_heartbeat_registers_an_instance() {
    on_both(|server| async move {
        let owner = &server.owner;
        let url = door(&server.app, owner).await;
        let revision = owner.revision().await;
        let heartbeat = json!({
            "id": "gw-1", "hostname": "host", "ip": "10.0.0.1", "version": "gantry/0.1.0",
            "etcd_reachable": true, "config_version": revision, "ports": [9080, 9443],
            "digest": "00", "problems": [{ "key": "/apisix/routes/1", "reason": "broken" }],
        });
        let answer = report(&url, &heartbeat).await;
        assert_eq!(answer.ok()["config_version"], revision);
        let listed = owner.get(&owner.in_cluster("/instances")).await;
        let instance = &listed.ok()["list"][0];
        assert_eq!(instance["status"], "Healthy");
        assert_eq!(instance["config_version"], revision);
        assert_eq!(instance["problems"][0]["reason"], "broken");
        let stranger = &server.stranger;
        let others = stranger.get(&stranger.in_cluster("/instances")).await;
        assert_eq!(others.ok()["count"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_heartbeat_that_breaks_the_contract_is_refused() {
    on_both(|server| async move {
        let url = door(&server.app, &server.owner).await;
        let refused = report(&url, &json!({ "id": "gw-1", "ports": [0] })).await;
        let message = refused.refused(400, 2);
        for field in ["`hostname`", "`ip`", "`ports[0]`"] {
            assert!(message.contains(field), "{message}");
        }
        for id in ["x".repeat(257), "gw\0-1".to_owned()] {
            let body = json!({ "id": id, "hostname": "h", "ip": "10.0.0.1" });
            assert!(report(&url, &body).await.refused(400, 2).contains("`id`"));
        }
        let body = json!({ "id": "gw-1", "hostname": "h", "ip": "10.0.0.1" });
        let long = report_of_run(&url, &"x".repeat(257), &body).await;
        assert!(long.refused(400, 2).contains("X-APISEVEN-Run-Id"));
        let bare = gantry_testkit::client().post(&url).json(&json!({}));
        assert!(Answer::read(bare).await.refused(400, 2).contains("X-APISEVEN-Run-Id"));
    })
    .await;
}

#[tokio::test]
async fn nobody_but_gateways_reports() {
    on_both(|server| async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/dp/instance/heartbeat", listener.local_addr().unwrap());
        let service = gantry_rest::dp_router(server.app.clone());
        tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        let bare = gantry_testkit::client().post(&url).json(&json!({}));
        Answer::read(bare).await.refused(401, 6);
    })
    .await;
}
