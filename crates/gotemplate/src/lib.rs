//! Go's `text/template`, as much of it as messages need: people bring the templates they have.
//!
//! Pure, and safe to feed with anything: a template that is too large, too deep, too slow or too
//! talkative is an error with a position, never a panic. What Go reaches by reflection is limited to
//! [`Value`]; a field of an absent value is absent instead of an error, so that a message about one
//! event does not fail because it also mentions another.

mod error;
mod eval;
mod format;
mod functions;
mod lexer;
mod parser;
mod time;
mod value;

use std::collections::BTreeMap;

pub use error::Error;
pub use value::{Record, Value};

/// Longest template, in bytes.
pub const SOURCE_BYTES_MAX: usize = 64 * 1024;
/// Most text that one rendering may produce, in its answer and on the way there, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// Most nodes, commands and rounds of `range` that one rendering may take.
pub const STEPS_MAX: usize = 20_000;
/// How deep blocks, parentheses and calls of other templates may stand inside each other.
pub const DEPTH_MAX: usize = 50;

/// A template that can be rendered.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    body: Vec<parser::Node>,
    defined: BTreeMap<String, Vec<parser::Node>>,
}

impl Template {
    /// Reads a template. Unknown functions and variables are found here, unknown fields only by
    /// [`Template::render`].
    pub fn parse(source: &str) -> Result<Self, Error> {
        if source.len() > SOURCE_BYTES_MAX {
            let reason = format!("the template is longer than {SOURCE_BYTES_MAX} bytes");
            return Err(Error { line: 1, column: 1, reason });
        }
        let (body, defined) =
            parser::parse(source).map_err(|fault| Error::locate(source, &fault))?;
        Ok(Self { source: source.to_owned(), body, defined })
    }

    /// The text that the template makes of `data`.
    pub fn render(&self, data: &Value) -> Result<String, Error> {
        eval::render(&self.body, &self.defined, data)
            .map_err(|fault| Error::locate(&self.source, &fault))
    }
}

#[cfg(test)]
mod tests;
