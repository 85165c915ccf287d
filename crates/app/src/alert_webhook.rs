//! Webhooks of alert policies: where alerts go. Secrets and values of headers are shown to nobody.

use gantry_model::alert_webhook::{WEBHOOKS_MAX, Webhook, WebhookHeader, WebhookSpec};
use gantry_model::{Error, Id, Result, Violation};
use gantry_store::Tx;
use gantry_store::alert_webhook::{self, WebhookRow};
use serde_json::Value;
use url::{Origin, Url};

use crate::alerting::post;
use crate::change::{Change, change};
use crate::mask::MASK;
use crate::{App, Cx, Written, alert_policy, alert_template, check};

const KIND: &str = "alert_webhook";

/// Shortest key that is worth the name.
const SECRET_BYTES_MIN: usize = 16;
/// Headers that belong to the request itself.
const RESERVED: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    post::ID,
    post::SIGNATURE,
    post::TIMESTAMP,
];

/// A webhook as it is stored.
pub(crate) struct Stored {
    pub row: WebhookRow,
    pub spec: WebhookSpec,
}

pub async fn add(cx: &Cx, cluster: Id, policy: Id, spec: WebhookSpec) -> Result<Written<()>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let owner = alert_policy::find(&change.app, change.tx, cluster, policy).await?;
            check::refuse(&violations(&spec, None))?;
            if count(change.tx, policy).await? >= WEBHOOKS_MAX {
                return Err(Error::conflict(format!(
                    "an alert policy has at most {WEBHOOKS_MAX} webhooks: delete one first"
                )));
            }
            let id = change.app.new_id();
            let row = WebhookRow {
                id,
                policy_id: policy,
                name: spec.name.clone(),
                spec_sealed: change.app.sealer.seal_json(&place(id), &spec)?,
                created_at: change.now,
                updated_at: change.now,
            };
            alert_webhook::insert(change.tx, &row).await?;
            change.audit(KIND, id, None, record(&spec)?);
            alert_policy::touch(change, owner).await
        })
    })
    .await
}

/// A mask for the value of a header or for the secret keeps the stored one.
pub async fn replace(
    cx: &Cx,
    cluster: Id,
    policy: Id,
    id: Id,
    mut spec: WebhookSpec,
) -> Result<Written<()>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let owner = alert_policy::find(&change.app, change.tx, cluster, policy).await?;
            let old = find(change, policy, id).await?;
            check::refuse(&violations(&spec, Some(&old.spec)))?;
            restore(&mut spec, &old.spec);
            let row = WebhookRow {
                name: spec.name.clone(),
                spec_sealed: change.app.sealer.seal_json(&place(id), &spec)?,
                updated_at: change.now,
                ..old.row
            };
            alert_webhook::update(change.tx, &row).await?;
            change.audit(KIND, id, record(&old.spec)?, record(&spec)?);
            alert_policy::touch(change, owner).await
        })
    })
    .await
}

pub async fn delete(cx: &Cx, cluster: Id, policy: Id, id: Id) -> Result<Written<()>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let owner = alert_policy::find(&change.app, change.tx, cluster, policy).await?;
            let old = find(change, policy, id).await?;
            alert_webhook::delete(change.tx, id).await?;
            change.audit(KIND, id, record(&old.spec)?, None);
            if !owner.row.disabled && count(change.tx, policy).await? == 0 {
                let warning = "this was the last webhook of a policy that is on: its alerts reach \
                               nobody until it gets another one";
                change.warning = Some(warning.into());
            }
            alert_policy::touch(change, owner).await
        })
    })
    .await
}

/// Notes that all webhooks of a policy go with it.
pub(crate) async fn note_removal(change: &mut Change<'_>, policy: Id) -> Result<()> {
    for row in alert_webhook::of_policies(change.tx, &[policy]).await? {
        let Stored { row, spec } = opened(&change.app, row)?;
        change.audit(KIND, row.id, record(&spec)?, None);
    }
    Ok(())
}

pub(crate) async fn count(tx: &mut Tx, policy: Id) -> Result<usize> {
    Ok(alert_webhook::of_policies(tx, &[policy]).await?.len())
}

