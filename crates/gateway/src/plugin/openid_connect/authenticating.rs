//! How this client says who it is when it asks the provider (OpenID Connect Core, section 9).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, json};

use super::{now, provider::encoded, random, settings::Config};
use crate::plugin::jws::Signer;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// One way to say so.
pub struct Auth {
    client_id: String,
    /// None for clients that only their redirections identify.
    secret: Option<String>,
    method: Method,
}

enum Method {
    Basic,
    Post,
    Assertion(Box<Assertion>),
}

/// A token that says so (RFC 7523).
struct Assertion {
    signer: Signer,
    key_id: Option<String>,
    /// None is for whom it is sent to.
    audience: Option<String>,
    /// Seconds.
    expires_in: i64,
}

/// What is added to a question.
pub struct Added {
    /// The value of `Authorization`.
    pub header: Option<String>,
    pub fields: Vec<(&'static str, String)>,
}

impl Auth {
    /// `field` names the setting that `method` comes from.
    pub fn new(config: &Config, method: &str, field: &str) -> Result<Self, String> {
        let method = match method {
            "client_secret_basic" => Method::Basic,
            "client_secret_post" => Method::Post,
            "client_secret_jwt" | "private_key_jwt" => {
                Method::Assertion(Box::new(Assertion::new(config, method)?))
            }
            other => return Err(format!("`{field}`: `{other}` is not supported")),
        };
        let (client_id, secret) = (config.client_id.clone(), config.client_secret.clone());
        Ok(Self { client_id, secret, method })
    }

    /// What is to be added to a question for `url`.
    pub fn added(&self, url: &str) -> Result<Added, String> {
        let id = ("client_id", self.client_id.clone());
        Ok(match (&self.method, &self.secret) {
            (Method::Basic, Some(secret)) => {
                // Both halves are form-encoded first (RFC 6749, section 2.3.1).
                let pair = format!("{}:{}", encoded(&self.client_id), encoded(secret));
                let header = Some(format!("Basic {}", STANDARD.encode(pair)));
                Added { header, fields: Vec::new() }
            }
            (Method::Assertion(assertion), _) => {
                let token = assertion.token(&self.client_id, url)?;
                let kind = ("client_assertion_type", ASSERTION_TYPE.to_owned());
                Added { header: None, fields: vec![id, kind, ("client_assertion", token)] }
            }
            (_, secret) => {
                let secret = secret.iter().map(|secret| ("client_secret", secret.clone()));
                Added { header: None, fields: std::iter::once(id).chain(secret).collect() }
            }
        })
    }
}

impl Assertion {
    fn new(config: &Config, method: &str) -> Result<Self, String> {
        let algorithm = config.client_jwt_assertion_alg.as_deref();
        let signer = if method == "client_secret_jwt" {
            let secret = config.client_secret.as_deref();
            let secret = secret.ok_or("`client_secret` is required for client_secret_jwt")?;
            Signer::shared(algorithm.unwrap_or("HS256"), secret)
                .ok_or("`client_jwt_assertion_alg`: client_secret_jwt needs HS256 or HS512")?
        } else {
            let pem = config.client_rsa_private_key.as_deref();
            let pem = pem.ok_or("`client_rsa_private_key` is required for private_key_jwt")?;
            let algorithm = algorithm.unwrap_or("RS256");
            Signer::private(algorithm, pem).ok_or_else(|| {
                format!("`client_rsa_private_key` is not a PEM private key for {algorithm}")
            })?
        };
        Ok(Self {
            signer,
            key_id: config.client_rsa_private_key_id.clone(),
            audience: config.client_jwt_assertion_audience.clone(),
            expires_in: config.client_jwt_assertion_expires_in,
        })
    }

    fn token(&self, client_id: &str, url: &str) -> Result<String, String> {
        let mut head = Map::new();
        head.insert("typ".to_owned(), "JWT".into());
        if let Some(id) = &self.key_id {
            head.insert("kid".to_owned(), id.as_str().into());
        }
        let now = now();
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": self.audience.as_deref().unwrap_or(url),
            "jti": random(),
            "iat": now,
            "exp": now.saturating_add(self.expires_in),
        });
        self.signer.sign(head, &claims)
    }
}
