//! Recovery on the data directory or database, beside a running server.

use gantry_testkit::{Database, client};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{EMAIL, Installation, PASSWORD, run};

#[tokio::test]
async fn tokens_and_passwords_can_be_recovered_on_sqlite() {
    recover(Database::Sqlite).await;
}

#[tokio::test]
async fn tokens_and_passwords_can_be_recovered_on_postgres() {
    recover(Database::postgres()).await;
}

async fn recover(database: Database) {
    let gantry = Installation::start(database).await;
    let data = gantry.folder.path().join("data").display().to_string();
    let mut place = vec!["--data", &data];
    if let Some(url) = gantry.database.url() {
        place.extend(["--database", url]);
    }

    let made = run(&[&["admin"], place.as_slice(), &["create-token", "--email", EMAIL]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert_eq!(token.split('.').count(), 3, "a JWT");
    let me = client().get(gantry.url("/user/me")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(me.status(), 200);
    assert_eq!(me.json::<Value>().await.unwrap()["payload"]["email"], EMAIL);

    let reset =
        run(&[&["admin"], place.as_slice(), &["reset-password", "--email", EMAIL]].concat());
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    let password = String::from_utf8(reset.stdout).unwrap().trim().to_owned();
    let old = gantry
        .try_call(
            Method::POST,
            "/user/login",
            Some(json!({ "email": EMAIL, "password": PASSWORD })),
        )
        .await;
    assert_eq!(old.unwrap()["status"]["code"], 6);
    gantry
        .call(Method::POST, "/user/login", Some(json!({ "email": EMAIL, "password": password })))
        .await;

    let nobody =
        run(&[&["admin"], place.as_slice(), &["create-token", "--email", "nobody@example.com"]]
            .concat());
    assert!(!nobody.status.success());
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("nobody@example.com"));
}

#[tokio::test]
async fn a_gateway_user_signs_in_at_the_etcd_door() {
    let gantry = Installation::start(Database::Sqlite).await;
    let data = gantry.folder.path().join("data").display().to_string();
    let issued =
        run(&["admin", "--data", &data, "issue-gateway-user", "--cluster", &gantry.cluster]);
    assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
    let printed = String::from_utf8(issued.stdout).unwrap();
    let (name, password) = printed.trim().split_once(' ').expect("name and password");

    let bundle = gantry.call(Method::GET, &gantry.cluster_path("/gateway_certificate"), None).await;
    let authority = bundle["ca_certificate"].as_str().unwrap().as_bytes();
    let door = client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(authority).unwrap()])
        .build()
        .unwrap();
    let dp = gantry.server.as_ref().unwrap().address("dp");
    let login = json!({ "name": name, "password": password });
    let url = format!("{dp}/v3/auth/authenticate");
    let answer: Value = door.post(&url).json(&login).send().await.unwrap().json().await.unwrap();
    let token = answer["token"].as_str().expect("a token");
    let range = json!({ "key": "L2FwaXNpeA==", "range_end": "L2FwaXNpeQ==" });
    let read = async |token: &str| {
        let request = door.post(format!("{dp}/v3/kv/range")).header("authorization", token);
        request.json(&range).send().await.unwrap().status()
    };
    assert_eq!(read(token).await, 200);
    assert_eq!(read("stranger").await, 401);
}
