//! The signed-in user, and the recovery of passwords from the command line.

use gantry_model::user::User;
use gantry_model::{Error, ErrorCode, Result, Secret};
use gantry_store::user::UserRow;
use gantry_store::{Tx, session, user};

use crate::seal::random_text;
use crate::{App, Cx, password};

/// Makes a local account, which belongs to no organization yet.
pub async fn create(app: &App, email: &str, chosen: Secret) -> Result<()> {
    let now = app.now();
    let row = UserRow {
        id: app.new_id().to_string(),
        email: email.trim().to_lowercase(),
        first_name: String::new(),
        last_name: String::new(),
        avatar_url: String::new(),
        connection: "local".into(),
        password_hash: password::hash(chosen).await?,
        created_at: now,
        updated_at: now,
    };
    app.db.write(move |tx| Box::pin(async move { user::insert(tx, &row).await })).await
}

/// The user who asks.
pub async fn me(cx: &Cx) -> Result<User> {
    let mut tx = cx.app.db.read().await?;
    let row = user::find(&mut tx, cx.user_id()?).await?;
    view(&mut tx, row.ok_or_else(|| Error::not_found("user"))?).await
}

/// Gives a user a new password, ends the user's sessions, and returns the password: the given one
/// or a random one.
pub async fn reset_password(app: &App, email: &str, new: Option<Secret>) -> Result<Secret> {
    let email = email.trim().to_lowercase();
    let row = user::find_by_email(&mut app.db.read().await?, &email).await?;
    let row = row.ok_or_else(|| unknown(&email))?;
    let new = new.unwrap_or_else(|| Secret::new(random_text::<15>()));
    let hash = password::hash(new.clone()).await?;
    let now = app.now();
    app.db
        .write(move |tx| {
            Box::pin(async move {
                user::set_password(tx, &row.id, &hash, now).await?;
                session::delete_all(tx, &row.id).await
            })
        })
        .await?;
    Ok(new)
}

/// Id of the user with an e-mail address, for the command line.
pub async fn id_of(app: &App, email: &str) -> Result<String> {
    let email = email.trim().to_lowercase();
    let row = user::find_by_email(&mut app.db.read().await?, &email).await?;
    Ok(row.ok_or_else(|| unknown(&email))?.id)
}

fn unknown(email: &str) -> Error {
    Error::new(ErrorCode::NotFound, format!("no user has the e-mail address `{email}`"))
}

pub(crate) async fn view(tx: &mut Tx, row: UserRow) -> Result<User> {
    let org_ids = user::organizations(tx, &row.id).await?;
    let UserRow {
        id,
        email,
        first_name,
        last_name,
        avatar_url,
        connection,
        password_hash: _,
        created_at,
        updated_at,
    } = row;
    Ok(User {
        id,
        first_name,
        last_name,
        email,
        org_ids,
        members: Vec::new(),
        connection,
        avatar_url,
        created_at,
        updated_at,
    })
}
