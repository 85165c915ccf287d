//! Accounts: the signed-in user's own, those that invitations make, and the recovery of passwords
//! from the command line.

use gantry_model::user::{LOCAL, ProductTour, User, UserUpdate};
use gantry_model::{Error, ErrorCode, Result, Secret};
use gantry_store::user::{self, UserRow};
use gantry_store::{Tx, session};
use serde_json::{Value, json};

use crate::act::{Act, act};
use crate::audit::{Entry, Ledger};
use crate::seal::random_text;
use crate::{Actor, App, Cx, member, password};

/// Kind of accounts in the audit.
const KIND: &str = "user";
/// Largest product tour kept, in bytes of JSON: it is part of every profile that is read.
const TOUR_BYTES_MAX: usize = 16 * 1024;

/// The user who asks.
pub async fn me(cx: &Cx) -> Result<User> {
    let mut tx = cx.app.db.read().await?;
    let row = user::find(&mut tx, cx.user_id()?).await?;
    view(&mut tx, row.ok_or_else(gone)?).await
}

/// Changes the names of the user who asks.
pub async fn update(cx: &Cx, update: UserUpdate) -> Result<()> {
    let UserUpdate { first_name, last_name } = update;
    own(cx, move |row| {
        row.first_name = first_name;
        row.last_name = last_name;
        Ok(())
    })
    .await
}

