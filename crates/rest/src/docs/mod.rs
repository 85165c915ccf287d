//! The reference page at `/api/docs`: every operation, schema and error code, written from the same
//! document that requests are checked against.

mod operation;
mod schema;

use std::sync::LazyLock;

use axum::response::Html;
use gantry_model::ErrorCode;
use serde_json::Value;

use crate::contract::contract;
use crate::error::status_of;
use crate::html::{escape, prose};

/// The page; it says the same as long as the program runs.
pub async fn page() -> Html<&'static str> {
    static PAGE: LazyLock<String> = LazyLock::new(render);
    Html(&PAGE)
}

fn render() -> String {
    let document = &contract().document;
    let info = &document["info"];
    let (title, version) = (text(&info["title"]), text(&info["version"]));
    let tags = tags(document);
    let menu: String = tags.iter().map(menu_of).collect();
    let operations: String = tags.iter().map(section_of).collect();
    let schemas = schema::section(document);
    let style = include_str!("style.css");
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{style}</style></head><body><nav><h1>Gantry API</h1>\
         <p><a href=\"#conventions\">Conventions</a> · <a href=\"#errors\">Errors</a> · \
         <a href=\"#schemas\">Schemas</a> · <a href=\"/api/openapi.json\">OpenAPI</a></p>{menu}</nav>\
         <main><h1>{title} {version}</h1>{}{}{operations}{schemas}</main></body></html>",
        conventions(),
        errors(),
    )
}

/// Tags in the order of the document, each with its operations as pairs of method and path.
fn tags(document: &Value) -> Vec<Tag<'_>> {
    let list = document["tags"].as_array().into_iter().flatten();
    let mut tags: Vec<Tag<'_>> = list
        .map(|tag| Tag {
            name: text(&tag["name"]),
            description: text(&tag["description"]),
            operations: Vec::new(),
        })
        .collect();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, spec) in methods.as_object().into_iter().flatten() {
            let name = text(&spec["tags"][0]);
            if let Some(tag) = tags.iter_mut().find(|tag| tag.name == name) {
                tag.operations.push(operation::Entry { method, path, spec });
            }
        }
    }
    tags
}

struct Tag<'d> {
    name: &'d str,
    description: &'d str,
    operations: Vec<operation::Entry<'d>>,
}

fn menu_of(tag: &Tag<'_>) -> String {
    let links: String = tag.operations.iter().map(operation::Entry::menu).collect();
    format!("<details><summary>{}</summary><ul>{links}</ul></details>", escape(tag.name))
}

fn section_of(tag: &Tag<'_>) -> String {
    let articles: String = tag.operations.iter().map(operation::Entry::article).collect();
    format!("<h2>{}</h2>{}{articles}", escape(tag.name), prose(tag.description))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn conventions() -> &'static str {
    "<section id=\"conventions\"><h2>Conventions</h2><p>Every answer is JSON in one envelope: \
     <code>{\"status\": {\"code\", \"message\"}, \"payload\", \"error\", \"warning\"}</code>. Success \
     is HTTP 200 with code 0. Send an access token as <code>Authorization: Bearer …</code>. Ids are \
     decimal strings. Lists take <code>page</code>, <code>page_size</code>, <code>order_by</code>, \
     <code>direction</code> and <code>search</code>.</p><p>Every write takes \
     <code>?dry_run=true</code>: it is checked in full, answers the object as it would be and, in \
     <code>preview</code>, which keys gateways would see change; nothing is stored. A write that \
     gateways see answers its configuration revision in the header <code>Gantry-Revision</code>. \
     With <code>?wait=applied</code> it is answered when the gateways that are online use it; \
     <code>Gantry-Delivery</code> and <code>delivery</code> say how that ended.</p></section>"
}

/// What each code means and what the caller can do.
fn meaning(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Internal => {
            "The server failed. The log has the reason under the answer's x-request-id."
        }
        ErrorCode::InvalidArgument => {
            "The request breaks a rule. The text names every field, its rule and a valid example; \
             nothing was changed."
        }
        ErrorCode::Conflict => {
            "Something else already has this name, address or credential, or the object is in a state \
             that does not allow this. Pick another value or change the other object first."
        }
        ErrorCode::NotFound => "There is no such object, or it belongs to somebody else.",
        ErrorCode::PermissionDenied => {
            "You are known, but none of your roles grants the permission that the text names."
        }
        ErrorCode::Unauthorized => {
            "The credential is missing, wrong, revoked or has expired. Sign in, or send a valid access \
             token."
        }
        ErrorCode::InUse => {
            "Something still refers to the object. The text names it: detach it first."
        }
        ErrorCode::QuotaExceeded => "A limit is reached. The text names it and its value.",
        ErrorCode::PlanRequired => "The organization's plan does not include this.",
        ErrorCode::TooManyRequests => "Too many attempts. Wait as long as Retry-After says.",
    }
}

fn errors() -> String {
    let rows: String = ErrorCode::ALL
        .iter()
        .map(|code| {
            format!(
                "<tr id=\"error-{number}\"><td>{number}</td><td>{name}</td><td>{status}</td>\
                 <td>{meaning}</td></tr>",
                number = *code as i32,
                name = code.text(),
                status = status_of(*code).as_u16(),
                meaning = escape(meaning(*code)),
            )
        })
        .collect();
    format!(
        "<section id=\"errors\"><h2>Errors</h2><p>A failed call answers <code>status.code</code>, \
         which programs branch on, and a sentence in <code>error</code>.</p><table><thead><tr>\
         <th>Code</th><th>Name</th><th>HTTP</th><th>Meaning</th></tr></thead><tbody>{rows}</tbody>\
         </table></section>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_its_anchor_and_no_link_is_dead() {
        let page = render();
        for operation in contract().operations() {
            assert!(page.contains(&format!("id=\"{}\"", operation.id)), "{}", operation.id);
        }
        for code in ErrorCode::ALL {
            assert!(page.contains(&format!("id=\"error-{}\"", code as i32)), "{code:?}");
        }
        for link in page.split("href=\"#").skip(1) {
            let target = link.split('"').next().unwrap();
            assert!(page.contains(&format!("id=\"{target}\"")), "#{target} leads nowhere");
        }
    }
}
