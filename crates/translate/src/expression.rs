//! Conditions on a request, as lua-resty-expr spells them.

use gantry_model::config::{Expression, Operator, Relationship, RouteControl, Subject};
use serde_json::{Number, Value, json};

/// Variable that a condition reads.
pub fn variable(expression: &Expression) -> String {
    let name = &expression.name;
    match expression.subject {
        Subject::Header => header_variable(name),
        Subject::Query => format!("arg_{name}"),
        Subject::Cookie => format!("cookie_{name}"),
        Subject::Path => "uri".into(),
        Subject::Variable => name.clone(),
    }
}

/// Variable of a request header.
pub fn header_variable(name: &str) -> String {
    format!("http_{}", name.to_ascii_lowercase().replace('-', "_"))
}

/// A number as written in a condition, integers as integers.
pub fn number(text: &str) -> Option<Number> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(integer) => Some(integer.into()),
        Err(_) => text.parse().ok().and_then(Number::from_f64),
    }
}

/// One condition.
pub fn condition(expression: &Expression) -> Value {
    let variable = variable(expression);
    let value = expression.value.as_str();
    let compare = |operator: &str| json!([variable, operator, number(value)]);
    match expression.operator {
        Operator::Equal => json!([variable, "==", value]),
        Operator::NotEqual => json!([variable, "~=", value]),
        Operator::RegexMatch => json!([variable, "~~", value]),
        Operator::RegexNotMatch => json!([variable, "!", "~~", value]),
        Operator::Present => json!([variable, "~=", null]),
        Operator::NotPresent => json!([variable, "==", null]),
        Operator::LargerThan => compare(">"),
        Operator::LargerEqual => compare(">="),
        Operator::LessThan => compare("<"),
        Operator::LessEqual => compare("<="),
    }
}

/// The conditions that are in force.
pub fn in_force(control: Option<&RouteControl>) -> &[Expression] {
    match control {
        Some(control) if control.enabled => &control.expressions,
        _ => &[],
    }
}

/// `vars` of a route: the scheme it is bound to, if any, and its route control. Empty for none.
pub fn vars(scheme: Option<&str>, control: Option<&RouteControl>) -> Vec<Value> {
    let conditions = in_force(control).iter().map(condition);
    let any = control.is_some_and(|control| control.logical_relationship == Relationship::Any)
        && conditions.len() >= 2;
    let conditions: Vec<Value> = if any {
        std::iter::once(json!("OR")).chain(conditions).collect()
    } else {
        conditions.collect()
    };
    let Some(scheme) = scheme else { return conditions };
    let mut vars = vec![json!(["scheme", "==", scheme])];
    if any {
        vars.push(Value::Array(conditions));
    } else {
        vars.extend(conditions);
    }
    vars
}
