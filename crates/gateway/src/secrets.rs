//! References to secrets in configurations: `$env://NAME` and `$secret://manager/id/key`. Looked up
//! when a configuration is compiled, so that no request waits for it.

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
};

use gantry_routing::resource::Ssl;
use serde_json::Value;

/// Largest file that is read; private keys and certificate chains are far below it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where secrets are found.
#[derive(Default)]
pub struct Secrets {
    /// Directories by the id of their resource, `file/1`; each file in it is a secret.
    directories: HashMap<String, PathBuf>,
}

impl Secrets {
    /// Adds or replaces the manager `id`, such as `file/1`. The error says why it cannot be asked.
    pub fn put(&mut self, id: &str, source: &Value) -> Result<(), String> {
        self.remove(id);
        match id.split('/').next().unwrap_or(id) {
            "file" => {
                let path = source.get("path").and_then(Value::as_str).map(Path::new);
                let path = path.filter(|path| path.is_absolute());
                let path = path.ok_or("`path` must be the absolute path of a directory")?;
                self.directories.insert(id.to_owned(), path.to_owned());
                Ok(())
            }
            other => Err(format!("secrets of the manager `{other}` cannot be looked up here")),
        }
    }

    /// Forgets a manager.
    pub fn remove(&mut self, id: &str) {
        self.directories.remove(id);
    }

    /// A configuration with secrets in place of all references. The error names the first one that
    /// leads nowhere.
    pub fn resolved(&self, config: &Value) -> Result<Value, String> {
        let mut config = config.clone();
        self.resolve(&mut config)?;
        Ok(config)
    }

    fn resolve(&self, value: &mut Value) -> Result<(), String> {
        match value {
            Value::String(text) => self.resolve_text(text),
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.resolve(item)),
            Value::Object(fields) => fields.values_mut().try_for_each(|field| self.resolve(field)),
            _ => Ok(()),
        }
    }

    /// The same for certificates and keys.
    pub fn resolve_ssl(&self, ssl: &mut Ssl) -> Result<(), String> {
        let further = ssl.certs.iter_mut().chain(&mut ssl.keys);
        let authority = ssl.client.as_mut().map(|client| &mut client.ca);
        [&mut ssl.cert, &mut ssl.key]
            .into_iter()
            .chain(further)
            .chain(authority)
            .try_for_each(|text| self.resolve_text(text))
    }

    fn resolve_text(&self, text: &mut String) -> Result<(), String> {
        let found = if let Some(path) = text.strip_prefix("$env://") {
            in_environment(path)
        } else if let Some(path) = text.strip_prefix("$secret://") {
            self.in_manager(path)
        } else {
            return Ok(());
        };
        *text = found.map_err(|reason| format!("the reference `{text}` {reason}"))?;
        Ok(())
    }

    /// `manager/id/key`, or `manager/id/key/field` for a field of a secret that is JSON.
    fn in_manager(&self, path: &str) -> Result<String, String> {
        let mut parts = path.splitn(4, '/');
        let (Some(manager), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("must look like `$secret://manager/id/key`".to_owned());
        };
        let directory = self.directories.get(&format!("{manager}/{id}"));
        let directory = directory.ok_or_else(|| {
            format!("needs the secret manager `{manager}/{id}`, which is not usable")
        })?;
        field(in_directory(directory, key)?, parts.next())
    }
}

/// `NAME`, or `NAME/field` for a field of a variable that is JSON.
#[expect(clippy::disallowed_methods, reason = "a configuration names the variable it needs")]
fn in_environment(path: &str) -> Result<String, String> {
    let (name, inner) = match path.split_once('/') {
        Some((name, inner)) => (name, Some(inner)),
        None => (path, None),
    };
    let value = std::env::var(name).map_err(|_| "is not set in the environment".to_owned())?;
    field(value, inner)
}

fn in_directory(directory: &Path, key: &str) -> Result<String, String> {
    let name = Path::new(key);
    let mut parts = name.components();
    if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
        return Err("does not name a file".to_owned());
    }
    let file =
        File::open(directory.join(name)).map_err(|error| format!("leads nowhere: {error}"))?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    match read {
        Ok(read) if read as u64 > FILE_BYTES_MAX => Err("leads to a file that is too large".into()),
        Ok(_) => Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// A field of a secret that is a JSON object; the whole secret if none is asked for.
fn field(secret: String, name: Option<&str>) -> Result<String, String> {
    let Some(name) = name else { return Ok(secret) };
    let object: Value =
        serde_json::from_str(&secret).map_err(|_| "is not JSON, so has no fields".to_owned())?;
    match object.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
        None => Err("has no such field".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolved(secrets: &Secrets, text: &str) -> Result<Value, String> {
        Ok(secrets.resolved(&json!({"a": [text]}))?["a"][0].clone())
    }

    fn directory() -> (tempfile::TempDir, Secrets) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("plain"), "s3cret\n").unwrap();
        std::fs::write(directory.path().join("json"), r#"{"user": "u", "n": 7}"#).unwrap();
        let mut secrets = Secrets::default();
        secrets.put("file/1", &json!({"path": directory.path()})).unwrap();
        (directory, secrets)
    }

    #[test]
    fn files_and_their_fields_are_found() {
        let (_directory, secrets) = directory();
        for (reference, expected) in [
            ("$secret://file/1/plain", "s3cret"),
            ("$secret://file/1/json/user", "u"),
            ("$secret://file/1/json/n", "7"),
            ("no reference", "no reference"),
        ] {
            assert_eq!(resolved(&secrets, reference).unwrap(), expected, "{reference}");
        }
    }

    #[test]
    fn variables_of_the_environment_are_found() {
        // Set by cargo for every test.
        let expected = env!("CARGO_PKG_NAME");
        let secrets = Secrets::default();
        assert_eq!(resolved(&secrets, "$env://CARGO_PKG_NAME").unwrap(), expected);
        let error = resolved(&secrets, "$env://CARGO_PKG_NAME/x").unwrap_err();
        assert!(error.ends_with("is not JSON, so has no fields"), "{error}");
    }

    #[test]
    fn what_leads_nowhere_is_named() {
        let (_directory, secrets) = directory();
        for (reference, reason) in [
            ("$env://GANTRY_NO_SUCH_VARIABLE", "is not set in the environment"),
            ("$env://", "is not set in the environment"),
            ("$env://A=B", "is not set in the environment"),
            ("$secret://file/1", "must look like `$secret://manager/id/key`"),
            ("$secret://file/1/..", "does not name a file"),
            ("$secret://file/1/", "does not name a file"),
            ("$secret://file/1/json/x", "has no such field"),
            ("$secret://vault/1/k", "needs the secret manager `vault/1`, which is not usable"),
        ] {
            let error = resolved(&secrets, reference).unwrap_err();
            assert_eq!(error, format!("the reference `{reference}` {reason}"));
        }
        let error = resolved(&secrets, "$secret://file/1/absent").unwrap_err();
        assert!(error.contains("leads nowhere"), "{error}");
    }

    #[test]
    fn managers_that_cannot_be_asked_are_refused_by_name() {
        let mut secrets = Secrets::default();
        for manager in ["vault", "aws", "gcp"] {
            let error = secrets.put(&format!("{manager}/1"), &json!({})).unwrap_err();
            assert!(error.contains(manager), "{error}");
        }
        assert!(secrets.put("file/1", &json!({"path": "relative"})).is_err());
        assert!(secrets.put("file/1", &json!({})).is_err());
    }
}
