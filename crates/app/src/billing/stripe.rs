//! Stripe takes the money: customers, subscriptions, previews of invoices and its customer portal,
//! over its HTTP API (forms in, JSON out).

use std::time::Duration;

use futures::future::BoxFuture;
use gantry_model::organization::Organization;
use gantry_model::plan::{Invoice, InvoiceLine};
use gantry_model::{Error, ErrorCode, Result, Secret, Timestamp};
use gantry_store::billing::AccountRow;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Billing, Order};

/// The version of the API whose shapes are read here.
const VERSION: &str = "2025-03-31.basil";
/// Longest that a caller waits for Stripe.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How to reach Stripe.
#[derive(Clone, Debug)]
pub struct StripeOptions {
    /// Base of the API: `https://api.stripe.com`.
    pub url: String,
    pub secret_key: Secret,
}

pub(super) struct Stripe {
    http: Client,
    url: String,
    secret_key: Secret,
}

/// Fields of a form; names of parts are written `items[0][price]`.
type Form<'a> = [(&'a str, &'a str)];

#[derive(Deserialize)]
struct Identified {
    id: String,
}

#[derive(Deserialize)]
struct Session {
    url: String,
}

#[derive(Deserialize)]
struct Subscription {
    id: String,
    status: String,
    items: Data<Identified>,
}

#[derive(Deserialize)]
struct Data<T> {
    data: Vec<T>,
}

/// Times are seconds since 1970.
#[derive(Deserialize)]
struct Preview {
    currency: String,
    amount_due: i64,
    period_start: i64,
    period_end: i64,
    next_payment_attempt: Option<i64>,
    lines: Data<Line>,
}

#[derive(Deserialize)]
struct Line {
    description: Option<String>,
    quantity: Option<i64>,
    amount: i64,
}

/// The body of a refusal.
#[derive(Default, Deserialize)]
struct Refusal {
    error: Reason,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reason {
    message: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Stripe {
    pub(super) fn new(options: &StripeOptions) -> Result<Self> {
        let policy = reqwest::redirect::Policy::none();
        let http = Client::builder().timeout(TIMEOUT).redirect(policy).build();
        Ok(Self {
            http: http.map_err(Error::internal)?,
            url: options.url.trim_end_matches('/').to_owned(),
            secret_key: options.secret_key.clone(),
        })
    }

    /// Calls Stripe. Calls with the same `once` take effect once.
    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        form: &Form<'_>,
        once: Option<String>,
    ) -> Result<T> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(self.secret_key.expose())
            .header("Stripe-Version", VERSION)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(serde_urlencoded::to_string(form).map_err(Error::internal)?);
        if let Some(once) = once {
            request = request.header("Idempotency-Key", once);
        }
        let answer = request.send().await.map_err(|error| unreachable(&error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| unreachable(&error))?;
        if !status.is_success() {
            return Err(refused(path, status, &body));
        }
        serde_json::from_slice(&body).map_err(Error::internal)
    }

    async fn change(&self, order: &Order<'_>) -> Result<AccountRow> {
        let Order { organization, plan, account } = *order;
        let AccountRow { customer, subscription, subscription_item } = account;
        let Some(price) = &plan.stripe_price else {
            if let Some(subscription) = subscription {
                let path = format!("/v1/subscriptions/{subscription}");
                self.call::<Identified>(Method::DELETE, &path, &[], None).await?;
            }
            return Ok(AccountRow { customer: customer.clone(), ..AccountRow::default() });
        };
        let (org, plan_id) = (organization.id.to_string(), plan.id.to_string());
        let mut form = vec![
            ("items[0][price]", price.as_str()),
            ("payment_behavior", "error_if_incomplete"),
            ("metadata[org_id]", &org),
            ("metadata[plan_id]", &plan_id),
        ];
        let path = match (subscription, subscription_item) {
            (Some(subscription), Some(item)) => {
                form.push(("items[0][id]", item));
                format!("/v1/subscriptions/{subscription}")
            }
            _ => {
                form.push(("customer", customer));
                "/v1/subscriptions".to_owned()
            }
        };
        // A second try of the same change, which starts from the same state, is the same call.
        let state = organization.subscription_started_at.map_or(0, Timestamp::micros);
        let once = format!("gantry-subscription-{org}-{plan_id}-{state}");
        let made: Subscription = self.call(Method::POST, &path, &form, Some(once)).await?;
        if !matches!(made.status.as_str(), "active" | "trialing") {
            return Err(unpaid(&format!("the subscription is {}", made.status)));
        }
        Ok(AccountRow {
            customer: customer.clone(),
            subscription: Some(made.id),
            subscription_item: made.items.data.into_iter().next().map(|item| item.id),
        })
    }
}

impl Billing for Stripe {
    fn open<'a>(
        &'a self,
        organization: &'a Organization,
    ) -> BoxFuture<'a, Result<Option<AccountRow>>> {
        Box::pin(async move {
            let org = organization.id.to_string();
            let form = [("name", organization.name.as_str()), ("metadata[org_id]", &org)];
            let once = Some(format!("gantry-customer-{org}"));
            let made: Identified = self.call(Method::POST, "/v1/customers", &form, once).await?;
            Ok(Some(AccountRow { customer: made.id, ..AccountRow::default() }))
        })
    }

    fn subscribe<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Result<AccountRow>> {
        Box::pin(async move { self.change(&order).await })
    }

    fn upcoming<'a>(
        &'a self,
        account: Option<&'a AccountRow>,
        metered: Invoice,
    ) -> BoxFuture<'a, Result<Invoice>> {
        Box::pin(async move {
            let paying = account.and_then(|one| Some((&one.customer, one.subscription.as_ref()?)));
            let Some((customer, subscription)) = paying else { return Ok(metered) };
            let form = [("customer", customer.as_str()), ("subscription", subscription)];
            let path = "/v1/invoices/create_preview";
            let found: Preview = self.call(Method::POST, path, &form, None).await?;
            Ok(invoice(found))
        })
    }

    fn portal<'a>(
        &'a self,
        account: Option<&'a AccountRow>,
        page: String,
    ) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move {
            let Some(account) = account else { return Ok(page) };
            let form = [("customer", account.customer.as_str()), ("return_url", &page)];
            let path = "/v1/billing_portal/sessions";
            let made: Session = self.call(Method::POST, path, &form, None).await?;
            Ok(made.url)
        })
    }
}

