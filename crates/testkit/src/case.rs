//! Cases that any gateway must answer alike: what is configured in etcd, what is asked, and what must
//! come back. `crates/gateway/tests/cases/README.md` describes the format of their files.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::{Client, Method, Response};
use serde_json::{Map, Value, json};

/// How long a gateway may take to follow a configuration.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the last resource of every case is seen to be in force.
const MARK: &str = "/in-force-";

/// One configuration with requests and the answers that are wanted.
pub struct Case {
    pub name: String,
    /// Documents by their key below the prefix, such as `routes/1`.
    pub resources: Vec<(String, Value)>,
    steps: Vec<Value>,
}

/// A gateway, and a way to configure it.
pub struct Gateway<'g> {
    /// Such as `http://127.0.0.1:9080`.
    pub url: String,
    pub client: Client,
    /// Writes a document, or deletes it.
    pub put: &'g (dyn Fn(String, Option<Value>) -> Pending<'g> + Sync),
}

/// A write under way.
pub type Pending<'g> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'g>>;

/// Every case of the files in a folder, in the order of their names.
///
/// `${name}` in a file stands for the address of the backend `name`.
#[must_use]
pub fn read(folder: &Path, backends: &[(&str, String)]) -> Vec<Case> {
    let entries = std::fs::read_dir(folder).expect("a folder of cases");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files.iter().flat_map(|file| read_file(file, backends)).collect()
}

fn read_file(file: &Path, backends: &[(&str, String)]) -> Vec<Case> {
    let mut text = std::fs::read_to_string(file).expect("a file of cases");
    for (name, address) in backends {
        text = text.replace(&format!("${{{name}}}"), address);
    }
    let at = file.display();
    let cases: Value =
        serde_norway::from_str(&text).unwrap_or_else(|why| panic!("{at}: not YAML: {why}"));
    let cases = cases.as_array().unwrap_or_else(|| panic!("{at}: not a list of cases"));
    cases.iter().map(|case| parse(&at.to_string(), case)).collect()
}

fn parse(file: &str, case: &Value) -> Case {
    let name = case["name"].as_str().unwrap_or_else(|| panic!("{file}: a case without a name"));
    known(file, case, &["name", "resources", "steps"]);
    let resources = case["resources"].as_object().cloned().unwrap_or_default();
    let steps = case["steps"].as_array().cloned().unwrap_or_default();
    assert!(!steps.is_empty(), "{file}: {name} asks nothing");
    for step in &steps {
        known(name, step, &["request", "answer", "seen", "times"]);
        known(name, &step["request"], &["method", "path", "host", "headers", "body"]);
        known(name, &step["answer"], &["status", "headers", "body", "json"]);
        assert!(step["answer"]["status"].is_number(), "{name}: an answer without a status");
    }
    Case { name: name.to_owned(), resources: resources.into_iter().collect(), steps }
}

/// A misspelt field would be a check that never fails.
fn known(at: &str, object: &Value, fields: &[&str]) {
    for field in object.as_object().into_iter().flat_map(Map::keys) {
        assert!(fields.contains(&field.as_str()), "{at}: unknown field `{field}`");
    }
}

impl Case {
    /// Configures the gateway, asks, and takes the configuration back. The sentences say what was
    /// answered otherwise than wanted; none if the gateway passed.
    pub async fn run(&self, gateway: &Gateway<'_>, number: usize, backend: &str) -> Vec<String> {
        for (key, document) in &self.resources {
            (gateway.put)(key.clone(), Some(document.clone())).await;
        }
        let path = format!("{MARK}{number}");
        let mark =
            json!({ "uri": path, "upstream": { "type": "roundrobin", "nodes": { backend: 1 } } });
        (gateway.put)("routes/in-force".to_owned(), Some(mark)).await;
        let mut failures = Vec::new();
        if follow(gateway, &path).await {
            for (index, step) in self.steps.iter().enumerate() {
                for _ in 0..step["times"].as_u64().unwrap_or(1) {
                    let found = ask(gateway, &step["request"]).await;
                    let wrong = compare(step, &found);
                    let at = format!("{}, step {}", self.name, index + 1);
                    failures.extend(wrong.into_iter().map(|what| format!("{at}: {what}")));
                }
            }
        } else {
            failures.push(format!("{}: the configuration was not in force in time", self.name));
        }
        // Routes first: what they refer to must not go before them.
        let mut keys: Vec<&String> = self.resources.iter().map(|(key, _)| key).collect();
        keys.sort_by_key(|key| !key.starts_with("routes/"));
        for key in keys {
            (gateway.put)(key.clone(), None).await;
        }
        failures
    }
}

