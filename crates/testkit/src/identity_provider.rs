//! A real OpenID provider as a child process (`crates/testkit/oidc`), and a browser that can sign in
//! there: it keeps cookies, follows redirects and sends forms.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{RequestBuilder, Response, Url};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// What Gantry is called at the provider.
pub const CLIENT_ID: &str = "gantry";
pub const CLIENT_SECRET: &str = "a secret, with + & % in it";

/// A running provider; killed when dropped.
pub struct IdentityProvider {
    pub issuer: String,
    _child: Child,
}

impl IdentityProvider {
    /// Starts a provider that sends people back to `redirect_uri`.
    pub async fn start(redirect_uri: &str) -> Self {
        let script = folder().join("provider.js");
        assert!(script.is_file(), "no {}: run `make test`", script.display());
        let mut child = Command::new("node")
            .arg(script)
            .arg(redirect_uri)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("`node` of the package nodejs");
        let mut lines = BufReader::new(child.stdout.take().expect("a piped output")).lines();
        let line = lines.next_line().await.expect("a readable output").unwrap_or_default();
        // A closed pipe would end it at its next word.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let issuer = line.strip_prefix("ready ").expect("a provider that gets ready").to_owned();
        Self { issuer, _child: child }
    }

    /// Replaces the keys that sign its tokens.
    pub async fn rotate_keys(&self) {
        let url = format!("{}/rotate", self.issuer);
        let answer = crate::client().post(url).send().await.expect("an answer of the provider");
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

/// Where `make test` puts the provider.
fn folder() -> PathBuf {
    let given = std::env::var_os("GANTRY_TEST_IDENTITY_PROVIDER").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    given.unwrap_or_else(|| home().join(".cache/gantry/identity-provider"))
}

/// A person's browser. Cookies are kept per origin and path, as browsers on different hosts do.
#[derive(Default)]
pub struct Browser {
    /// Value by origin, path and name.
    cookies: BTreeMap<(String, String, String), String>,
}

impl Browser {
    /// A page, without following where it leads.
    pub async fn get(&mut self, url: &str) -> Response {
        self.send(url, crate::client().get(url)).await
    }

    /// Goes to the provider by `url`, signs in as `login`, agrees to everything, and answers the
    /// address under `back` that the provider sends the browser to, without going there.
    pub async fn sign_in(&mut self, url: &str, login: &str, back: &str) -> String {
        let mut url = url.to_owned();
        for _ in 0..20 {
            if url.starts_with(back) {
                return url;
            }
            let page = self.get(&url).await;
            let answer = if page.status().is_redirection() {
                page
            } else {
                let text = page.text().await.expect("a page of the provider");
                let (action, prompt) = form(&text);
                let action = resolved(&url, action);
                let body = format!("prompt={prompt}&login={login}&password=any");
                let request = crate::client()
                    .post(&action)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body);
                let answer = self.send(&action, request).await;
                url = action;
                answer
            };
            url = resolved(&url, &header(&answer, LOCATION.as_str()));
        }
        panic!("the provider sends the browser in circles: {url}");
    }

    /// The value of a cookie that this origin has set.
    #[must_use]
    pub fn cookie(&self, origin: &str, name: &str) -> Option<&str> {
        let mut found = self.cookies.iter().filter(|((at, _, key), _)| at == origin && key == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// Puts a cookie back that was taken away.
    pub fn set_cookie(&mut self, origin: &str, name: &str, value: &str) {
        let key = (origin.to_owned(), "/".to_owned(), name.to_owned());
        self.cookies.insert(key, value.to_owned());
    }

    async fn send(&mut self, url: &str, request: RequestBuilder) -> Response {
        let parsed = Url::parse(url).expect("an absolute URL");
        let origin = parsed.origin().ascii_serialization();
        let fitting = self
            .cookies
            .iter()
            .filter(|((at, path, _), _)| *at == origin && parsed.path().starts_with(path.as_str()));
        let line: Vec<String> =
            fitting.map(|((_, _, name), value)| format!("{name}={value}")).collect();
        let answer = request.header(COOKIE, line.join("; ")).send().await.expect("an answer");
        for cookie in answer.headers().get_all(SET_COOKIE) {
            self.keep(&origin, cookie.to_str().expect("a cookie of ASCII"));
        }
        answer
    }

    fn keep(&mut self, origin: &str, cookie: &str) {
        let mut parts = cookie.split(';').map(str::trim);
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).unwrap_or_default();
        let lower = |part: &&str| part.to_ascii_lowercase();
        let path = parts.clone().find(|part| lower(part).starts_with("path="));
        let path = path.and_then(|part| part.split_once('=')).map_or("/", |(_, path)| path);
        let key = (origin.to_owned(), path.to_owned(), name.to_owned());
        let ended = parts.any(|part| {
            lower(&part) == "max-age=0" || lower(&part).starts_with("expires=thu, 01 jan 1970")
        });
        if ended || value.is_empty() {
            self.cookies.remove(&key);
        } else {
            self.cookies.insert(key, value.to_owned());
        }
    }
}

/// Where a page's form goes, and what it asks.
fn form(page: &str) -> (&str, &str) {
    let between = |start: &str| {
        let (_, rest) = page.split_once(start)?;
        rest.split_once('"').map(|(inside, _)| inside)
    };
    let action = between("action=\"").unwrap_or_else(|| panic!("a form, not {page}"));
    (action, between("name=\"prompt\" value=\"").expect("a form that says what it asks"))
}

fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name).unwrap_or_else(|| panic!("no {name} in {answer:?}"));
    value.to_str().expect("a header of ASCII").to_owned()
}

fn resolved(base: &str, location: &str) -> String {
    Url::parse(base).and_then(|base| base.join(location)).expect("a URL").into()
}