fn invoice(found: Preview) -> Invoice {
    let line = |line: Line| InvoiceLine {
        description: line.description.unwrap_or_default(),
        quantity: line.quantity.unwrap_or_default(),
        amount: line.amount,
    };
    Invoice {
        currency: found.currency,
        amount_due: found.amount_due,
        period_start: Timestamp::from_seconds(found.period_start),
        period_end: Timestamp::from_seconds(found.period_end),
        next_payment_attempt: found.next_payment_attempt.map(Timestamp::from_seconds),
        lines: found.lines.data.into_iter().map(line).collect(),
    }
}

fn unreachable(error: &reqwest::Error) -> Error {
    tracing::warn!(error = error as &dyn std::error::Error, "Stripe cannot be reached");
    Error::new(
        ErrorCode::Internal,
        "the provider of payments does not answer; nothing was changed, try again later",
    )
}

/// What a refusal means to a caller; all that Stripe says goes to the log.
fn refused(path: &str, status: StatusCode, body: &[u8]) -> Error {
    let Refusal { error: Reason { message, kind } } =
        serde_json::from_slice(body).unwrap_or_default();
    tracing::warn!(path, %status, kind, message, "Stripe refuses a call");
    match status {
        StatusCode::PAYMENT_REQUIRED => unpaid(&message),
        StatusCode::TOO_MANY_REQUESTS => {
            let message = "the provider of payments is asked too often; try again later";
            Error::new(ErrorCode::TooManyRequests, message)
        }
        _ => Error::new(
            ErrorCode::Internal,
            "the provider of payments refuses the call; the server's log has its reason",
        ),
    }
}

fn unpaid(reason: &str) -> Error {
    Error::new(
        ErrorCode::PlanRequired,
        format!(
            "the plan could not be paid ({reason}): enter a means of payment in the customer \
             portal, GET /orgs/{{id}}/customer_portal, and subscribe again"
        ),
    )
}
