//! Schemas on the reference page: each named one once, everything else links to it.

use serde_json::Value;

use super::text;
use crate::html::{escape, prose};

/// Keywords that are rules, as the page calls them.
const RULES: [(&str, &str); 12] = [
    ("minimum", "≥"),
    ("maximum", "≤"),
    ("minLength", "length ≥"),
    ("maxLength", "length ≤"),
    ("minItems", "items ≥"),
    ("maxItems", "items ≤"),
    ("minProperties", "fields ≥"),
    ("maxProperties", "fields ≤"),
    ("pattern", "matches"),
    ("format", "format"),
    ("default", "default"),
    ("example", "such as"),
];

/// All named schemas.
pub fn section(document: &Value) -> String {
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    let articles: String = schemas
        .map(|(name, schema)| {
            let description = prose(text(&schema["description"]));
            let fields = body(schema);
            format!("<article id=\"schema-{name}\"><h3>{name}</h3>{description}{fields}</article>")
        })
        .collect();
    format!("<section id=\"schemas\"><h2>Schemas</h2>{articles}</section>")
}

/// A schema where it is used: the link to a named one, the fields of another.
pub fn fields(schema: &Value) -> String {
    if schema.get("$ref").is_some() { format!("<p>{}</p>", kind(schema)) } else { body(schema) }
}

/// The fields of a schema, or what else it is.
fn body(schema: &Value) -> String {
    let mut body = String::new();
    for (word, joined) in [("allOf", "All of"), ("anyOf", "Any of"), ("oneOf", "One of")] {
        let parts: Vec<&Value> = schema[word].as_array().into_iter().flatten().collect();
        if !parts.is_empty() {
            let parts: String =
                parts.iter().map(|part| format!("<li>{}</li>", fields(part))).collect();
            body += &format!("<p>{joined}:</p><ul>{parts}</ul>");
        }
    }
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let rows: String = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, field)| {
            let needed = if required.contains(&name.as_str()) { "required " } else { "" };
            format!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{needed}{}</td><td>{}{}</td></tr>",
                escape(name),
                kind(field),
                rules(field),
                escape(text(&field["description"])),
                nested(field),
            )
        })
        .collect();
    if !rows.is_empty() {
        body += &format!(
            "<table><thead><tr><th>Field</th><th>Type</th><th>Rules</th><th></th></tr></thead>\
             <tbody>{rows}</tbody></table>"
        );
    }
    if body.is_empty() { format!("<p>{} {}</p>", kind(schema), rules(schema)) } else { body }
}

/// Fields of an object that has no name of its own.
fn nested(field: &Value) -> String {
    let inner = if field["type"] == "array" { &field["items"] } else { field };
    if inner.get("properties").is_some() { body(inner) } else { String::new() }
}

/// The type of a value, with a link to a named schema.
pub fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    if let Some(only) = schema["allOf"].as_array().and_then(|parts| parts.first()) {
        return kind(only);
    }
    match text(&schema["type"]) {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&schema["additionalProperties"]))
        }
        "" => "any".to_owned(),
        simple => simple.to_owned(),
    }
}

/// The rules of a value.
pub fn rules(schema: &Value) -> String {
    let mut rules: Vec<String> = Vec::new();
    if let Some(options) = schema["enum"].as_array() {
        let options: Vec<String> =
            options.iter().map(|one| format!("<code>{}</code>", escape(&plain(one)))).collect();
        rules.push(format!("one of {}", options.join(", ")));
    }
    for (word, name) in RULES {
        if let Some(value) = schema.get(word) {
            rules.push(format!("{name} <code>{}</code>", escape(&plain(value))));
        }
    }
    if schema["nullable"] == true {
        rules.push("or null".into());
    }
    rules.join(", ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
