//! A canary release as its users feel it: through the management API and a gateway.

use gantry_testkit::{Database, Origin, client};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Gateway, Installation, api, application, text};

/// An application with two versions behind one gateway.
struct Shop {
    gantry: Installation,
    gateway: Gateway,
    application: String,
}

impl Shop {
    async fn open(old: &Origin, new: &Origin) -> Self {
        let gantry = Installation::start(Database::Sqlite).await;
        let gateway = gantry.gateway("gateway").await;
        let mut body = application("shop", "/shop", old.address);
        let other = application("shop", "/shop", new.address)["upstreams"][0]["upstream"].clone();
        let versions = body["upstreams"].as_array_mut().unwrap();
        versions.push(json!({ "version": "v2", "upstream": other }));
        let path = gantry.cluster_path("/apps");
        let application = text(&gantry.call(Method::POST, &path, Some(body)).await["id"]);
        for name in ["cart", "pay"] {
            gantry.api(&application, api(name, &format!("/{name}"))).await;
        }
        Self { gantry, gateway, application }
    }

    fn path(&self, rest: &str) -> String {
        format!("/apps/{}/canary_releases{rest}", self.application)
    }

    /// Creates a release, which does nothing yet; answers its id.
    async fn create(&self, release: &Value) -> String {
        text(&self.gantry.call(Method::POST, &self.path(""), Some(release.clone())).await["id"])
    }

    /// Brings a release into a state and waits for the gateway.
    async fn put(&self, id: &str, release: &Value, state: &str) {
        let mut body = release.clone();
        body["state"] = json!(state);
        self.gantry.call(Method::PUT, &self.path(&format!("/{id}")), Some(body)).await;
        self.arrived().await;
    }

    async fn arrived(&self) {
        self.gateway.applied(self.gantry.revision().await).await;
    }

    /// Which backend answers.
    async fn answer(&self, path: &str, header: Option<&str>) -> String {
        let mut request = client().get(self.gateway.http(path));
        if let Some(value) = header {
            request = request.header("x-beta", value);
        }
        let seen: Value = request.send().await.unwrap().json().await.unwrap();
        text(&seen["name"])
    }

    /// How many of `requests` the new version answers, over both APIs.
    async fn new_ones(&self, requests: usize) -> usize {
        let mut count = 0;
        for turn in 0..requests {
            let path = if turn % 3 == 0 { "/shop/cart" } else { "/shop/pay" };
            count += usize::from(self.answer(path, None).await == "new");
        }
        count
    }
}

#[tokio::test]
async fn a_share_of_the_requests_goes_to_the_canary_until_it_is_all() {
    let (old, new) = (Origin::start("old").await, Origin::start("new").await);
    let shop = Shop::open(&old, &new).await;
    let mut half = json!({
        "name": "half", "type": "percent", "canary_upstream_version": "v2", "percent": 50,
        "state": "in_progress"
    });
    let id = shop.create(&half).await;
    shop.arrived().await;
    assert_eq!(shop.new_ones(10).await, 0, "never effective at creation");

    shop.put(&id, &half, "in_progress").await;
    assert_eq!(shop.new_ones(40).await, 20, "over all APIs of the application");
    half["percent"] = json!(90);
    shop.put(&id, &half, "in_progress").await;
    assert_eq!(shop.new_ones(40).await, 36);
    half["percent"] = json!(100);
    shop.put(&id, &half, "in_progress").await;
    assert_eq!(shop.new_ones(10).await, 10);

    shop.put(&id, &half, "paused").await;
    assert_eq!(shop.new_ones(10).await, 0, "all back to the default version");
    shop.put(&id, &half, "in_progress").await;
    shop.put(&id, &half, "finished").await;
    assert_eq!(shop.new_ones(10).await, 10, "the canary is the default now");
    let path = shop.gantry.cluster_path(&format!("/apps/{}", shop.application));
    let seen = shop.gantry.call(Method::GET, &path, None).await;
    assert_eq!(seen["default_upstream_version"], "v2");

    let back = json!({ "default_upstream_version": "default" });
    shop.gantry.call(Method::PATCH, &path, Some(back)).await;
    shop.arrived().await;
    assert_eq!(shop.new_ones(10).await, 0, "rolled back by hand");
}

#[tokio::test]
async fn requests_that_meet_all_conditions_go_to_the_canary() {
    let (old, new) = (Origin::start("old").await, Origin::start("new").await);
    let shop = Shop::open(&old, &new).await;
    let release = json!({
        "name": "beta", "type": "rule", "canary_upstream_version": "v2",
        "rules": [
            { "position": "header", "key": "X-Beta", "operator": "regex_match", "value": "^[0-9]+$" },
            { "position": "query", "key": "new", "operator": "equal", "value": "yes" }
        ]
    });
    let id = shop.create(&release).await;
    shop.put(&id, &release, "in_progress").await;
    for (path, header, expected) in [
        ("/shop/cart?new=yes", Some("42"), "new"),
        ("/shop/pay?new=yes", Some("1"), "new"),
        ("/shop/cart?new=no", Some("42"), "old"),
        ("/shop/cart?new=yes", Some("x"), "old"),
        ("/shop/cart?new=yes", None, "old"),
        ("/shop/cart", Some("42"), "old"),
    ] {
        assert_eq!(shop.answer(path, header).await, expected, "{path} {header:?}");
    }
    shop.gantry.call(Method::DELETE, &shop.path(&format!("/{id}")), None).await;
    shop.arrived().await;
    assert_eq!(shop.answer("/shop/cart?new=yes", Some("42")).await, "old");
}
