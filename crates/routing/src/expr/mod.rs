//! Conditions on variables, with the meaning they have in APISIX (lua-resty-expr).
//!
//! `[cond, cond, ...]` holds if all hold; `["OR", cond, cond, ...]` if one does; the words are `AND`,
//! `OR`, `!AND` and `!OR` in any case. A condition is `[variable, operator, value]`,
//! `[variable, "!", operator, value]`, the short form `[variable, value]` of `==`, or such a list.

use std::net::IpAddr;

use fancy_regex::Regex;
use ipnet::IpNet;
use serde_json::Value;

use crate::regex;
use crate::vars::{self, Var, Vars};

/// A compiled expression. Evaluation allocates nothing beyond what the variables do.
#[derive(Clone, Debug)]
pub struct Expr(Node);

#[derive(Clone, Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test { variable: String, test: Test },
}

#[derive(Clone, Debug)]
enum Test {
    Equal(Operand),
    NotEqual(Operand),
    Larger(f64),
    LargerEqual(f64),
    Less(f64),
    LessEqual(f64),
    Matches(Regex),
    In(Vec<Operand>),
    Has(Operand),
    InNet(Vec<IpNet>),
}

/// A value of the configuration.
#[derive(Clone, Debug)]
enum Operand {
    Null,
    Text(String),
    Number(f64),
    Flag(bool),
}

impl Expr {
    /// Compiles the JSON form. The error is a sentence.
    pub fn compile(value: &Value) -> Result<Self, String> {
        let list = value.as_array().ok_or("an expression must be a list of conditions")?;
        if let Some(Value::String(word)) = list.first()
            && Logic::parse(word).is_none()
        {
            return Err(format!(
                "an expression must be a list of conditions: write [{value}] instead of {value}"
            ));
        }
        compile_list(list).map(Self)
    }

    /// Whether the expression holds for these variables.
    #[must_use]
    pub fn matches(&self, vars: &dyn Vars) -> bool {
        self.0.holds(vars)
    }

    /// The names of the variables it looks at.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.0.collect(&mut names);
        names
    }
}

/// How the conditions of a list are joined.
#[derive(Clone, Copy)]
enum Logic {
    All,
    Any,
    NotAll,
    NotAny,
}

impl Logic {
    fn parse(word: &str) -> Option<Self> {
        const WORDS: [(&str, Logic); 4] = [
            ("and", Logic::All),
            ("or", Logic::Any),
            ("!and", Logic::NotAll),
            ("!or", Logic::NotAny),
        ];
        WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, logic)| *logic)
    }

    fn join(self, nodes: Vec<Node>) -> Node {
        match self {
            Self::All => Node::All(nodes),
            Self::Any => Node::Any(nodes),
            Self::NotAll => Node::Not(Box::new(Node::All(nodes))),
            Self::NotAny => Node::Not(Box::new(Node::Any(nodes))),
        }
    }
}

fn compile_list(list: &[Value]) -> Result<Node, String> {
    let (logic, conditions) = match list.split_first() {
        Some((Value::String(word), rest)) => {
            let logic = Logic::parse(word).ok_or_else(|| format!("`{word}` is not a condition"))?;
            if rest.len() < 2 {
                return Err(format!("`{word}` needs at least two conditions after it"));
            }
            (logic, rest)
        }
        _ => (Logic::All, list),
    };
    Ok(logic.join(conditions.iter().map(compile_condition).collect::<Result<_, _>>()?))
}

fn compile_condition(value: &Value) -> Result<Node, String> {
    let malformed =
        || format!("{value} is not a condition such as [\"arg_name\", \"==\", \"json\"]");
    let list = value.as_array().ok_or_else(malformed)?;
    let variable = match list.first() {
        Some(Value::String(word)) if Logic::parse(word).is_none() => word,
        Some(Value::String(_) | Value::Array(_)) => return compile_list(list),
        _ => return Err(malformed()),
    };
    let text = |value: &'_ Value| value.as_str().map(str::to_owned).ok_or_else(malformed);
    let (negated, operator, operand) = match list.get(1..).unwrap_or_default() {
        [operand] => (false, "==".to_owned(), operand),
        [operator, operand] => (false, text(operator)?, operand),
        [Value::String(bang), operator, operand] if bang == "!" => (true, text(operator)?, operand),
        _ => return Err(malformed()),
    };
    let test = Test::compile(&operator, operand)
        .map_err(|error| format!("the condition {value} is not valid: {error}"))?;
    let node = Node::Test { variable: variable.clone(), test };
    Ok(if negated { Node::Not(Box::new(node)) } else { node })
}

