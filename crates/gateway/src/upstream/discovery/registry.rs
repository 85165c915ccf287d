//! A registry as configured: the entry of APISIX's `discovery.kubernetes`, at
//! `/apisix/cluster_registries/{id}`. Besides APISIX's own fields, `service.ca` (PEM) and
//! `service.ca_file` name the authority of an API server that is verified.

use fancy_regex::Regex;
use gantry_routing::regex;
use serde::Deserialize;
use serde_json::Value;

/// A Kubernetes API server and what of it is of interest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Registry {
    pub service: Service,
    pub client: Client,
    pub namespace_selector: Option<NamespaceSelector>,
    #[serde(default)]
    pub label_selector: String,
    #[serde(default = "weight")]
    pub default_weight: u32,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Service {
    #[serde(default = "https")]
    pub schema: String,
    pub host: String,
    /// Text or a number.
    pub port: Value,
    #[serde(default)]
    pub ssl_verify: bool,
    pub ca: Option<String>,
    pub ca_file: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Client {
    pub token: Option<String>,
    pub token_file: Option<String>,
}

/// One of these.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NamespaceSelector {
    pub equal: Option<String>,
    pub not_equal: Option<String>,
    pub r#match: Option<Vec<String>>,
    pub not_match: Option<Vec<String>>,
}

fn weight() -> u32 {
    50
}

fn https() -> String {
    "https".to_owned()
}

impl Registry {
    /// Reads the document of a registry.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(document).map_err(|error| format!("it cannot be used: {error}"))
    }

    /// `https://host:port` of the API server.
    pub fn origin(&self) -> Result<String, String> {
        let Service { schema, host, port, .. } = &self.service;
        if !matches!(schema.as_str(), "http" | "https") {
            return Err(format!("`service.schema`: `{schema}` is neither http nor https"));
        }
        let port = match port {
            Value::String(port) => expanded(port)?,
            port => port.to_string(),
        };
        let host = expanded(host)?;
        let host =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
        Ok(format!("{schema}://{host}:{port}"))
    }

    /// The HTTP client for the API server.
    pub fn http(&self) -> Result<reqwest::Client, String> {
        let Service { ssl_verify, ca, ca_file, .. } = &self.service;
        let mut builder = reqwest::Client::builder().no_proxy().connect_timeout(super::LOOK);
        let authority = match (ca, ca_file) {
            (Some(pem), _) => Some(pem.clone()),
            (None, Some(path)) => {
                let read = std::fs::read_to_string(expanded(path)?);
                Some(read.map_err(|error| format!("`service.ca_file`: {error}"))?)
            }
            (None, None) => None,
        };
        if !ssl_verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        } else if let Some(pem) = authority {
            let list = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
            builder =
                builder.tls_certs_only(list.map_err(|error| format!("`service.ca`: {error}"))?);
        }
        builder.build().map_err(|error| format!("the client: {error}"))
    }
}

impl Client {
    /// The token; a file is read again each time, because Kubernetes renews it.
    pub async fn token(&self) -> Result<Option<String>, String> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => expanded(token).map(Some),
            (None, Some(path)) => match tokio::fs::read_to_string(expanded(path)?).await {
                Ok(token) => Ok(Some(token.trim().to_owned())),
                Err(error) => Err(format!("the token file {path}: {error}")),
            },
            (None, None) => Ok(None),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it is the configuration that names a variable")]
/// `${NAME}` becomes the environment's value.
fn expanded(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    match name {
        None => Ok(text.to_owned()),
        Some(name) => {
            std::env::var(name).map_err(|_| format!("the environment has no variable `{name}`"))
        }
    }
}

/// Which namespaces count.
pub enum Namespaces {
    All,
    One(String),
    Not(String),
    Matching { patterns: Vec<Regex>, wanted: bool },
}

impl Namespaces {
    /// Compiles a selector; the patterns have to match the whole name.
    pub fn compile(selector: Option<&NamespaceSelector>) -> Result<Self, String> {
        let compile = |patterns: &[String]| {
            let whole = |pattern: &String| regex::compile(&format!("^(?:{pattern})$"), false);
            patterns.iter().map(whole).collect::<Result<Vec<_>, _>>()
        };
        let Some(NamespaceSelector { equal, not_equal, r#match, not_match }) = selector else {
            return Ok(Self::All);
        };
        Ok(match (equal, not_equal, r#match, not_match) {
            (Some(name), _, _, _) => Self::One(name.clone()),
            (_, Some(name), _, _) => Self::Not(name.clone()),
            (_, _, Some(list), _) => Self::Matching { patterns: compile(list)?, wanted: true },
            (_, _, _, Some(list)) => Self::Matching { patterns: compile(list)?, wanted: false },
            (None, None, None, None) => Self::All,
        })
    }

    /// Whether endpoints of this namespace count.
    #[must_use]
    pub fn contain(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(name) => name == namespace,
            Self::Not(name) => name != namespace,
            Self::Matching { patterns, wanted } => {
                let fits = |pattern: &Regex| pattern.is_match(namespace).unwrap_or(false);
                patterns.iter().any(fits) == *wanted
            }
        }
    }
}
