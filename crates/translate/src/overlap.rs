//! When two APIs could both take one request, and nothing says which of them does.

use gantry_model::config::{ApiSpec, ApplicationSpec, Operator, Subject};

use crate::expression::{self, in_force};
use crate::path::{self, quoted, trimmed};

/// The path patterns that gateways compare for an API, such as `/shop/orders*`.
#[must_use]
pub fn patterns(parent: &ApplicationSpec, spec: &ApiSpec) -> Vec<String> {
    path::patterns(trimmed(&parent.path_prefix), &spec.paths)
}

/// Whether APIs that have a host and a pattern in common take the same requests: they share a method
/// and tell requests apart by the same conditions, if by any.
#[must_use]
pub fn overlap(one: &ApiSpec, other: &ApiSpec) -> bool {
    let conditions =
        |spec: &ApiSpec| expression::vars(None, spec.fine_grained_route_control.as_ref());
    let same_method = one.methods.is_empty()
        || other.methods.is_empty()
        || one.methods.iter().any(|method| other.methods.contains(method));
    same_method && conditions(one) == conditions(other)
}

/// Whether a condition of an API spells out `prefix`, the path prefix of its application.
#[must_use]
pub fn spells_out(prefix: &str, spec: &ApiSpec) -> bool {
    let prefix = trimmed(prefix);
    let regex = format!("^{}/", quoted(prefix));
    let plain = format!("{prefix}/");
    in_force(spec.fine_grained_route_control.as_ref()).iter().any(|condition| {
        condition.subject == Subject::Path
            && match condition.operator {
                Operator::RegexMatch | Operator::RegexNotMatch => {
                    condition.value.starts_with(&regex)
                }
                Operator::Equal | Operator::NotEqual => condition.value.starts_with(&plain),
                _ => false,
            }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn api(more: &Value) -> ApiSpec {
        let mut body = json!({ "name": "a", "paths": [{ "path": "/a" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(body).unwrap()
    }

    fn on_path(operator: &str, value: &str) -> ApiSpec {
        let condition = json!({ "subject": "path", "operator": operator, "value": value });
        let control = json!({ "enabled": true, "expressions": [condition] });
        api(&json!({ "fine_grained_route_control": control }))
    }

    #[test]
    fn methods_and_conditions_keep_apis_apart() {
        let (any, get) = (api(&json!({})), api(&json!({ "methods": ["GET"] })));
        let post = api(&json!({ "methods": ["POST", "PUT"] }));
        assert!(overlap(&any, &any) && overlap(&any, &get) && overlap(&post, &any));
        assert!(!overlap(&get, &post));
        let conditioned = on_path("regex_match", "^/a/b$");
        assert!(overlap(&conditioned, &conditioned) && !overlap(&conditioned, &any));
        assert!(!overlap(&conditioned, &on_path("regex_match", "^/a/c$")));
    }

    #[test]
    fn conditions_that_spell_the_prefix_out_are_found() {
        assert!(spells_out("/a.b/", &on_path("regex_match", r"^/a\.b/c$")));
        assert!(spells_out("/", &on_path("regex_match", "^/c$")));
        assert!(spells_out("/api", &on_path("equal", "/api/c")));
        assert!(!spells_out("/api", &on_path("regex_match", "/c$")));
        assert!(!spells_out("/api", &on_path("present", "")));
    }
}
