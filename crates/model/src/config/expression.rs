//! Conditions on a request: fine-grained route control and canary rules share them.

use serde::{Deserialize, Serialize};

/// What a condition looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Header,
    Query,
    Cookie,
    Path,
    Variable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    Equal,
    NotEqual,
    RegexMatch,
    RegexNotMatch,
    Present,
    NotPresent,
    LargerEqual,
    LargerThan,
    LessEqual,
    LessThan,
}

/// How several conditions are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relationship {
    #[default]
    All,
    Any,
}

/// Contract, schema `Expression`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expression {
    pub subject: Subject,
    /// Name of the header, argument, cookie or variable; ignored for a path.
    #[serde(default)]
    pub name: String,
    pub operator: Operator,
    #[serde(default)]
    pub value: String,
}
