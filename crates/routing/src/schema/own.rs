//! Schemas that a configuration brings along, such as those of request-validation.

use jsonschema::Validator;
use serde_json::Value;

use super::{defaults::Defaults, portable, validator};

/// A compiled schema of a user's.
#[derive(Debug)]
pub struct OwnSchema {
    validator: Validator,
    defaults: Defaults,
}

impl OwnSchema {
    /// Compiles a schema, draft 7. The error is a sentence.
    pub fn compile(source: &Value) -> Result<Self, String> {
        let mut source = source.clone();
        portable(&mut source);
        Ok(Self { validator: validator(&source)?, defaults: Defaults::compile(&source)? })
    }

    /// Writes defaults into the document. The error says which rule it breaks first.
    pub fn check(&self, document: &mut Value) -> Result<(), String> {
        self.defaults.apply(document);
        self.validator.validate(document).map_err(|error| {
            let path = error.instance_path().to_string();
            match path.trim_start_matches('/').replace('/', ".") {
                path if path.is_empty() => error.to_string(),
                path => format!("property \"{path}\" validation failed: {error}"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_written_before_the_rules_are_checked() {
        let schema = json!({"type": "object", "required": ["a"],
            "properties": {"a": {"type": "integer", "default": 7}}});
        let mut document = json!({});
        OwnSchema::compile(&schema).unwrap().check(&mut document).unwrap();
        assert_eq!(document, json!({"a": 7}));
    }

    #[test]
    fn what_is_broken_is_named_by_its_path() {
        let schema = json!({"properties": {"a": {"properties": {"b": {"type": "integer"}}}}});
        let schema = OwnSchema::compile(&schema).unwrap();
        let error = schema.check(&mut json!({"a": {"b": "x"}})).unwrap_err();
        assert!(error.starts_with("property \"a.b\" validation failed: "), "{error}");
        assert!(OwnSchema::compile(&json!({"type": "no type"})).is_err());
    }
}
