//! Tokens that a consumer shows to APIs: signed with the consumer's credential, handed out once and
//! not stored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gantry_model::config::{ConsumerSpec, JwtRequest};
use gantry_model::{Error, Id, Result};
use gantry_store::resource::Kind;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p521::ecdsa::{Signature, SigningKey, signature::Signer};
use p521::pkcs8::DecodePrivateKey;
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
    let mut claims = custom.clone();
    claims.insert("key".into(), text(credential, "key").unwrap_or_default().into());
    claims.insert("exp".into(), expires.into());
    if text(credential, "algorithm") == Some("ES512") {
        return signed_es512(credential, &claims);
    }
    let (algorithm, key) = signing_key(credential)?;
    jsonwebtoken::encode(&Header::new(algorithm), &claims, &key)
        .map_err(|_| refused(format!("`credentials.jwt-auth` cannot sign with {algorithm:?}")))
}

/// `jsonwebtoken` does not know this algorithm.
fn signed_es512(credential: &Map<String, Value>, claims: &Map<String, Value>) -> Result<String> {
    let key = p521::SecretKey::from_pkcs8_pem(private_key(credential, "ES512")?)
        .ok()
        .and_then(|secret| SigningKey::from_bytes(&secret.to_bytes()).ok())
        .ok_or_else(|| no_private_key("ES512"))?;
    let head = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ES512"}"#);
    let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).map_err(Error::internal)?);
    let message = format!("{head}.{claims}");
    let signature: Signature =
        key.try_sign(message.as_bytes()).map_err(|_| no_private_key("ES512"))?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())))
}

/// HS* sign with the secret, the others with the private key, which a credential need not have.
fn signing_key(credential: &Map<String, Value>) -> Result<(Algorithm, EncodingKey)> {
    let name = text(credential, "algorithm").unwrap_or("HS256");
    let unknown = || refused(format!("tokens cannot be signed with {name} here"));
    let algorithm: Algorithm = name.parse().map_err(|_| unknown())?;
    if matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
        let secret = text(credential, "secret").ok_or_else(|| missing("secret", name))?;
        let is_base64 = credential.get("base64_secret") == Some(&Value::Bool(true));
        let key = if is_base64 {
            EncodingKey::from_base64_secret(secret)
                .map_err(|_| refused("`credentials.jwt-auth.secret` is not base64"))?
        } else {
            EncodingKey::from_secret(secret.as_bytes())
        };
        return Ok((algorithm, key));
    }
    let pem = private_key(credential, name)?.as_bytes();
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
        _ => EncodingKey::from_rsa_pem(pem),
    };
    Ok((algorithm, key.map_err(|_| no_private_key(name))?))
}

fn private_key<'a>(credential: &'a Map<String, Value>, algorithm: &str) -> Result<&'a str> {
    text(credential, "private_key").ok_or_else(|| missing("private_key", algorithm))
}

fn missing(field: &str, algorithm: &str) -> Error {
    refused(format!(
        "`credentials.jwt-auth.{field}` is not known here: tokens of the algorithm {algorithm} are \
         signed by whoever has it"
    ))
}

fn no_private_key(algorithm: &str) -> Error {
    refused(format!("`credentials.jwt-auth.private_key` is not a PEM private key for {algorithm}"))
}

fn text<'a>(credential: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    credential.get(field)?.as_str()
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(gantry_model::ErrorCode::InvalidArgument, message)
}