impl Node {
    fn collect<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::All(nodes) | Self::Any(nodes) => {
                nodes.iter().for_each(|node| node.collect(names));
            }
            Self::Not(node) => node.collect(names),
            Self::Test { variable, .. } => names.push(variable),
        }
    }

    fn holds(&self, vars: &dyn Vars) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(vars)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(vars)),
            Self::Not(node) => !node.holds(vars),
            Self::Test { variable, test } => test.holds(vars.var(variable).as_ref()),
        }
    }
}

impl Test {
    fn compile(operator: &str, value: &Value) -> Result<Self, String> {
        Ok(match operator {
            "==" => Self::Equal(Operand::compile(value)?),
            "~=" => Self::NotEqual(Operand::compile(value)?),
            ">" => Self::Larger(number(operator, value)?),
            ">=" => Self::LargerEqual(number(operator, value)?),
            "<" => Self::Less(number(operator, value)?),
            "<=" => Self::LessEqual(number(operator, value)?),
            "~~" => Self::Matches(regex::compile(pattern(operator, value)?, false)?),
            "~*" => Self::Matches(regex::compile(pattern(operator, value)?, true)?),
            "in" => Self::In(
                list(operator, value)?.iter().map(Operand::compile).collect::<Result<_, _>>()?,
            ),
            "has" => Self::Has(Operand::compile(value)?),
            "ipmatch" => Self::InNet(compile_nets(value)?),
            _ => return Err(format!("`{operator}` is not an operator")),
        })
    }

    fn holds(&self, var: Option<&Var<'_>>) -> bool {
        let compare = |test: fn(&f64, &f64) -> bool, limit: &f64| {
            var.and_then(Var::number).is_some_and(|number| test(&number, limit))
        };
        match self {
            Self::Equal(operand) => operand.equals(var),
            Self::NotEqual(operand) => !operand.equals(var),
            Self::Larger(limit) => compare(f64::gt, limit),
            Self::LargerEqual(limit) => compare(f64::ge, limit),
            Self::Less(limit) => compare(f64::lt, limit),
            Self::LessEqual(limit) => compare(f64::le, limit),
            Self::Matches(regex) => {
                var.and_then(Var::text).is_some_and(|text| regex::is_match(regex, &text))
            }
            Self::In(list) => list.iter().any(|operand| operand.is(var)),
            Self::Has(operand) => match var {
                Some(Var::List(values)) => values.iter().any(|value| operand.is(Some(value))),
                _ => false,
            },
            Self::InNet(nets) => match var {
                Some(Var::Text(text)) => in_nets(nets, text),
                _ => false,
            },
        }
    }
}

impl Operand {
    fn compile(value: &Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self::Null),
            Value::Bool(flag) => Ok(Self::Flag(*flag)),
            Value::String(text) => Ok(Self::Text(text.clone())),
            Value::Number(number) => {
                number.as_f64().map(Self::Number).ok_or_else(|| format!("{number} is too large"))
            }
            Value::Array(_) | Value::Object(_) => {
                Err("the value must be a text, a number, a boolean or null".to_owned())
            }
        }
    }

    /// Equality of `==`: a number of the configuration makes the variable a number first.
    fn equals(&self, var: Option<&Var<'_>>) -> bool {
        match self {
            Self::Number(number) => var.and_then(Var::number) == Some(*number),
            _ => self.is(var),
        }
    }

    /// Equality of value and type.
    fn is(&self, var: Option<&Var<'_>>) -> bool {
        match (self, var) {
            (Self::Null, None) => true,
            (Self::Text(text), Some(Var::Text(value))) => text == value,
            (Self::Number(number), Some(Var::Number(value))) => number == value,
            (Self::Flag(flag), Some(Var::Flag(value))) => flag == value,
            _ => false,
        }
    }
}

fn number(operator: &str, value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => vars::number(text),
        _ => None,
    };
    number.ok_or_else(|| format!("`{operator}` compares with a number"))
}

fn pattern<'a>(operator: &str, value: &'a Value) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("`{operator}` needs a regular expression"))
}

fn list<'a>(operator: &str, value: &'a Value) -> Result<&'a [Value], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| format!("`{operator}` needs a list"))
}

fn compile_nets(value: &Value) -> Result<Vec<IpNet>, String> {
    let texts = match value {
        Value::String(_) => std::slice::from_ref(value),
        _ => list("ipmatch", value)?,
    };
    texts
        .iter()
        .map(|text| text.as_str().ok_or("`ipmatch` needs texts".to_owned()).and_then(net))
        .collect()
}

/// Reads an address or a network such as `10.0.0.0/8`. The error is a sentence.
pub fn net(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{text}` is neither an IP address nor a network such as 10.0.0.0/8"))
}

fn in_nets(nets: &[IpNet], text: &str) -> bool {
    text.parse::<IpAddr>().is_ok_and(|address| nets.iter().any(|net| net.contains(&address)))
}

#[cfg(test)]
mod tests;
