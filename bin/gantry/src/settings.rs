//! Settings from a file: `gantry gateway --config file.yaml`. They become the defaults of the command
//! line, so that flags stand above environment variables, these above the file, and the file above
//! what is built in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use serde_json::Value;

use crate::command::Outcome;
use crate::options::Options;

/// The verb that reads a file.
const VERB: &str = "gateway";

/// What this process was started with. Ends it if the command line cannot be read.
///
/// # Errors
/// When the file cannot be read, or says what there is no flag for.
pub fn parse() -> Outcome<Options> {
    let mut command = Options::command();
    if let Some(path) = file(&command) {
        command = with_defaults(command, &read(&path)?)
            .map_err(|reason| format!("{}: {reason}", path.display()))?;
    }
    let matches = command.get_matches();
    Ok(Options::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()))
}

/// The file that command line or environment name.
fn file(command: &Command) -> Option<PathBuf> {
    // What is wrong with the rest is said later.
    let matches = command.clone().ignore_errors(true).try_get_matches().ok()?;
    let gateway: &ArgMatches = matches.subcommand_matches(VERB)?;
    gateway.get_one::<PathBuf>("config").cloned()
}

fn read(path: &Path) -> Outcome<BTreeMap<String, Value>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let settings = serde_norway::from_str::<Option<_>>(&text);
    Ok(settings.map_err(|error| format!("{}: {error}", path.display()))?.unwrap_or_default())
}

/// Puts each setting in place of the default of its flag.
fn with_defaults(
    mut command: Command,
    settings: &BTreeMap<String, Value>,
) -> Result<Command, String> {
    for (name, value) in settings {
        let values = texts(value).ok_or_else(|| format!("`{name}` must be a text or a list"))?;
        let flag = name.replace('_', "-");
        let is_general = command.get_arguments().any(|arg| arg.get_long() == Some(&flag));
        let owner = if is_general { Some(&command) } else { command.find_subcommand(VERB) };
        let fits = |arg: &&clap::Arg| arg.get_long() == Some(&flag) && flag != "config";
        let known = owner.and_then(|owner| owner.get_arguments().find(fits));
        let id = known.ok_or_else(|| format!("there is no setting `{name}`"))?.get_id().clone();
        let set = |command: Command| command.mut_arg(id, |arg| arg.default_values(values));
        command = if is_general { set(command) } else { command.mut_subcommand(VERB, set) };
    }
    Ok(command)
}

/// A value as it would be written on the command line; a list is given value by value.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Bool(_) | Value::Number(_) => Some(vec![value.to_string()]),
        Value::Array(values) if !values.iter().any(Value::is_array) => {
            values.iter().map(|value| texts(value)?.pop()).collect()
        }
        _ => None,
    }
}
