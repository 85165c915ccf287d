//! A file as the source: APISIX's standalone format, lists of resources in YAML that end with `#END`,
//! or in JSON. It is read again when it changes; one that cannot be read changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use gantry_routing::resource;
use serde_json::{Map, Value};
use tokio::{sync::mpsc, time::sleep};

use super::{Change, PLUGINS, Update};

/// Time between looks at the file.
const PERIOD: Duration = Duration::from_millis(250);
/// Clocks of file systems are coarse: a file this fresh may change without showing it.
const FRESH: Duration = Duration::from_secs(2);
/// What says that a file of YAML is complete.
const END: &str = "#END";

/// Reports the file, and again whenever it has changed, until nobody listens any more.
pub async fn follow(path: &Path, updates: &mpsc::Sender<Update>) {
    let mut seen = None;
    let mut text = None;
    let mut revision = 0;
    loop {
        let modified = tokio::fs::metadata(path).await.and_then(|file| file.modified()).ok();
        let is_fresh = |time: SystemTime| time.elapsed().is_ok_and(|age| age < FRESH);
        if modified.is_none() || modified != seen || modified.is_some_and(is_fresh) {
            seen = modified;
            let read = tokio::fs::read_to_string(path).await.map_err(|error| error.to_string());
            if text.as_ref() != Some(&read) {
                let entries =
                    read.as_ref().map_err(String::clone).and_then(|text| parse(path, text));
                text = Some(read);
                if report(path, entries, &mut revision, updates).await.is_err() {
                    return;
                }
            }
        }
        sleep(PERIOD).await;
    }
}

/// Err when nobody listens any more.
async fn report(
    path: &Path,
    entries: Result<Vec<Change>, String>,
    revision: &mut i64,
    updates: &mpsc::Sender<Update>,
) -> Result<(), mpsc::error::SendError<Update>> {
    match entries {
        Ok(entries) => {
            *revision += 1;
            updates.send(Update::Full { revision: *revision, entries }).await?;
            updates.send(Update::Reachable(Ok(()))).await
        }
        Err(reason) => {
            let reason = format!("{}: {reason}", path.display());
            tracing::error!(reason, "the configuration file cannot be used; nothing changes");
            updates.send(Update::Reachable(Err(reason))).await
        }
    }
}

/// The resources in a file; an error is a sentence about the file.
fn parse(path: &Path, text: &str) -> Result<Vec<Change>, String> {
    type Lists = BTreeMap<String, Option<Vec<Value>>>;
    let lists: Lists = if path.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else if text.lines().rev().find(|line| !line.trim().is_empty()).map(str::trim) == Some(END) {
        // Nothing but comments is a map without entries.
        let lists: Option<Lists> =
            serde_norway::from_str(text).map_err(|error| error.to_string())?;
        lists.unwrap_or_default()
    } else {
        return Err(format!("it does not end with the line `{END}`, so it is not complete"));
    };
    let mut keys = BTreeSet::new();
    let mut entries = Vec::new();
    for (directory, items) in lists {
        let items = items.unwrap_or_default();
        if directory == PLUGINS {
            let value: Arc<[u8]> = Value::Array(items).to_string().into_bytes().into();
            entries.push(Change { key: directory, value: Some(value) });
            continue;
        }
        if !resource::is_known(&directory) {
            return Err(format!("`{directory}` is no kind of resource"));
        }
        for (place, item) in items.into_iter().enumerate() {
            let Value::Object(item) = item else {
                return Err(format!("`{directory}`: number {} is no map", place + 1));
            };
            let key = format!("{directory}/{}", id(&directory, &item, place));
            if !keys.insert(key.clone()) {
                return Err(format!("`{key}` is there twice"));
            }
            let value: Arc<[u8]> = Value::Object(item).to_string().into_bytes().into();
            entries.push(Change { key, value: Some(value) });
        }
    }
    Ok(entries)
}

/// What a resource is called: consumers by their names, and those without any by their place.
fn id(directory: &str, item: &Map<String, Value>, place: usize) -> String {
    let field = |name: &str| match item.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let name = if directory == "consumers" { field("username") } else { None };
    name.or_else(|| field("id")).unwrap_or_else(|| format!("arr_{}", place + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<(String, Value)>, String> {
        let entries = parse(Path::new(name), text)?.into_iter();
        let value = |value: Option<Arc<[u8]>>| serde_json::from_slice(&value.unwrap()).unwrap();
        Ok(entries.map(|entry| (entry.key, value(entry.value))).collect())
    }

    #[test]
    fn lists_become_keys() {
        let text = "routes:\n  - uri: /a\n  - id: 7\n    uri: /b\nupstreams:\nconsumers:\n  \
                    - username: jack\n  - id: jack/credentials/k\n    plugins: {}\n#END\n\n";
        let keys: Vec<_> = read("a.yaml", text).unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            ["consumers/jack", "consumers/jack/credentials/k", "routes/arr_1", "routes/7"]
        );
        assert_eq!(read("a.yaml", "# nothing yet\n#END"), Ok(vec![]));
        let json = r#"{"routes": [{"id": "1", "uri": "/a"}]}"#;
        let route = serde_json::json!({"id": "1", "uri": "/a"});
        assert_eq!(read("a.json", json), Ok(vec![("routes/1".to_owned(), route)]));
        let list = serde_json::json!([{"name": "cors"}]);
        let plugins = read("a.yaml", "plugins:\n  - name: cors\n#END");
        assert_eq!(plugins, Ok(vec![("plugins".to_owned(), list)]));
    }

    #[test]
    fn a_file_that_is_not_whole_or_not_clear_is_refused() {
        for (name, text, reason) in [
            ("a.yaml", "routes:\n  - uri: /a\n", "does not end with the line `#END`"),
            ("a.yaml", "#END\nroutes: []\n", "does not end"),
            ("a.yaml", "routes: {\n#END", "invalid type: map"),
            ("a.yaml", "routes: [1]\n#END", "`routes`: number 1 is no map"),
            ("a.yaml", "nonsense:\n  - id: 1\n#END", "`nonsense` is no kind of resource"),
            ("a.yaml", "routes:\n- id: 1\n- id: '1'\n#END", "`routes/1` is there twice"),
            ("a.json", "{", "EOF"),
        ] {
            let error = read(name, text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
