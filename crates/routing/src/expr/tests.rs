use std::collections::HashMap;

use serde_json::json;

use super::*;

struct Request(HashMap<&'static str, Var<'static>>);

impl Vars for Request {
    fn var(&self, name: &str) -> Option<Var<'_>> {
        self.0.get(name).cloned()
    }
}

fn request() -> Request {
    let roots = Var::List(vec![Var::from("user"), Var::Number(1.0)]);
    Request(HashMap::from([
        ("arg_name", Var::from("json")),
        ("arg_age", Var::from("20")),
        ("arg_empty", Var::from("")),
        ("arg_flag", Var::Flag(true)),
        ("balancer_port", Var::Number(80.0)),
        ("graphql_root_fields", roots),
        ("remote_addr", Var::from("10.1.2.3")),
        ("uri", Var::from("/API/users")),
    ]))
}

#[track_caller]
fn holds(expression: &Value, expected: bool) {
    let expr = Expr::compile(expression).unwrap();
    assert_eq!(expr.matches(&request()), expected, "{expression}");
}

#[track_caller]
fn refused(expression: &Value, part: &str) {
    let error = Expr::compile(expression).expect_err("the expression is wrong");
    assert!(error.contains(part), "{error}");
}

#[test]
fn equality_is_strict_but_for_numbers_of_the_configuration() {
    holds(&json!([["arg_name", "==", "json"]]), true);
    holds(&json!([["arg_name", "json"]]), true);
    holds(&json!([["arg_age", "==", 20]]), true);
    holds(&json!([["arg_age", "==", "20"]]), true);
    holds(&json!([["balancer_port", "==", "80"]]), false);
    holds(&json!([["balancer_port", "==", 80]]), true);
    holds(&json!([["arg_name", "==", 1]]), false);
    holds(&json!([["arg_flag", "==", true]]), true);
    holds(&json!([["arg_flag", "==", "true"]]), false);
}

#[test]
fn inequality_holds_for_what_cannot_be_equal() {
    holds(&json!([["arg_name", "~=", 1]]), true);
    holds(&json!([["absent", "~=", "x"]]), true);
    holds(&json!([["absent", "~=", 1]]), true);
    holds(&json!([["arg_age", "~=", 20]]), false);
}

#[test]
fn null_is_absence() {
    holds(&json!([["absent", "==", null]]), true);
    holds(&json!([["absent", "~=", null]]), false);
    holds(&json!([["arg_empty", "==", null]]), false);
    holds(&json!([["arg_flag", "~=", null]]), true);
}

#[test]
fn comparisons_are_of_numbers() {
    holds(&json!([["arg_age", ">", 19.5]]), true);
    holds(&json!([["arg_age", ">", 20]]), false);
    holds(&json!([["arg_age", ">=", "20"]]), true);
    holds(&json!([["arg_age", "<", 21], ["arg_age", "<=", 20]]), true);
    holds(&json!([["arg_name", "<", 1]]), false);
    holds(&json!([["absent", "<", 1]]), false);
}

#[test]
fn regular_expressions_search() {
    holds(&json!([["uri", "~~", "users$"]]), true);
    holds(&json!([["uri", "~~", "^/api"]]), false);
    holds(&json!([["uri", "~*", "^/api"]]), true);
    holds(&json!([["balancer_port", "~~", "^80$"]]), true);
    holds(&json!([["absent", "~~", ".*"]]), false);
    holds(&json!([["absent", "!", "~~", ".*"]]), true);
}

#[test]
fn lists_are_searched_by_value_and_type() {
    holds(&json!([["arg_name", "in", ["xml", "json"]]]), true);
    holds(&json!([["arg_age", "in", [20]]]), false);
    holds(&json!([["arg_age", "!", "in", ["20"]]]), false);
    holds(&json!([["graphql_root_fields", "has", "user"]]), true);
    holds(&json!([["graphql_root_fields", "has", "1"]]), false);
    holds(&json!([["arg_name", "has", "json"]]), false);
}

#[test]
fn addresses_are_found_in_networks() {
    holds(&json!([["remote_addr", "ipmatch", ["::/0", "10.0.0.0/8"]]]), true);
    holds(&json!([["remote_addr", "ipmatch", ["10.1.2.4"]]]), false);
    holds(&json!([["absent", "ipmatch", ["0.0.0.0/0"]]]), false);
    holds(&json!([["absent", "!", "ipmatch", ["0.0.0.0/0"]]]), true);
}

#[test]
fn conditions_are_joined_by_words() {
    let (yes, no) = (json!(["arg_name", "json"]), json!(["arg_name", "xml"]));
    holds(&json!([]), true);
    holds(&json!([yes, no]), false);
    holds(&json!(["OR", yes, no]), true);
    holds(&json!(["and", yes, no]), false);
    holds(&json!(["!AND", yes, no]), true);
    holds(&json!(["!or", yes, no]), false);
    holds(&json!([yes, ["OR", no, ["AND", yes, [yes, yes]]]]), true);
}

#[test]
fn malformed_expressions_are_refused_with_a_sentence() {
    refused(&json!({}), "must be a list");
    refused(&json!(["arg_name", "==", "json"]), "write [[\"arg_name\"");
    refused(&json!(["OR", ["a", "b"]]), "at least two");
    refused(&json!([["a", "===", "b"]]), "`===` is not an operator");
    refused(&json!([["a"]]), "is not a condition");
    refused(&json!([["a", "?", "==", "b"]]), "is not a condition");
    refused(&json!([["a", "~~", "("]]), "does not compile");
    refused(&json!([["a", "in", "b"]]), "needs a list");
    refused(&json!([["a", ">", "b"]]), "compares with a number");
    refused(&json!([["a", "ipmatch", ["b"]]]), "`b` is neither");
    refused(&json!([["a", "==", []]]), "must be a text");
    refused(&json!([[]]), "is not a condition");
}
