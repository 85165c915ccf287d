//! Stripe as the provider of payments, played by a stand-in that notes what it is asked.

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::response::IntoResponse as _;
use gantry_app::billing::{Plans, StripeOptions};
use gantry_model::Secret;
use gantry_testkit::Database;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server};

const PLANS: &str = "
plans:
- {id: 1, name: Free}
- {id: 2, name: Basic, stripe_price: price_basic}
- {id: 3, name: Enterprise, stripe_price: price_enterprise}
";

/// A call as it arrived; the form is decoded.
#[derive(Clone, Debug)]
struct Call {
    line: String,
    form: Vec<(String, String)>,
    once: Option<String>,
}

/// The stand-in: calls it got, and whether it finds the customer's card.
#[derive(Clone, Default)]
struct StandIn {
    calls: Arc<Mutex<Vec<Call>>>,
    card: Arc<Mutex<bool>>,
}

impl StandIn {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stand_in = self.clone();
        let service = axum::Router::new().fallback(move |request: Request| {
            let stand_in = stand_in.clone();
            async move { stand_in.answer(request).await }
        });
        tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        url
    }

    async fn answer(&self, request: Request) -> axum::response::Response {
        let headers = request.headers().clone();
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("authorization").unwrap(), "Bearer sk_test_hush");
        assert_eq!(header("stripe-version").unwrap(), "2025-03-31.basil");
        assert_eq!(header("content-type").unwrap(), "application/x-www-form-urlencoded");
        let once = header("idempotency-key");
        let line = format!("{} {}", request.method(), request.uri());
        let body = axum::body::to_bytes(request.into_body(), 1 << 16).await.unwrap();
        let form = serde_urlencoded::from_bytes(&body).unwrap();
        self.calls.lock().unwrap().push(Call { line: line.clone(), form, once });
        let broke = json!({ "error": { "type": "card_error", "message": "no card" } });
        let (status, body) = match line.as_str() {
            "POST /v1/customers" => (200, json!({ "id": "cus_1", "object": "customer" })),
            "POST /v1/subscriptions" if !*self.card.lock().unwrap() => (402, broke),
            "POST /v1/subscriptions" | "POST /v1/subscriptions/sub_1" => (
                200,
                json!({ "id": "sub_1", "status": "active", "items": { "data": [{ "id": "si_1" }] } }),
            ),
            "DELETE /v1/subscriptions/sub_1" => {
                (200, json!({ "id": "sub_1", "status": "canceled" }))
            }
            "POST /v1/invoices/create_preview" => (
                200,
                json!({
                    "object": "invoice", "currency": "usd", "amount_due": 420,
                    "period_start": 1_767_225_600, "period_end": 1_769_904_000,
                    "next_payment_attempt": null,
                    "lines": { "data": [{ "description": "calls", "quantity": 7, "amount": 420 }] },
                }),
            ),
            "POST /v1/billing_portal/sessions" => {
                (200, json!({ "url": "https://billing.example.com/session/1" }))
            }
            _ => (400, json!({ "error": { "type": "invalid_request_error", "message": "what?" } })),
        };
        (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
    }

    /// The calls since the last look.
    fn taken(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

fn form(call: &Call) -> Value {
    call.form.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}

async fn subscribe(owner: &Person, plan: &str) -> Answer {
    let path = format!("/orgs/{}/subscriptions", owner.org);
    owner.post(&path, json!({ "plan": plan })).await
}

async fn start(database: Database, stand_in: &StandIn) -> Server {
    let url = stand_in.start().await;
    let _ = gantry_testkit::client();
    Server::start_with(database, |config| {
        config.plans = Plans::parse(PLANS).unwrap();
        config.stripe = Some(StripeOptions { url, secret_key: Secret::new("sk_test_hush") });
    })
    .await
}

#[tokio::test]
async fn a_subscription_lives_at_stripe() {
    for database in [Database::Sqlite, Database::postgres()] {
        let stand_in = StandIn::default();
        let server = start(database, &stand_in).await;
        let owner = &server.owner;
        let org = &owner.org;

        let unpaid = subscribe(owner, "Basic").await;
        let message = unpaid.refused(403, 9);
        assert!(message.contains("no card") && message.contains("customer_portal"), "{message}");
        let calls = stand_in.taken();
        assert_eq!(calls[0].line, "POST /v1/customers");
        assert_eq!(form(&calls[0]), json!({ "name": "Acme", "metadata[org_id]": org }));
        assert_eq!(calls[0].once, Some(format!("gantry-customer-{org}")));
        let plan = format!("/orgs/{org}/plan");
        assert_eq!(owner.get(&plan).await.ok()["name"], "Free", "nothing has changed");

        let path = format!("/orgs/{org}/customer_portal");
        let request = owner.request(Method::GET, &path).bearer_auth(&owner.token);
        let portal = request.send().await.unwrap();
        assert_eq!(portal.headers()["location"], "https://billing.example.com/session/1");
        let back = format!("{}/billing/{org}", server.base);
        let calls = stand_in.taken();
        assert_eq!(calls.len(), 1, "the customer is known: {calls:?}");
        assert_eq!(form(&calls[0]), json!({ "customer": "cus_1", "return_url": back }));

        *stand_in.card.lock().unwrap() = true;
        subscribe(owner, "Basic").await.ok();
        let calls = stand_in.taken();
        assert_eq!(calls[0].line, "POST /v1/subscriptions");
        let expected = json!({ "customer": "cus_1", "items[0][price]": "price_basic",
            "payment_behavior": "error_if_incomplete", "metadata[org_id]": org,
            "metadata[plan_id]": "2" });
        assert_eq!(form(&calls[0]), expected);
        assert_eq!(calls[0].once, Some(format!("gantry-subscription-{org}-2-0")));
        let shown = owner.get(&plan).await;
        assert_eq!(shown.ok()["name"], "Basic");
        assert!(!shown.body.to_string().contains("price_basic"), "{:#}", shown.body);

        let invoice = owner.get(&format!("/orgs/{org}/invoices/upcoming")).await;
        assert_eq!(invoice.ok()["amount_due"], 420);
        assert_eq!(invoice.ok()["period_start"], "2026-01-01T00:00:00.000000Z");
        assert_eq!(invoice.ok()["lines"][0]["quantity"], 7);
        let calls = stand_in.taken();
        assert_eq!(calls[0].line, "POST /v1/invoices/create_preview");
        assert_eq!(form(&calls[0]), json!({ "customer": "cus_1", "subscription": "sub_1" }));

        subscribe(owner, "Enterprise").await.ok();
        let calls = stand_in.taken();
        assert_eq!(calls[0].line, "POST /v1/subscriptions/sub_1");
        assert_eq!(form(&calls[0])["items[0][id]"], "si_1");
        assert_eq!(form(&calls[0])["items[0][price]"], "price_enterprise");
        subscribe(owner, "Free").await.ok();
        assert_eq!(stand_in.taken()[0].line, "DELETE /v1/subscriptions/sub_1");
        let dry = format!("/orgs/{org}/subscriptions?dry_run=true");
        owner.post(&dry, json!({ "plan": "Basic" })).await.ok();
        assert!(stand_in.taken().is_empty(), "a dry run calls nobody");
    }
}

#[tokio::test]
async fn a_stripe_that_is_away_changes_nothing() {
    let server = Server::start_with(Database::Sqlite, |config| {
        let _ = gantry_testkit::client();
        config.plans = Plans::parse(PLANS).unwrap();
        let url = "http://127.0.0.1:9".to_owned();
        config.stripe = Some(StripeOptions { url, secret_key: Secret::new("sk_test_hush") });
    })
    .await;
    let owner = &server.owner;
    let message = subscribe(owner, "Basic").await.refused(500, 1).to_owned();
    assert!(message.contains("provider of payments does not answer"), "{message}");
    assert_eq!(owner.get(&format!("/orgs/{}/plan", owner.org)).await.ok()["name"], "Free");
}
