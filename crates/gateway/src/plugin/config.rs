//! Reads plugin configurations that have passed their schema, with sentences for what the
//! schema could not see.

use http::{HeaderName, HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a configuration into its struct.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| format!("the configuration cannot be read: {error}"))
}

/// A header name out of a configuration.
pub fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(name).map_err(|_| format!("`{name}` is not a header name"))
}

/// A header value out of a configuration.
pub fn header_value(value: &str) -> Result<HeaderValue, String> {
    HeaderValue::try_from(value).map_err(|_| format!("`{value}` does not fit into a header"))
}

/// A status code out of a configuration.
pub fn status(code: u16) -> Result<StatusCode, String> {
    StatusCode::from_u16(code).map_err(|_| format!("{code} is not a status code"))
}
