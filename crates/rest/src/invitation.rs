//! The link of an invitation: for programs, and as small pages for people.

use axum::extract::State;
use axum::response::{Html, IntoResponse, Redirect, Response};
use gantry_app::App;
use gantry_app::invitation::{self, Followed, Invitation, Newcomer};
use gantry_model::{Error, Id, Secret};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::{Body, Params, Visitor};
use crate::html::escape;

#[derive(Deserialize)]
pub struct Link {
    email: String,
    /// A text in the contract, so that a wrong one is an unknown one.
    org_id: String,
    #[serde(default)]
    token: Option<String>,
}

/// Gantry's addition to the contract, schema `InvitationJoin`.
#[derive(Deserialize)]
pub struct Join {
    #[serde(flatten)]
    link: Link,
    first_name: String,
    last_name: String,
    password: String,
}

impl Link {
    fn invitation(&self) -> Option<Invitation> {
        let org: Id = self.org_id.parse().ok()?;
        let token = self.token.clone().map(Secret::new);
        Some(Invitation { email: self.email.clone(), org, token })
    }
}

/// Accepts; who has no account yet gets a form for one.
pub async fn accept(
    State(app): State<App>,
    headers: HeaderMap,
    visitor: Visitor,
    Params(link): Params<Link>,
) -> Response {
    let followed = match link.invitation() {
        None => Err(Error::not_found("invitation")),
        Some(invitation) => {
            let Visitor { actor, request_id } = &visitor;
            invitation::follow(&app, actor.as_ref(), request_id, &invitation).await
        }
    };
    let for_people = wants_page(&headers);
    match followed {
        Ok(Followed::Joined) if for_people => found(&app),
        Ok(Followed::Joined) => Answer::empty().into_response(),
        Ok(Followed::AccountWanted { organization, by_provider }) if for_people => {
            page(StatusCode::OK, &form(&link, &organization, by_provider))
        }
        Ok(Followed::AccountWanted { .. }) => {
            let message = "nobody has an account with this address yet: send first_name, last_name \
                           and password by POST to the same path";
            Failure::from(Error::conflict(message)).into_response()
        }
        Err(error) if for_people => refusal(error),
        Err(error) => Failure::from(error).into_response(),
    }
}

/// Makes the account and accepts.
pub async fn join(
    State(app): State<App>,
    headers: HeaderMap,
    visitor: Visitor,
    Body(join): Body<Join>,
) -> Response {
    let Join { link, first_name, last_name, password } = join;
    let newcomer = Newcomer { first_name, last_name, password: Secret::new(password) };
    let joined = match link.invitation() {
        None => Err(Error::not_found("invitation")),
        Some(invitation) => {
            invitation::join(&app, &visitor.request_id, &invitation, newcomer).await
        }
    };
    match joined {
        Ok(()) if wants_page(&headers) => Redirect::to(&console(&app)).into_response(),
        Ok(()) => Answer::empty().into_response(),
        Err(error) if wants_page(&headers) => refusal(error),
        Err(error) => Failure::from(error).into_response(),
    }
}

/// Where people go once they are members.
fn console(app: &App) -> String {
    format!("{}/", app.public_url())
}

/// The status that the contract has for the link; axum has a name for every other one.
fn found(app: &App) -> Response {
    (StatusCode::FOUND, [(LOCATION, console(app))]).into_response()
}

/// Browsers say that they take HTML.
fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// A refusal as a page: the same status and sentence as in the envelope.
fn refusal(error: Error) -> Response {
    let sentence = format!("<h1>This did not work</h1><p>{}</p>", escape(&error.message));
    let mut response = Failure::from(error).into_response();
    let shown = page(response.status(), &sentence);
    let (parts, body) = shown.into_parts();
    response.headers_mut().extend(parts.headers);
    *response.body_mut() = body;
    response
}

fn page(status: StatusCode, content: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Gantry</title>\
         <style>body{{font:16px/1.5 system-ui;max-width:24rem;margin:4rem auto;padding:0 1rem}}\
         label,input{{display:block;width:100%;box-sizing:border-box}}\
         input,button{{font:inherit;padding:.5rem;margin:.25rem 0 1rem}}</style>{content}</html>"
    );
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                  frame-ancestors 'none'; base-uri 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    // The address holds the token.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The other way to an account.
const BY_PROVIDER: &str = "<p>Or <a href=\"/api/v1/user/login\">sign in through your identity \
                           provider</a> and follow the link of the invitation again.</p>";

fn form(link: &Link, organization: &str, by_provider: bool) -> String {
    let Link { email, org_id, token } = link;
    let hidden = |name: &str, value: &str| {
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value))
    };
    let field = |name: &str, label: &str, kind: &str, more: &str| {
        format!("<label>{label}<input name=\"{name}\" type=\"{kind}\" required {more}></label>")
    };
    [
        format!("<h1>Join {}</h1>", escape(organization)),
        format!("<p>A new account for {}:</p>", escape(email)),
        "<form method=\"post\" action=\"/api/v1/user/accept_invitation\">".to_owned(),
        hidden("email", email),
        hidden("org_id", org_id),
        hidden("token", token.as_deref().unwrap_or_default()),
        field("first_name", "First name", "text", "maxlength=\"150\""),
        field("last_name", "Last name", "text", "maxlength=\"150\""),
        field("password", "Password", "password", "minlength=\"8\" autocomplete=\"new-password\""),
        "<button>Join</button></form>".to_owned(),
        if by_provider { BY_PROVIDER.to_owned() } else { String::new() },
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_link_becomes_markup() {
        let link =
            Link { email: "\"><script>".into(), org_id: "1".into(), token: Some("'<b>".into()) };
        let form = form(&link, "<img src=x>", false);
        for part in ["<script>", "<b>", "<img"] {
            assert!(!form.contains(part), "{form}");
        }
        assert!(form.contains("value=\"&quot;&gt;&lt;script&gt;\""));
    }
}
