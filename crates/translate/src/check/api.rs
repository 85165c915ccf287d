//! Rules of an API, which depend on its application's prefix.

use gantry_model::Violation;
use gantry_model::config::{ApiSpec, ApiType, ApplicationSpec};

use super::plugins::Place;
use super::{Report, expression, path, plugins, schema, some_id};
use crate::Surroundings;
use crate::application::Inherited;
use crate::expression::in_force;

/// Broken rules of an API of the application `parent`.
#[must_use]
pub fn check_api(
    parent: &ApplicationSpec,
    spec: &ApiSpec,
    around: &Surroundings,
) -> Vec<Violation> {
    let mut report = Report::default();
    let inherited = Inherited::from(parent);
    if spec.paths.is_empty() {
        let example = r#"[{"path":"/orders","path_type":"Prefix"}]"#;
        report.broken("paths", "must hold at least one path", example);
    }
    for (index, entry) in spec.paths.iter().enumerate() {
        path::check_path(&mut report, &format!("paths[{index}].path"), inherited.prefix, entry);
    }
    let get = spec.methods.is_empty() || spec.methods.iter().any(|method| method == "GET");
    if spec.kind == ApiType::WebSocket && !get {
        let rule = "must hold GET, by which a WebSocket starts, or be empty";
        report.broken("methods", rule, r#"["GET"]"#);
    }
    let conditions = in_force(spec.fine_grained_route_control.as_ref());
    expression::check(&mut report, "fine_grained_route_control.expressions", conditions);
    plugins::check(&mut report, Place::Api, &spec.plugins, around);
    let keys = crate::api::document(some_id(), some_id(), &inherited, spec, around);
    schema::check_documents(&mut report, "api", &keys);
    report.0
}
