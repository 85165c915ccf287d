//! Plans, subscriptions, invoices, and the page for those who have no other portal.

use axum::response::{Html, IntoResponse as _, Response};
use gantry_app::{billing, plan};
use gantry_model::plan::{Invoice, Plan, SubscriptionCreate};
use http::StatusCode;
use http::header::LOCATION;

use crate::answer::{Answer, Reply};
use crate::error::Failure;
use crate::extract::{Body, Caller, OfOrganization, Params};

pub async fn plan(
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
) -> Reply<Plan> {
    Ok(Answer::new(plan::get(&cx, id).await?))
}

pub async fn subscribe(
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
    Body(SubscriptionCreate { plan }): Body<SubscriptionCreate>,
) -> Reply<()> {
    billing::subscribe(&cx, id, &plan).await?;
    Ok(Answer::empty())
}

pub async fn upcoming_invoice(
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
) -> Reply<Invoice> {
    Ok(Answer::new(billing::upcoming_invoice(&cx, id).await?))
}

pub async fn customer_portal(
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
) -> Result<Response, Failure> {
    let url = billing::customer_portal(&cx, id).await?;
    Ok((StatusCode::FOUND, [(LOCATION, url)]).into_response())
}

/// Shows plan and next invoice to whoever is signed in; the page itself knows nothing.
pub async fn page() -> Html<&'static str> {
    Html(include_str!("../assets/billing.html"))
}
