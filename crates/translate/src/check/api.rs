//! Rules of an API, which depend on its application's prefix.

use gantry_model::Violation;
use gantry_model::config::{ApiSpec, ApiType, ApplicationSpec, Expression, Operator, Subject};
use gantry_routing::{expr::Expr, vars};

use serde_json::json;

use super::plugins::Place;
use super::{Report, health, path, plugins, schema, some_id};
use crate::Surroundings;
use crate::application::Inherited;
use crate::expression;

/// Most conditions of one API.
const EXPRESSIONS_MAX: usize = 64;

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
    check_expressions(&mut report, spec);
    plugins::check(&mut report, Place::Api, &spec.plugins, around);
    let keys = crate::api::document(some_id(), some_id(), &inherited, spec, around);
    schema::check_documents(&mut report, "api", &keys);
    report.0
}

fn check_expressions(report: &mut Report, spec: &ApiSpec) {
    let expressions = expression::in_force(spec.fine_grained_route_control.as_ref());
    let list = "fine_grained_route_control.expressions";
    if expressions.len() > EXPRESSIONS_MAX {
        report.broken(list, format!("must not hold more than {EXPRESSIONS_MAX} entries"), "");
    }
    for (index, expression) in expressions.iter().enumerate() {
        let field = format!("{list}[{index}]");
        check_name(report, &field, expression);
        check_value(report, &field, expression);
    }
}

fn check_name(report: &mut Report, field: &str, expression: &Expression) {
    let name = expression.name.as_str();
    let (valid, rule, example) = match expression.subject {
        Subject::Path => return,
        Subject::Header => (health::is_token(name), "must be the name of a header", r#""x-beta""#),
        Subject::Query => (!name.is_empty(), "must be the name of a query argument", r#""page""#),
        Subject::Cookie => (health::is_token(name), "must be the name of a cookie", r#""session""#),
        Subject::Variable => (
            vars::is_routing(name),
            "must be a variable that is known while a route is looked for",
            r#""remote_addr""#,
        ),
    };
    if !valid {
        report.broken(format!("{field}.name"), rule, example);
    }
}

fn check_value(report: &mut Report, field: &str, expression: &Expression) {
    use Operator::{LargerEqual, LargerThan, LessEqual, LessThan};
    let field = format!("{field}.value");
    let numeric = matches!(expression.operator, LargerEqual | LargerThan | LessEqual | LessThan);
    if numeric && expression::number(&expression.value).is_none() {
        let rule = "must be a number, because the operator compares numbers";
        report.broken(field, rule, r#""10""#);
    } else if let Err(why) = Expr::compile(&json!([expression::condition(expression)])) {
        report.broken(field, format!("is not valid: {why}"), r#""^/v[0-9]+""#);
    }
}
