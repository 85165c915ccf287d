//! Where the public Go SDK and the reference disagree about an answer (contract, `x-sdk-compat`).

use axum::extract::FromRequestParts;
use gantry_app::App;
use gantry_app::compat::GoSdk;
use gantry_model::Page;
use http::HeaderMap;
use http::header::USER_AGENT;
use http::request::Parts;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::error::Failure;

/// How the name of clients made with Go's standard library starts.
const GO_CLIENT: &str = "Go-http-client/";

/// Which form the caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Reference,
    Sdk,
}

/// A list: a bare array in the reference, `{list, count}` in the SDK.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Listed<T> {
    Reference(Vec<T>),
    Sdk(Page<T>),
}

/// An answer that names kinds of service registries: the SDK numbers them.
pub struct Shaped<T> {
    form: Form,
    payload: T,
}

/// The number of the kind `kubernetes`, the only one.
const KUBERNETES: u8 = 1;

impl<T: Serialize> Serialize for Shaped<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.form == Form::Reference {
            return self.payload.serialize(serializer);
        }
        let mut payload = serde_json::to_value(&self.payload).map_err(S::Error::custom)?;
        number_kinds(&mut payload);
        payload.serialize(serializer)
    }
}

/// Puts numbers in place of the kinds in a registry, an application, an API with its application, or
/// a list of these.
fn number_kinds(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    for name in ["list", "upstreams"] {
        let list = fields.get_mut(name).and_then(Value::as_array_mut);
        list.into_iter().flatten().for_each(number_kinds);
    }
    for name in ["application", "upstream", "service_discovery"] {
        fields.get_mut(name).into_iter().for_each(number_kinds);
    }
    if fields.contains_key("kubernetes") {
        fields.insert("type".into(), KUBERNETES.into());
    }
    if fields.contains_key("kubernetes_service") {
        fields.insert("service_registry".into(), KUBERNETES.into());
    }
}

impl Form {
    /// The answer in this form.
    pub fn shaped<T>(self, payload: T) -> Shaped<T> {
        Shaped { form: self, payload }
    }

    fn of(setting: GoSdk, headers: &HeaderMap) -> Self {
        let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let is_sdk = match setting {
            GoSdk::On => true,
            GoSdk::Off => false,
            GoSdk::Auto => agent.is_some_and(|agent| agent.starts_with(GO_CLIENT)),
        };
        if is_sdk { Self::Sdk } else { Self::Reference }
    }

    pub fn list<T>(self, page: Page<T>) -> Listed<T> {
        match self {
            Self::Reference => Listed::Reference(page.list),
            Self::Sdk => Listed::Sdk(page),
        }
    }
}

impl FromRequestParts<App> for Form {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        Ok(Self::of(app.compat_go_sdk(), &parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_go_client_is_known_by_its_name_unless_the_setting_says_otherwise() {
        let mut go = HeaderMap::new();
        go.insert(USER_AGENT, HeaderValue::from_static("Go-http-client/2.0"));
        let mut curl = HeaderMap::new();
        curl.insert(USER_AGENT, HeaderValue::from_static("curl/8.5.0 Go-http-client/"));
        assert_eq!(Form::of(GoSdk::Auto, &go), Form::Sdk);
        assert_eq!(Form::of(GoSdk::Auto, &curl), Form::Reference);
        assert_eq!(Form::of(GoSdk::Auto, &HeaderMap::new()), Form::Reference);
        assert_eq!(Form::of(GoSdk::Off, &go), Form::Reference);
        assert_eq!(Form::of(GoSdk::On, &curl), Form::Sdk);
    }
}