/// Keeps how far the user who asks has come in the product tour.
pub async fn update_product_tour(cx: &Cx, tour: ProductTour) -> Result<ProductTour> {
    let text = serde_json::to_string(&tour).map_err(Error::internal)?;
    if text.len() > TOUR_BYTES_MAX {
        let rule = format!("must not be larger than {TOUR_BYTES_MAX} bytes of JSON");
        return Err(Error::invalid_field("checklist", rule, r#"[{"name":"create_service"}]"#));
    }
    own(cx, move |row| {
        row.product_tour = Some(text);
        Ok(())
    })
    .await?;
    Ok(tour)
}

/// Gives the user who asks a new password and ends the user's other sessions. A wrong old password
/// counts as a failed sign-in.
pub async fn update_password(cx: &Cx, old: &Secret, new: Secret) -> Result<()> {
    let app = &cx.app;
    let row = user::find(&mut app.db.read().await?, cx.user_id()?).await?.ok_or_else(gone)?;
    if row.connection != LOCAL {
        let message = "you sign in through an identity provider: change your password there";
        return Err(Error::new(ErrorCode::InvalidArgument, message));
    }
    let name = format!("email {}", row.email);
    app.throttle.check(&[&name], app.now())?;
    if !password::matches(old.clone(), Some(row.password_hash.clone())).await? {
        app.throttle.failed(&[&name], app.now());
        return Err(Error::invalid_field("old_password", "must be your present password", ""));
    }
    let hash = password::hash(new).await?;
    let kept = match cx.actor {
        Actor::User { session, .. } => session,
        _ => None,
    };
    let checked = row.password_hash;
    act(cx, Ledger::User(row.id.clone()), move |act| {
        Box::pin(async move {
            let before = user::lock(act.tx, &row.id).await?.ok_or_else(gone)?;
            if before.password_hash != checked {
                return Err(Error::conflict("the password was changed at the same time"));
            }
            set_password(act, before, hash).await?;
            session::delete_others(act.tx, &row.id, kept).await
        })
    })
    .await
}

/// Deletes the account of the user who asks, with memberships, access tokens and sessions.
pub async fn delete(cx: &Cx) -> Result<()> {
    let id = cx.user_id()?.to_owned();
    act(cx, Ledger::User(id.clone()), move |act| {
        Box::pin(async move {
            let row = user::lock(act.tx, &id).await?.ok_or_else(gone)?;
            let owned = user::owned(act.tx, &id).await?;
            if !owned.is_empty() {
                return Err(Error::in_use(format!(
                    "you own the organization `{}`: transfer its ownership or delete it first",
                    owned.join("`, `")
                )));
            }
            for left in gantry_store::member::of_user(act.tx, &id).await? {
                let bindings = member::bindings_of(act.tx, left.id).await?;
                let before = Some(member::record(&left, &bindings));
                let id = left.id.to_string();
                let entry = Entry { kind: member::KIND, id, before, after: None };
                act.audit_in(Ledger::Organization(left.org_id), entry);
            }
            user::delete(act.tx, &id).await?;
            act.audit(KIND, &id, Some(record(&row)), None);
            Ok(())
        })
    })
    .await
}

/// Makes a local account with a verified address, which belongs to no organization yet; returns its
/// id. For the operator, who vouches for the address.
pub async fn create(cx: &Cx, email: &str, chosen: Secret) -> Result<String> {
    let hash = password::hash(chosen).await?;
    let row = new(&cx.app, email, hash);
    make(cx, UserRow { verified_at: Some(row.created_at), ..row }).await
}

/// The same for an address that its owner has to verify before signing in.
pub async fn create_unverified(cx: &Cx, email: &str, chosen: Secret) -> Result<String> {
    make(cx, new(&cx.app, email, password::hash(chosen).await?)).await
}

async fn make(cx: &Cx, row: UserRow) -> Result<String> {
    let id = row.id.clone();
    act(cx, Ledger::User(id.clone()), move |act| Box::pin(async move { insert(act, &row).await }))
        .await?;
    Ok(id)
}

/// Inserts an account and notes it in the account's own ledger.
pub(crate) async fn insert(act: &mut Act<'_>, row: &UserRow) -> Result<()> {
    user::insert(act.tx, row).await?;
    let entry = Entry { kind: KIND, id: row.id.clone(), before: None, after: Some(record(row)) };
    act.audit_in(Ledger::User(row.id.clone()), entry);
    Ok(())
}

/// A local account as it starts: without names, its address not verified.
pub(crate) fn new(app: &App, email: &str, password_hash: String) -> UserRow {
    let now = app.now();
    UserRow {
        id: app.new_id().to_string(),
        email: email.trim().to_lowercase(),
        first_name: String::new(),
        last_name: String::new(),
        avatar_url: String::new(),
        connection: LOCAL.into(),
        subject: None,
        password_hash,
        verified_at: None,
        product_tour: None,
        created_at: now,
        updated_at: now,
    }
}

/// Gives a user a new password, ends the user's sessions, and returns the password: the given one
/// or a random one. For the operator.
pub async fn reset_password(cx: &Cx, email: &str, new: Option<Secret>) -> Result<Secret> {
    let id = id_of(&cx.app, email).await?;
    let new = new.unwrap_or_else(|| Secret::new(random_text::<15>()));
    let hash = password::hash(new.clone()).await?;
    act(cx, Ledger::User(id.clone()), move |act| {
        Box::pin(async move {
            let before = user::lock(act.tx, &id).await?.ok_or_else(gone)?;
            if before.connection != LOCAL {
                return Err(Error::conflict("this user signs in through an identity provider"));
            }
            set_password(act, before, hash).await?;
            session::delete_all(act.tx, &id).await
        })
    })
    .await?;
    Ok(new)
}

/// Id of the user with an e-mail address, for the command line.
pub async fn id_of(app: &App, email: &str) -> Result<String> {
    let email = email.trim().to_lowercase();
    let row = user::find_by_email(&mut app.db.read().await?, &email).await?;
    let unknown =
        || Error::new(ErrorCode::NotFound, format!("no user has the e-mail address `{email}`"));
    Ok(row.ok_or_else(unknown)?.id)
}

async fn set_password(act: &mut Act<'_>, before: UserRow, hash: String) -> Result<()> {
    let after = UserRow { password_hash: hash, updated_at: act.now, ..before.clone() };
    user::update(act.tx, &after).await?;
    // The masks say that it is another one; the hash itself is nobody's business.
    let masked = |text: &str| Some(json!({ "email": before.email, "password": text }));
    act.audit(KIND, &after.id, masked("******"), masked("****** (new)"));
    Ok(())
}

/// Changes the account of the user who asks.
async fn own(
    cx: &Cx,
    change: impl FnOnce(&mut UserRow) -> Result<()> + Send + 'static,
) -> Result<()> {
    let id = cx.user_id()?.to_owned();
    act(cx, Ledger::User(id.clone()), move |act| {
        Box::pin(async move {
            let before = user::lock(act.tx, &id).await?.ok_or_else(gone)?;
            save(act, before, change).await
        })
    })
    .await
}

/// Writes what `change` makes of an account, with its audit entry.
pub(crate) async fn save(
    act: &mut Act<'_>,
    before: UserRow,
    change: impl FnOnce(&mut UserRow) -> Result<()>,
) -> Result<()> {
    let mut after = UserRow { updated_at: act.now, ..before.clone() };
    change(&mut after)?;
    user::update(act.tx, &after).await?;
    act.audit(KIND, &after.id, Some(record(&before)), Some(record(&after)));
    Ok(())
}

fn gone() -> Error {
    Error::not_found("user")
}

/// What the audit keeps of an account: no hash, no subject.
fn record(row: &UserRow) -> Value {
    json!({
        "email": row.email,
        "first_name": row.first_name,
        "last_name": row.last_name,
        "connection": row.connection,
        "verified_at": row.verified_at,
        "product_tour": row.product_tour,
    })
}

pub(crate) async fn view(tx: &mut Tx, row: UserRow) -> Result<User> {
    let memberships = gantry_store::member::of_user(tx, &row.id).await?;
    let org_ids = memberships.iter().map(|membership| membership.org_id).collect();
    let members = member::views(tx, memberships).await?;
    let UserRow {
        id,
        email,
        first_name,
        last_name,
        avatar_url,
        connection,
        subject: _,
        password_hash: _,
        verified_at: _,
        product_tour,
        created_at,
        updated_at,
    } = row;
    let tour = product_tour.map(|text| serde_json::from_str::<ProductTour>(&text)).transpose();
    Ok(User {
        id,
        first_name,
        last_name,
        email,
        org_ids,
        members,
        product_tour: tour.map_err(Error::internal)?.unwrap_or_default(),
        connection,
        avatar_url,
        created_at,
        updated_at,
    })
}
