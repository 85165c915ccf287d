//! Tokens that a consumer shows to APIs: signed with the consumer's credential, handed out once and
//! not stored.

use gantry_model::config::{ConsumerSpec, JwtRequest};
use gantry_model::{Error, Id, Result};
use gantry_store::resource::Kind;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use crate::mask::MASK;
use crate::object::{self, Stored};
use crate::{Cx, Written, mask};

/// The kind of credential that tokens are signed with.
const PLUGIN: &str = "jwt-auth";

/// Claims that say whose a token is and until when; nobody may choose them.
const OWN_CLAIMS: [&str; 2] = ["key", "exp"];

/// Issues a token. A dry run does not: its token would work, and no audit entry would tell of it.
pub async fn create(cx: &Cx, cluster: Id, id: Id, request: JwtRequest) -> Result<Written<String>> {
    let dry_run = cx.dry_run;
    object::edit(cx, cluster, cluster, id, move |change, consumer: Stored<ConsumerSpec>| {
        Box::pin(async move {
            let now = change.now.seconds();
            let expires = now.checked_add(request.ttl).ok_or_else(|| {
                Error::invalid_field("ttl", "must be a number of seconds one can live", "86400")
            })?;
            let claims = request.custom_payload;
            let token = signed(&consumer.spec, &claims, expires)?;
            let issued = json!({ "exp": expires, "custom_payload": claims });
            let issued = json!({ "jwt": mask::document(issued) });
            change.audit(Kind::Consumer.name(), id, None, Some(issued));
            Ok(if dry_run { MASK.to_owned() } else { token })
        })
    })
    .await
}

fn signed(consumer: &ConsumerSpec, custom: &Map<String, Value>, expires: i64) -> Result<String> {
    if let Some(claim) = OWN_CLAIMS.into_iter().find(|claim| custom.contains_key(*claim)) {
        let field = format!("custom_payload.{claim}");
        let rule = "must not be given: it says whose the token is and until when";
        return Err(Error::invalid_field(field, rule, r#"{"role":"admin"}"#));
    }
    let credential =
        consumer.credentials.get(PLUGIN).and_then(Value::as_object).ok_or_else(|| {
            refused("the consumer has no `credentials.jwt-auth`, with which its tokens are signed")
        })?;
    let (algorithm, key) = signing_key(credential)?;
    let mut claims = custom.clone();
    claims.insert("key".into(), text(credential, "key").unwrap_or_default().into());
    claims.insert("exp".into(), expires.into());
    jsonwebtoken::encode(&Header::new(algorithm), &claims, &key)
        .map_err(|_| refused(format!("`credentials.jwt-auth` cannot sign with {algorithm:?}")))
}

/// HS* sign with the secret, the others with the private key, which a credential need not have.
fn signing_key(credential: &Map<String, Value>) -> Result<(Algorithm, EncodingKey)> {
    let name = text(credential, "algorithm").unwrap_or("HS256");
    let unknown = || refused(format!("tokens cannot be signed with {name} here"));
    let algorithm: Algorithm = name.parse().map_err(|_| unknown())?;
    let missing = |field: &str| {
        refused(format!(
            "`credentials.jwt-auth.{field}` is not known here: tokens of the algorithm {name} are \
             signed by whoever has it"
        ))
    };
    if matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
        let secret = text(credential, "secret").ok_or_else(|| missing("secret"))?;
        let is_base64 = credential.get("base64_secret") == Some(&Value::Bool(true));
        let key = if is_base64 {
            EncodingKey::from_base64_secret(secret)
                .map_err(|_| refused("`credentials.jwt-auth.secret` is not base64"))?
        } else {
            EncodingKey::from_secret(secret.as_bytes())
        };
        return Ok((algorithm, key));
    }
    let pem = text(credential, "private_key").ok_or_else(|| missing("private_key"))?.as_bytes();
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
        _ => EncodingKey::from_rsa_pem(pem),
    };
    let message = format!("`credentials.jwt-auth.private_key` is not a PEM private key for {name}");
    Ok((algorithm, key.map_err(|_| refused(message))?))
}

fn text<'a>(credential: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    credential.get(field)?.as_str()
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(gantry_model::ErrorCode::InvalidArgument, message)
}
