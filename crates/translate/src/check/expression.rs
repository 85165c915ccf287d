//! Rules of conditions on a request, for route control and canary releases.

use gantry_model::config::{Expression, Operator, Subject};
use gantry_routing::{expr::Expr, vars};
use serde_json::json;

use super::{Report, health};
use crate::expression;

/// Most conditions in one place (facts/api7-cloud.md §32).
const EXPRESSIONS_MAX: usize = 64;

/// Checks the conditions that stand in the field `list`.
pub fn check(report: &mut Report, list: &str, expressions: &[Expression]) {
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