/// The webhooks of some policies as callers see them, each with its policy, oldest first.
pub(crate) async fn views(app: &App, tx: &mut Tx, policies: &[Id]) -> Result<Vec<(Id, Webhook)>> {
    let rows = alert_webhook::of_policies(tx, policies).await?;
    rows.into_iter()
        .map(|row| {
            let Stored { row, spec } = opened(app, row)?;
            let webhook = Webhook {
                id: row.id,
                spec: masked(&spec),
                create_at: row.created_at.seconds(),
                update_at: row.updated_at.seconds(),
            };
            Ok((row.policy_id, webhook))
        })
        .collect()
}

async fn find(change: &mut Change<'_>, policy: Id, id: Id) -> Result<Stored> {
    let found = known(&change.app, change.tx, policy, id).await?;
    found.ok_or_else(|| Error::not_found("webhook"))
}

/// The webhook of a policy with all its secrets, if there is one of this id.
pub(crate) async fn known(app: &App, tx: &mut Tx, policy: Id, id: Id) -> Result<Option<Stored>> {
    let row = alert_webhook::find(tx, policy, id).await?;
    row.map(|row| opened(app, row)).transpose()
}

/// All webhooks of a policy with all their secrets, oldest first.
pub(crate) async fn of_policy(app: &App, tx: &mut Tx, policy: Id) -> Result<Vec<Stored>> {
    let rows = alert_webhook::of_policies(tx, &[policy]).await?;
    rows.into_iter().map(|row| opened(app, row)).collect()
}

fn opened(app: &App, row: WebhookRow) -> Result<Stored> {
    let spec = app.sealer.open_json(&place(row.id), &row.spec_sealed)?;
    Ok(Stored { row, spec })
}

fn place(id: Id) -> String {
    format!("{KIND}/{id}")
}

fn record(spec: &WebhookSpec) -> Result<Option<Value>> {
    check::json(&masked(spec)).map(Some)
}

fn masked(spec: &WebhookSpec) -> WebhookSpec {
    let mut spec = spec.clone();
    for header in &mut spec.headers {
        MASK.clone_into(&mut header.value);
    }
    spec.secret = spec.secret.map(|_| MASK.to_owned());
    spec
}

/// Puts stored values back in the place of masks.
fn restore(spec: &mut WebhookSpec, stored: &WebhookSpec) {
    if spec.secret.as_deref() == Some(MASK) {
        spec.secret.clone_from(&stored.secret);
    }
    for header in spec.headers.iter_mut().filter(|header| header.value == MASK) {
        if let Some(known) = named(stored, &header.name) {
            known.value.clone_into(&mut header.value);
        }
    }
}

fn named<'a>(spec: &'a WebhookSpec, name: &str) -> Option<&'a WebhookHeader> {
    spec.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))
}

/// Every broken rule of a webhook that is to take the place of `stored`.
fn violations(spec: &WebhookSpec, stored: Option<&WebhookSpec>) -> Vec<Violation> {
    let mut found = Vec::new();
    let origin = match origin(&spec.url) {
        Ok(origin) => Some(origin),
        Err(rule) => {
            found.push(Violation::new("url", rule, "\"https://example.com/hook\""));
            None
        }
    };
    // Whoever may send the secrets of a webhook elsewhere could read them there.
    let moved = stored.is_some_and(|stored| self::origin(&stored.url).ok() != origin);
    for (position, header) in spec.headers.iter().enumerate() {
        let at = format!("headers[{position}]");
        let earlier = spec.headers.iter().take(position);
        if RESERVED.contains(&header.name.to_ascii_lowercase().as_str()) {
            let rule = "is set by the request itself";
            found.push(Violation::new(format!("{at}.name"), rule, "\"Authorization\""));
        } else if earlier.into_iter().any(|one| one.name.eq_ignore_ascii_case(&header.name)) {
            let rule = "stands in the list twice; the case of letters does not matter";
            found.push(Violation::new(format!("{at}.name"), rule, "\"Authorization\""));
        }
        let value = format!("{at}.value");
        if header.value == MASK {
            if stored.is_none_or(|stored| named(stored, &header.name).is_none()) {
                let rule = format!("must be the value itself: `{MASK}` stands for none here");
                found.push(Violation::new(value, rule, "\"Bearer a-token\""));
            } else if moved {
                let rule = "must be given again when `url` leads to another scheme, host or port";
                found.push(Violation::new(value, rule, "\"Bearer a-token\""));
            }
        } else if !header.value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            let rule = "must consist of printable ASCII characters";
            found.push(Violation::new(value, rule, "\"Bearer a-token\""));
        }
    }
    found.extend(secret_violation(spec, stored));
    found.extend(alert_template::violation("template", &spec.template));
    found
}

