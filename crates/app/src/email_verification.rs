//! Proof that an address belongs to whoever made a local account: a link, sent there by mail, that
//! works once and not for long.

use gantry_model::{Error, ErrorCode, Result};
use gantry_store::email_verification;
use gantry_store::user::{self, UserRow};

use crate::act::act;
use crate::audit::Ledger;
use crate::mail::{Delivery, Mail};
use crate::seal::random_text;
use crate::session::Visitor;
use crate::{Actor, App, Cx};

/// How long a link works.
const LINK_S: i64 = 24 * 3600;
/// Mails that one user, or one network address, may ask for in a while.
const MAILS_MAX: u32 = 3;

/// Sends the link again to a user whose address is not verified. The caller learns neither whether
/// there is such a user nor whether a mail went out: the work goes on after the answer.
pub fn resend(app: &App, user_id: &str, visitor: &Visitor) -> Result<()> {
    let names = [format!("mail {user_id}"), format!("mail from {}", visitor.address)];
    let now = app.now();
    if !names.iter().all(|name| app.throttle.take(name, MAILS_MAX, now)) {
        let message = "a mail was asked for several times just now: try again in 5 minutes";
        return Err(Error::new(ErrorCode::TooManyRequests, message));
    }
    let (app, user_id, request_id) = (app.clone(), user_id.to_owned(), visitor.request_id.clone());
    tokio::spawn(async move {
        if let Err(error) = send(&app, &user_id, request_id).await {
            let reason = &error as &dyn std::error::Error;
            tracing::error!(error = reason, user_id, "a verification mail was not sent");
        }
    });
    Ok(())
}

/// Sends a user, if there is one whose address is not verified, a new link.
async fn send(app: &App, user_id: &str, request_id: String) -> Result<()> {
    let Some(user) = user::find(&mut app.db.read().await?, user_id).await? else { return Ok(()) };
    if user.verified_at.is_some() {
        return Ok(());
    }
    let token = random_text::<32>();
    let hash = app.sealer.hash(&token);
    let cx = Cx { request_id, ..Cx::system(app, "resendVerificationEmail") };
    let id = user.id.clone();
    act(&cx, Ledger::User(id.clone()), move |act| {
        Box::pin(async move {
            let end = act.now.plus_seconds(LINK_S);
            email_verification::insert(act.tx, &hash, &id, end).await?;
            act.audit("email_verification", &id, None, Some(serde_json::json!({ "until": end })));
            Ok(())
        })
    })
    .await?;
    let link = format!("{}/api/v1/user/verify_email?token={token}", app.public_url);
    let mail = Mail {
        to: user.email,
        subject: "Confirm your e-mail address".into(),
        text: format!(
            "Somebody, we hope you, has an account at {} with this address.\n\n\
             Open this link within a day to confirm that the address is yours:\n\n{link}\n\n\
             If it was not you, there is nothing to do.\n",
            app.public_url
        ),
    };
    if app.mailer.send(mail).await? == Delivery::NotConfigured {
        tracing::warn!(user_id, link, "no mail server is named: hand this link to the user");
    }
    Ok(())
}

/// Uses a link up: the address of its user is verified from now on.
pub async fn confirm(app: &App, token: &str, visitor: &Visitor) -> Result<()> {
    let hash = app.sealer.hash(token);
    let found = email_verification::user(&mut app.db.read().await?, &hash, app.now()).await?;
    let id = found.ok_or_else(useless)?;
    let UserRow { email, .. } =
        user::find(&mut app.db.read().await?, &id).await?.ok_or_else(useless)?;
    let cx = Cx {
        actor: Actor::User { id: id.clone(), email, session: None },
        request_id: visitor.request_id.clone(),
        ..Cx::system(app, "verifyEmail")
    };
    act(&cx, Ledger::User(id.clone()), move |act| {
        Box::pin(async move {
            let before = user::lock(act.tx, &id).await?.ok_or_else(useless)?;
            // Somebody else may have used it up while we waited for the lock.
            email_verification::user(act.tx, &hash, act.now).await?.ok_or_else(useless)?;
            email_verification::delete_all(act.tx, &id).await?;
            let now = act.now;
            crate::user::save(act, before, |row| {
                row.verified_at = Some(now);
                Ok(())
            })
            .await
        })
    })
    .await
}

fn useless() -> Error {
    Error::invalid_field("token", "must be one that was sent within a day and not used yet", "")
}
