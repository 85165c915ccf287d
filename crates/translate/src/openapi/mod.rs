//! OpenAPI documents, 3.0 and 3.1, read as an application and its APIs (facts/api7-cloud.md §27).
//!
//! What is read: title and description, tags, the first server, and one API for each operation.
//! Schemas, parameters and responses say nothing about routing and are not looked at.

mod document;
mod name;
mod operation;
mod reference;
mod server;
#[cfg(test)]
mod tests;

use gantry_model::Violation;
use gantry_model::config::{ApiSpec, ApplicationSpec, DRAFT, Plugins, UpstreamVersion};
use serde_json::Value;

use crate::check::Report;

pub use name::free_name;

/// Largest document, in bytes. Larger ones are mostly schemas, which are not read.
pub const DOCUMENT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most operations of one document: each becomes a route, all in one revision.
pub const OPERATIONS_MAX: usize = 1000;

/// Name of the one upstream version that an import makes.
pub const VERSION: &str = "default";

/// Longest title by which a document is recognised again, in characters.
const TITLE_MAX: usize = 256;

/// What a document says.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// By which a later import finds the application again.
    pub title: String,
    /// A draft, so that nobody exposes it by accident.
    pub application: ApplicationSpec,
    pub apis: Vec<ImportedApi>,
    /// What the caller should know about parts that were not read.
    pub notes: Vec<String>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedApi {
    /// Method and path as the document has them, such as `GET /orders/{id}`.
    pub operation: String,
    /// Where it stands, such as `openapi.paths./orders/{id}.get`.
    pub place: String,
    pub spec: ApiSpec,
}

/// Reads a document. Answers all that is wrong with it, with the places.
///
/// # Errors
/// What keeps the document from being imported.
pub fn read(text: &str) -> Result<Import, Vec<Violation>> {
    let one = |field: &str, rule: String| vec![Violation::new(field, rule, "")];
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(one("openapi", format!("must not be larger than {DOCUMENT_BYTES_MAX} bytes")));
    }
    let document = document::parse(text).map_err(|why| {
        one("openapi", format!("must be an OpenAPI document in JSON or YAML: {why}"))
    })?;
    check_version(&document)?;
    let mut report = Report::default();
    let title = title(&document, &mut report);
    let served = server::read(&document, &mut report);
    let prefix = served.as_ref().map_or("/", |served| served.path_prefix.as_str());
    let apis = operation::read(&document, prefix, &mut report);
    let (true, Some(served)) = (report.0.is_empty(), served) else { return Err(report.0) };
    let application = ApplicationSpec {
        name: name::cut(&title, name::NAME_MAX),
        description: description(&document["info"]["description"]),
        hosts: served.hosts,
        path_prefix: served.path_prefix,
        protocol: None,
        protocols: served.protocols,
        upstreams: vec![UpstreamVersion {
            upstream: served.upstream,
            version: VERSION.into(),
            client_cert_id: None,
        }],
        default_upstream_version: VERSION.into(),
        plugins: Plugins::new(),
        labels: name::labels(tags(&document)),
        active: DRAFT,
    };
    let notes = notes(&document);
    Ok(Import { title: name::cut(&title, TITLE_MAX), application, apis, notes })
}

/// Refuses documents of other languages and versions.
fn check_version(document: &Value) -> Result<(), Vec<Violation>> {
    let refuse = |field: &str, rule: &str| {
        Err(vec![Violation::new(format!("openapi{field}"), rule, r#""3.0.3""#)])
    };
    if !document.is_object() {
        return refuse("", "must be an OpenAPI document: an object with the key `openapi`");
    }
    if document.get("swagger").is_some() {
        return refuse(".swagger", "is not supported: convert the document to OpenAPI 3.0 or 3.1");
    }
    let version = match &document["openapi"] {
        Value::String(text) => text.clone(),
        // Unquoted in YAML, two parts of a version are a number.
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let known = ["3.0", "3.1"].iter().any(|known| {
        version.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    if known { Ok(()) } else { refuse(".openapi", "must be a version 3.0 or 3.1 of OpenAPI") }
}

fn title(document: &Value, report: &mut Report) -> String {
    let title = document["info"]["title"].as_str().unwrap_or_default().trim();
    if title.is_empty() {
        let rule = "must not be empty: it becomes the application's name";
        report.broken("openapi.info.title", rule, r#""Orders""#);
    }
    title.to_owned()
}

/// Names of the document's tags.
fn tags(document: &Value) -> impl Iterator<Item = &str> {
    let tags = document["tags"].as_array().into_iter().flatten();
    tags.filter_map(|tag| tag["name"].as_str())
}

/// Longest description of applications and APIs, in characters (contract).
const DESCRIPTION_MAX: usize = 256;

fn description(text: &Value) -> String {
    name::cut(text.as_str().unwrap_or_default(), DESCRIPTION_MAX)
}

fn notes(document: &Value) -> Vec<String> {
    let operations = || document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    let has = |field: &str| {
        operations().any(|item| {
            item.get(field).is_some()
                || item.as_object().into_iter().flatten().any(|(_, one)| one.get(field).is_some())
        })
    };
    let mut notes = Vec::new();
    if has("servers") || document["servers"].as_array().is_some_and(|list| list.len() > 1) {
        notes.push("only the first entry of the document's own `servers` was read".to_owned());
    }
    if document.get("security").is_some() || has("security") {
        let note = "`security` was not read: add authentication plugins before you publish";
        notes.push(note.to_owned());
    }
    notes
}
