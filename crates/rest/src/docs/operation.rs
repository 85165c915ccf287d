//! One operation on the reference page.

use gantry_app::access::{self, Permission, Scope};
use serde_json::Value;

use super::{schema, text};
use crate::contract::{contract, resolve};
use crate::html::{escape, prose};

/// An operation of the document.
pub struct Entry<'d> {
    pub method: &'d str,
    pub path: &'d str,
    pub spec: &'d Value,
}

impl Entry<'_> {
    fn id(&self) -> &str {
        text(&self.spec["operationId"])
    }

    /// Its line in the menu.
    pub fn menu(&self) -> String {
        let title = escape(text(&self.spec["summary"]));
        format!("<li><a href=\"#{}\">{title}</a></li>", self.id())
    }

    /// All about it.
    pub fn article(&self) -> String {
        let (id, method) = (self.id(), self.method.to_uppercase());
        let (path, title) = (escape(self.path), escape(text(&self.spec["summary"])));
        let body = self.spec.pointer("/requestBody/content/application~1json/schema");
        let body = body
            .map_or_else(String::new, |schema| format!("<h4>Body</h4>{}", schema::fields(schema)));
        let answer = self
            .spec
            .pointer("/responses/200/content/application~1json/schema")
            .and_then(payload)
            .map_or_else(String::new, |schema| {
                format!("<h4>Payload of the answer</h4>{}", schema::fields(schema))
            });
        format!(
            "<article id=\"{id}\"><h3>{title}</h3><p class=\"call\"><b class=\"{}\">{method}</b> \
             <code>{path}</code></p>{}{}{}{}{body}{answer}</article>",
            self.method,
            prose(text(&self.spec["description"])),
            self.also(),
            self.permission(),
            self.parameters(),
        )
    }

    fn also(&self) -> String {
        let others = self.spec["x-accept-also"].as_array().into_iter().flatten();
        let others: Vec<String> =
            others.map(|other| format!("<code>{}</code>", escape(text(other)))).collect();
        if others.is_empty() {
            return String::new();
        }
        format!("<p>Also answered at {}.</p>", others.join(", "))
    }

    fn permission(&self) -> String {
        let Some(rule) = access::rule(self.id()) else { return String::new() };
        let who = match rule.scope {
            Scope::Public => "Anybody.",
            Scope::User => "Any signed-in user.",
            Scope::Gateway => "Gateways, on their own port.",
            Scope::Organization => "Members of the organization",
            Scope::Clusters => {
                "Members of the organization, about the clusters they have a role in,"
            }
            Scope::Cluster => "Members of the cluster's organization",
            Scope::Applications => {
                "Members of the cluster's organization, service admins about their applications,"
            }
            Scope::Application => "Members of the application's organization",
        };
        let needs = rule.permission.map_or_else(String::new, |permission| {
            let Permission { group, resource, verb } = permission;
            format!(" with the permission <code>{group}.{resource}.{verb}</code>.")
        });
        format!("<p class=\"who\">{who}{needs}</p>")
    }

    fn parameters(&self) -> String {
        let list = self.spec["parameters"].as_array().into_iter().flatten();
        let rows: String = list
            .map(|parameter| resolve(&contract().document, parameter))
            .map(|parameter| {
                let schema = &parameter["schema"];
                let required = if parameter["required"] == true { "required" } else { "" };
                format!(
                    "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{required} {}</td>\
                     <td>{}</td></tr>",
                    escape(text(&parameter["name"])),
                    text(&parameter["in"]),
                    schema::kind(schema),
                    schema::rules(schema),
                    escape(text(&parameter["description"])),
                )
            })
            .collect();
        if rows.is_empty() {
            return String::new();
        }
        format!(
            "<h4>Parameters</h4><table><thead><tr><th>Name</th><th>In</th><th>Type</th><th>Rules</th>\
             <th></th></tr></thead><tbody>{rows}</tbody></table>"
        )
    }
}

/// The schema of `payload` in an answer's envelope.
fn payload(schema: &Value) -> Option<&Value> {
    let schema = resolve(&contract().document, schema);
    let direct = schema.pointer("/properties/payload");
    let parts = schema["allOf"].as_array().into_iter().flatten();
    direct.filter(|payload| payload.get("type").is_some() || payload.get("$ref").is_some()).or_else(
        || {
            parts
                .rev()
                .find_map(|part| resolve(&contract().document, part).pointer("/properties/payload"))
        },
    )
}