/// A masked secret may go along to another host: it is a key, and is not sent.
fn secret_violation(spec: &WebhookSpec, stored: Option<&WebhookSpec>) -> Option<Violation> {
    let secret = spec.secret.as_deref()?;
    let rule = if secret == MASK {
        let known = stored.is_some_and(|stored| stored.secret.is_some());
        if known {
            return None;
        }
        format!("must be the value itself: `{MASK}` stands for none here")
    } else if secret.len() < SECRET_BYTES_MIN {
        format!("must be at least {SECRET_BYTES_MIN} characters long")
    } else if post::key(secret).is_none() {
        format!("must have base64 behind `{}`", post::SECRET_PREFIX)
    } else {
        return None;
    };
    Some(Violation::new("secret", rule, "\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\""))
}

/// Where a URL leads, read as the client that posts will read it; an error is the rule it breaks.
/// Which hosts may be called is not decided here.
fn origin(text: &str) -> Result<Origin, &'static str> {
    if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err("must not hold spaces or control characters");
    }
    let url = Url::parse(text).map_err(|_| "must be an absolute URL with a valid host and port")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must start with http:// or https://");
    }
    // The reader forgives `https:host` and `https:\\host`; people who review URLs do not see it.
    let scheme = url.scheme().len();
    if !text.get(scheme..).is_some_and(|rest| rest.starts_with("://")) || text.contains('\\') {
        return Err("must have :// behind its scheme and no backslash");
    }
    if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
        return Err("must not hold a user name or password: use the header Authorization");
    }
    if authority(text).is_empty() {
        return Err("must name a host behind ://");
    }
    if url.port() == Some(0) {
        return Err("must not use port 0");
    }
    Ok(url.origin())
}

/// What stands between `://` and the path.
fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_web_addresses_are_accepted() {
        for good in [
            "https://example.com",
            "http://example.com:8080/hook?key=1#part",
            "HTTPS://Example.com/a@b",
            "http://[::1]:8080/",
            "http://127.0.0.1/",
        ] {
            assert!(origin(good).is_ok(), "{good}: {:?}", origin(good));
        }
        for bad in [
            "example.com/hook",
            "/hook",
            "ftp://example.com",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https:example.com",
            "https:\\\\example.com",
            "https://",
            "https:///hook",
            "https://user:secret@example.com",
            "https://user@example.com",
            "https://@example.com",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://exa mple.com",
            " https://example.com",
            "https://example.com/\nHost: other",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    fn webhook(url: &str, value: &str) -> WebhookSpec {
        WebhookSpec {
            name: "chat".into(),
            description: None,
            url: url.into(),
            method: gantry_model::alert_webhook::WebhookMethod::Post,
            skip_tls_verify: false,
            headers: vec![WebhookHeader { name: "X-Key".into(), value: value.into() }],
            template: "{{.Title}}".into(),
            secret: None,
        }
    }

    #[test]
    fn a_mask_keeps_the_value_but_not_for_another_host() {
        let stored = webhook("https://example.com/a", "hush");
        let mut same = masked(&webhook("https://example.com/b", "hush"));
        same.headers[0].name = "x-key".into();
        assert_eq!(violations(&same, Some(&stored)), []);
        restore(&mut same, &stored);
        assert_eq!(same.headers[0].value, "hush");
        for (spec, stored) in [
            (webhook("https://other.example.com/a", MASK), Some(&stored)),
            (webhook("http://example.com/a", MASK), Some(&stored)),
            (webhook("https://example.com/a", MASK), None),
        ] {
            let found = violations(&spec, stored);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].field, "headers[0].value");
        }
    }
}
