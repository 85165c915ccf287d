//! Organizations. Each comes with a cluster.

use gantry_model::config::cluster::DEFAULT_NAME;
use gantry_model::instance::LOST_AFTER_S;
use gantry_model::organization::Organization;
use gantry_model::{Error, Id, Result};
use gantry_store::member::MemberRow;
use gantry_store::{instance, organization, user};
use serde_json::json;

use crate::act::{Act, act};
use crate::audit::Ledger;
use crate::{Cx, check, cluster, member};

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
            let (made, _) = insert(&origin, act, id, &owner, &name).await?;
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
    if !user::organizations(&mut tx, cx.user_id()?).await?.is_empty() {
        return Err(Error::conflict("you already belong to an organization"));
    }
    create(cx, name).await
}

/// Inserts an organization with its owner and cluster; returns both ids' objects.
pub(crate) async fn insert(
    cx: &Cx,
    act: &mut Act<'_>,
    id: Id,
    owner: &str,
    name: &str,
) -> Result<(Organization, Id)> {
    let (app, tx) = (&cx.app, &mut *act.tx);
    let now = app.now();
    let created = Organization {
        id,
        name: name.to_owned(),
        created_at: now,
        updated_at: now,
        plan_id: app.plans.first().id,
        plan_expire_time: None,
        subscription_started_at: None,
        owner_id: owner.to_owned(),
    };
    organization::insert(tx, &created, &slug(name, id)).await?;
    let account = user::find(tx, owner).await?.ok_or_else(|| Error::not_found("user"))?;
    let first = MemberRow {
        id: app.new_id(),
        org_id: id,
        user_id: Some(account.id),
        email: account.email,
        first_name: String::new(),
        last_name: String::new(),
        token_hash: None,
        expires_at: None,
        created_at: now,
        updated_at: now,
    };
    member::insert_owner(tx, &first).await?;
    let cluster = cluster::insert(cx, act, id, DEFAULT_NAME, None).await?;
    Ok((created, cluster.id))
}

/// Deletes an organization with its clusters and everything below; the audit stays. While it is in
/// use, only with `force`.
pub async fn delete(cx: &Cx, id: Id, force: bool) -> Result<()> {
    cx.see_organization(&mut cx.app.db.read().await?, id).await?;
    let caller = cx.user_id()?.to_owned();
    act(cx, Ledger::Organization(id), move |act| {
        Box::pin(async move {
            let found = member::locked(act.tx, id).await?;
            member::must_own(&found, &caller)?;
            if !force {
                refuse_in_use(act, &found).await?;
            }
            for cluster in gantry_store::cluster::of_organization(act.tx, id).await? {
                let row = gantry_store::cluster::lock(act.tx, cluster).await?;
                let name = row.map(|row| json!({ "name": row.name }));
                act.audit("cluster", cluster, name, None);
            }
            organization::delete(act.tx, id).await?;
            act.audit("organization", id, Some(check::json(&found)?), None);
            Ok(())
        })
    })
    .await?;
    if cx.dry_run { Ok(()) } else { cx.app.renew_server_certificate().await }
}

/// Refuses while gateways of the organization are online, or a plan is paid for.
async fn refuse_in_use(act: &mut Act<'_>, organization: &Organization) -> Result<()> {
    let since = act.now.plus_seconds(-LOST_AFTER_S);
    let online = instance::count_since(act.tx, organization.id, since).await?;
    if online > 0 {
        return Err(Error::in_use(format!(
            "{online} gateway instances of the organization are online: stop them, or repeat with \
             `force=true`"
        )));
    }
    let plan = act.app.plans.of(organization, act.now);
    let is_paid = plan.price_per_million_calls > 0 || plan.stripe_price.is_some();
    if is_paid && organization.subscription_started_at.is_some() {
        return Err(Error::in_use(format!(
            "the organization is subscribed to the plan `{}`: end the subscription, or repeat with \
             `force=true`",
            plan.name
        )));
    }
    Ok(())
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
