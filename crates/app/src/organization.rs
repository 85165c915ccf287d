//! Organizations. Each comes with a cluster.

use gantry_model::config::cluster::DEFAULT_NAME;
use gantry_model::organization::Organization;
use gantry_model::{Error, Id, Result};
use gantry_store::{Tx, organization};

use crate::act::act;
use crate::audit::Ledger;
use crate::{Cx, check, cluster};

/// The one plan of a self-hosted installation: no limits (design §4).
const PLAN_ID: i64 = 1;
/// Role of who created the organization.
pub(crate) const OWNER: &str = "owner";

pub async fn get(cx: &Cx, id: Id) -> Result<Organization> {
    let mut tx = cx.app.db.read().await?;
    cx.see_organization(&mut tx, id).await?;
    organization::find(&mut tx, id).await?.ok_or_else(|| Error::not_found("organization"))
}

/// Creates an organization of the user who asks, with its cluster "default".
pub async fn create(cx: &Cx, name: &str) -> Result<Organization> {
    if name.trim().is_empty() {
        return Err(Error::invalid_field("name", "must not be blank", "\"Acme\""));
    }
    let (origin, owner, name) = (cx.clone(), cx.user_id()?.to_owned(), name.to_owned());
    let id = cx.app.new_id();
    let created = act(cx, Ledger::Organization(id), move |act| {
        Box::pin(async move {
            let (made, _) = insert(&origin, act.tx, id, &owner, &name).await?;
            act.audit("organization", id, None, Some(check::json(&made)?));
            Ok(made)
        })
    });
    let created = created.await?;
    cx.app.renew_server_certificate().await?;
    Ok(created)
}

/// Creates the first organization of a user who has none.
pub async fn initialize(cx: &Cx, name: &str) -> Result<Organization> {
    let mut tx = cx.app.db.read().await?;
    if !gantry_store::user::organizations(&mut tx, cx.user_id()?).await?.is_empty() {
        return Err(Error::conflict("you already belong to an organization"));
    }
    create(cx, name).await
}

/// Inserts an organization with its owner and cluster; returns both ids' objects.
pub(crate) async fn insert(
    cx: &Cx,
    tx: &mut Tx,
    id: Id,
    owner: &str,
    name: &str,
) -> Result<(Organization, Id)> {
    let app = &cx.app;
    let now = app.now();
    let plan_id = Id::new(PLAN_ID).ok_or_else(|| Error::internal("a plan without id"))?;
    let created = Organization {
        id,
        name: name.to_owned(),
        created_at: now,
        updated_at: now,
        plan_id,
        plan_expire_time: None,
        subscription_started_at: None,
        owner_id: owner.to_owned(),
    };
    organization::insert(tx, &created, &slug(name, id)).await?;
    organization::add_member(tx, app.new_id(), id, owner, OWNER, now).await?;
    let cluster = cluster::insert(cx, tx, id, DEFAULT_NAME, None).await?;
    Ok((created, cluster.id))
}

/// The organization's part of host names: letters and digits of its name, and its id in base 36 so
/// that two of one name differ.
fn slug(name: &str, id: Id) -> String {
    let mut slug: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .take(24)
        .collect();
    let mut rest = id.get();
    while rest > 0 {
        let digit = u32::try_from(rest % 36).ok().and_then(|digit| char::from_digit(digit, 36));
        slug.extend(digit);
        rest /= 36;
    }
    slug
}
