//! JSON Schemas as APISIX applies them: defaults are written into the document first, texts that
//! refer to a secret pass where a text is allowed, and all broken rules come back at once.

mod defaults;
mod explain;
mod own;
mod sample;

use std::fmt;

use jsonschema::Validator;
use serde_json::Value;

use defaults::Defaults;
pub use own::OwnSchema;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `headers.set[0]`; empty for the whole document.
    pub field: String,
    /// The rule, as the end of a sentence that starts with the field: "must be at least 1".
    pub rule: String,
    /// A value that would be accepted, as JSON text; empty when none can be given.
    pub example: String,
}

impl Violation {
    pub(crate) fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into(), example: String::new() }
    }

    pub(crate) fn with_example(mut self, example: &Value) -> Self {
        self.example = example.to_string();
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "it {}", self.rule)?;
        } else {
            write!(f, "`{}` {}", self.field, self.rule)?;
        }
        if !self.example.is_empty() {
            write!(f, ", for example {}", self.example)?;
        }
        Ok(())
    }
}

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Schema {
    source: &'static Value,
    validator: Validator,
    defaults: Defaults,
}

impl Schema {
    /// Compiles one of our embedded schemas. Fails only if the data is broken, which a test rules
    /// out for all of them.
    pub fn compile(source: &'static Value) -> Result<Self, String> {
        Ok(Self { source, validator: validator(source)?, defaults: Defaults::compile(source)? })
    }

    /// Writes defaults into the document and returns the rules it breaks, sorted by field.
    pub fn check(&self, document: &mut Value) -> Vec<Violation> {
        self.defaults.apply(document);
        let document = &*document;
        let mut violations: Vec<_> = self
            .validator
            .iter_errors(document)
            .filter(|error| !is_reference(error.instance()))
            .flat_map(|error| explain::violations(self.source, document, &error))
            .collect();
        violations.sort_by(|one, other| one.field.cmp(&other.field));
        violations
    }
}

/// Draft 7 with formats, as APISIX.
fn validator(schema: &Value) -> Result<Validator, String> {
    jsonschema::draft7::options()
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| format!("the schema does not compile: {error}"))
}

/// All that is wrong, as one sentence.
#[must_use]
pub fn sentence(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Spells the patterns of a schema as JSON Schema demands: APISIX's are PCRE.
pub(crate) fn portable(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(pattern) if name == "pattern" => {
                        *pattern = pattern.replace(r"\A", "^").replace(r"\z", "$");
                    }
                    value => portable(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(portable),
        _ => {}
    }
}

/// Whether a text stands for a secret that only the gateway can look up.
#[must_use]
pub(crate) fn is_reference(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("$secret://") || text.starts_with("$env://"))
}