/// Waits until the mark is served, which was written last.
async fn follow(gateway: &Gateway<'_>, path: &str) -> bool {
    let start = Instant::now();
    let url = format!("{}{path}", gateway.url);
    while start.elapsed() < PATIENCE {
        if let Ok(answer) = gateway.client.get(&url).send().await
            && answer.status() == 200
        {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

/// What a gateway answered.
struct Found {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

async fn ask(gateway: &Gateway<'_>, request: &Value) -> Found {
    let method = request["method"].as_str().unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let path = request["path"].as_str().unwrap_or("/");
    let mut builder = gateway.client.request(method, format!("{}{path}", gateway.url));
    if let Some(host) = request["host"].as_str() {
        builder = builder.header("host", host);
    }
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        builder = builder.header(name, value.as_str().expect("headers are texts"));
    }
    if let Some(body) = request["body"].as_str() {
        builder = builder.body(body.to_owned());
    }
    let answer: Response = builder.send().await.expect("an answer");
    let text = |value: &reqwest::header::HeaderValue| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    };
    let status = answer.status().as_u16();
    let headers =
        answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Found { status, headers, body: answer.text().await.unwrap_or_default() }
}

/// What is otherwise than wanted.
fn compare(step: &Value, found: &Found) -> Vec<String> {
    let wanted = &step["answer"];
    let mut wrong = Vec::new();
    if wanted["status"] != found.status {
        wrong.push(format!("status {}, not {}: {}", found.status, wanted["status"], found.body));
    }
    for (name, value) in wanted["headers"].as_object().into_iter().flatten() {
        let all = found.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        let all: Vec<&str> = all.map(|(_, value)| value.as_str()).collect();
        let fits = match value.as_str() {
            None => all.is_empty(),
            Some("*") => !all.is_empty(),
            Some(text) => all.contains(&text),
        };
        if !fits {
            wrong.push(format!("header {name}: {all:?}, not {value}"));
        }
    }
    if let Some(text) = wanted["body"].as_str()
        && text != found.body
    {
        wrong.push(format!("body {:?}, not {text:?}", found.body));
    }
    let body: Value = serde_json::from_str(&found.body).unwrap_or_default();
    for (name, part) in [("json", &wanted["json"]), ("seen", &step["seen"])] {
        wrong.extend(differences(name, part, &body));
    }
    wrong
}

/// Where `whole` lacks something of `part`; null stands for what must not be there.
fn differences(at: &str, part: &Value, whole: &Value) -> Vec<String> {
    match part {
        Value::Object(fields) => {
            let inner = |(name, part): (&String, &Value)| {
                if part.is_null() && !whole[name].is_null() {
                    return vec![format!("{at}.{name} is {}, and must not be there", whole[name])];
                }
                differences(&format!("{at}.{name}"), part, &whole[name])
            };
            fields.iter().flat_map(inner).collect()
        }
        Value::Null => Vec::new(),
        part if part == whole => Vec::new(),
        part => vec![format!("{at} is {whole}, not {part}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_names_everything_that_differs() {
        let step = json!({
            "answer": { "status": 200, "headers": { "a": "1", "b": null, "c": "*" }, "json": { "x": 1 } },
            "seen": { "headers": { "secret": null } },
        });
        let found = |status, headers: &[(&str, &str)], body: &str| Found {
            status,
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: body.to_owned(),
        };
        assert!(compare(&step, &found(200, &[("A", "1"), ("c", "")], "{\"x\":1}")).is_empty());
        let wrong = found(404, &[("b", "2")], "{\"headers\":{\"secret\":\"s\"}}");
        let wrong = compare(&step, &wrong).join("\n");
        for part in
            ["status 404", "header a", "header b", "header c", "json.x", "seen.headers.secret"]
        {
            assert!(wrong.contains(part), "{part}: {wrong}");
        }
    }
}
