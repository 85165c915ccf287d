//! Writing the defaults of a schema into a document, as APISIX does while it validates.

use jsonschema::Validator;
use serde_json::{Map, Value};

/// Where a schema has defaults; the parts that have none are left out.
#[derive(Debug, Default)]
pub(super) struct Defaults {
    properties: Vec<Property>,
    items: Option<Box<Defaults>>,
    all: Vec<Defaults>,
    /// Of `oneOf` and `anyOf`: apply to documents that fit.
    choices: Vec<(Validator, Defaults)>,
    condition: Option<Box<Condition>>,
    /// Apply if the property is there.
    dependencies: Vec<(String, Defaults)>,
}

#[derive(Debug)]
struct Property {
    name: String,
    default: Option<Value>,
    inner: Defaults,
}

#[derive(Debug)]
struct Condition {
    when: Validator,
    then: Defaults,
    otherwise: Defaults,
}

impl Defaults {
    pub fn compile(schema: &Value) -> Result<Self, String> {
        let Value::Object(schema) = schema else { return Ok(Self::default()) };
        let mut defaults = Self {
            items: schema.get("items").map(Self::compile).transpose()?.map(Box::new),
            condition: Self::compile_condition(schema)?,
            ..Self::default()
        };
        defaults.items = defaults.items.filter(|items| !items.is_empty());
        for (name, property) in entries(schema, "properties") {
            let default = property.get("default").cloned();
            let inner = Self::compile(property)?;
            if default.is_some() || !inner.is_empty() {
                defaults.properties.push(Property { name: name.clone(), default, inner });
            }
        }
        for part in list(schema, "allOf") {
            defaults.all.push(Self::compile(part)?);
        }
        for choice in list(schema, "oneOf").chain(list(schema, "anyOf")) {
            let inner = Self::compile(choice)?;
            if !inner.is_empty() {
                defaults.choices.push((super::validator(choice)?, inner));
            }
        }
        for (name, dependency) in entries(schema, "dependencies") {
            defaults.dependencies.push((name.clone(), Self::compile(dependency)?));
        }
        defaults.all.retain(|part| !part.is_empty());
        defaults.dependencies.retain(|(_, part)| !part.is_empty());
        Ok(defaults)
    }

    fn compile_condition(schema: &Map<String, Value>) -> Result<Option<Box<Condition>>, String> {
        let Some(when) = schema.get("if") else { return Ok(None) };
        let branch = |name| schema.get(name).map_or_else(|| Ok(Self::default()), Self::compile);
        let (then, otherwise) = (branch("then")?, branch("else")?);
        if then.is_empty() && otherwise.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(Condition { when: super::validator(when)?, then, otherwise })))
    }

    fn is_empty(&self) -> bool {
        let Self { properties, items, all, choices, condition, dependencies } = self;
        properties.is_empty()
            && items.is_none()
            && all.is_empty()
            && choices.is_empty()
            && condition.is_none()
            && dependencies.is_empty()
    }

    /// Fills in what is absent. What is there stays, also if it is null.
    pub fn apply(&self, document: &mut Value) {
        if let Value::Object(map) = document {
            for property in &self.properties {
                property.apply(map);
            }
        }
        if let (Some(items), Value::Array(list)) = (&self.items, &mut *document) {
            list.iter_mut().for_each(|item| items.apply(item));
        }
        self.all.iter().for_each(|part| part.apply(document));
        for (name, part) in &self.dependencies {
            if document.get(name).is_some() {
                part.apply(document);
            }
        }
        for (fits, part) in &self.choices {
            if fits.is_valid(document) {
                part.apply(document);
            }
        }
        if let Some(condition) = &self.condition {
            let holds = condition.when.is_valid(document);
            let branch = if holds { &condition.then } else { &condition.otherwise };
            branch.apply(document);
        }
    }
}

impl Property {
    fn apply(&self, map: &mut Map<String, Value>) {
        if let (Some(default), false) = (&self.default, map.contains_key(&self.name)) {
            map.insert(self.name.clone(), default.clone());
        }
        if let Some(value) = map.get_mut(&self.name) {
            self.inner.apply(value);
        }
    }
}

fn entries<'a>(
    schema: &'a Map<String, Value>,
    keyword: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema.get(keyword).and_then(Value::as_object).into_iter().flatten()
}

fn list<'a>(schema: &'a Map<String, Value>, keyword: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn filled(schema: &Value, mut document: Value) -> Value {
        Defaults::compile(schema).unwrap().apply(&mut document);
        document
    }

    #[test]
    fn absent_properties_are_filled_in_at_every_depth() {
        let schema = json!({"properties": {
            "a": {"default": 1},
            "b": {"type": "array", "items": {"properties": {"c": {"default": "x"}}}},
        }});
        assert_eq!(
            filled(&schema, json!({"b": [{}, {"c": "y"}]})),
            json!({"a": 1, "b": [{"c": "x"}, {"c": "y"}]})
        );
        assert_eq!(filled(&schema, json!({"a": null})), json!({"a": null}));
        assert_eq!(filled(&schema, json!([])), json!([]));
    }

    #[test]
    fn conditions_see_the_defaults() {
        let schema = json!({
            "properties": {"policy": {"default": "local"}},
            "if": {"properties": {"policy": {"enum": ["redis"]}}},
            "then": {"properties": {"port": {"default": 6379}}},
        });
        assert_eq!(filled(&schema, json!({})), json!({"policy": "local"}));
        assert_eq!(
            filled(&schema, json!({"policy": "redis"})),
            json!({"policy": "redis", "port": 6379})
        );
    }
}
