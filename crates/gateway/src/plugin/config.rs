//! Reads plugin configurations that have passed their schema, with sentences for what the
//! schema could not see.

use http::{HeaderName, HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

/// Largest whole number that a float tells from its neighbours, with room to spare.
const WHOLE_MAX: f64 = 9e15;

/// Reads a configuration into its struct. Whole numbers may be written as `1.0` or `1e1`: JSON Schema
/// takes them for integers, and so does APISIX.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    let read = match has_whole_float(value) {
        true => T::deserialize(&with_integers(value)),
        false => T::deserialize(value),
    };
    read.map_err(|error| format!("the configuration cannot be read: {error}"))
}

fn has_whole_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => integer(number).is_some(),
        Value::Array(items) => items.iter().any(has_whole_float),
        Value::Object(fields) => fields.values().any(has_whole_float),
        _ => false,
    }
}

fn with_integers(value: &Value) -> Value {
    match value {
        Value::Number(number) => integer(number).map_or_else(|| value.clone(), Value::from),
        Value::Array(items) => items.iter().map(with_integers).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), with_integers(value))).collect()
        }
        other => other.clone(),
    }
}

/// The integer that a float stands for.
fn integer(number: &Number) -> Option<i64> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    (float.fract() == 0.0 && float.abs() <= WHOLE_MAX).then_some(float as i64)
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize, Debug, PartialEq)]
    struct Config {
        code: u16,
        wait: f64,
        list: Vec<i64>,
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        let value = json!({"code": 429.0, "wait": 2.0, "list": [1e1, -3.0, 4]});
        let expected = Config { code: 429, wait: 2.0, list: vec![10, -3, 4] };
        assert_eq!(read::<Config>(&value), Ok(expected));
        for code in [json!(429.5), json!(-1.0), json!(1e300)] {
            let value = json!({"code": code, "wait": 0.5, "list": []});
            assert!(read::<Config>(&value).is_err(), "{code}");
        }
    }
}
