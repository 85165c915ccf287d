//! What a browser keeps for us: sealed, so that it can neither be read nor made up there. With a
//! [`Shelf`] the session is there, sealed as well, and the browser keeps its number.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use http::HeaderValue;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{Identity, Visit, now, random, settings, shelf::Shelf};

/// Browsers keep about 4096 bytes of one cookie, its name and attributes included.
const PIECE_BYTES_MAX: usize = 3600;
/// More would not fit into the header of a request.
const PIECES_MAX: usize = 8;
const NONCE_BYTES: usize = 24;

/// Somebody who has signed in.
#[derive(Serialize, Deserialize)]
pub struct Session {
    pub identity: Identity,
    /// When the access token ends; seconds of the Unix clock, as the others.
    pub expires: i64,
    pub began: i64,
    /// When the browser was last given this cookie.
    pub renewed: i64,
}

/// Cookies of one configuration.
pub struct Jar {
    cipher: XChaCha20Poly1305,
    name: String,
    attributes: String,
    /// None marks cookies that come over TLS.
    secure: Option<bool>,
    /// Seconds; zero is for ever.
    idling: i64,
    absolute: i64,
    /// None if browsers keep sessions.
    shelf: Option<Shelf>,
}

/// What a browser keeps of a session on a shelf.
#[derive(Serialize, Deserialize)]
struct Ticket {
    id: String,
}

impl Jar {
    /// `place` separates configurations that have the same secret.
    pub fn new(
        config: &settings::Session,
        place: &str,
        shelf: Option<Shelf>,
    ) -> Result<Self, String> {
        let key = Sha256::new_with_prefix("openid-connect session\0")
            .chain_update(place)
            .chain_update("\0")
            .chain_update(&config.secret)
            .finalize();
        let text = |value: &Option<String>, default: &str| {
            value.clone().unwrap_or_else(|| default.to_owned())
        };
        let mut attributes = format!("; Path={}", text(&config.cookie_path, "/"));
        if let Some(domain) = &config.cookie_domain {
            attributes.push_str(&format!("; Domain={domain}"));
        }
        if config.cookie_http_only != Some(false) {
            attributes.push_str("; HttpOnly");
        }
        match text(&config.cookie_same_site, "Lax").as_str() {
            "Default" => {}
            other => attributes.push_str(&format!("; SameSite={other}")),
        }
        let name = text(&config.cookie_name, "session");
        HeaderValue::try_from(format!("{name}={attributes}"))
            .map_err(|_| "the cookie's name or attributes do not fit into a header".to_owned())?;
        let idling = config.idling_timeout.unwrap_or(900);
        let rolling = config.rolling_timeout.unwrap_or(3600);
        let lifetime = config.cookie.as_ref().and_then(|cookie| cookie.lifetime);
        Ok(Self {
            cipher: XChaCha20Poly1305::new(&key),
            name,
            attributes,
            secure: config.cookie_secure,
            idling: match (idling, rolling) {
                (0, other) | (other, 0) => other,
                (idling, rolling) => idling.min(rolling),
            },
            absolute: config.absolute_timeout.or(lifetime).unwrap_or(86_400),
            shelf,
        })
    }

    /// The session of a browser, if it has one that is still good.
    pub async fn session(&self, visit: &Visit) -> Result<Option<Session>, String> {
        let session: Option<Session> = match &self.shelf {
            None => self.read(visit, &self.name),
            Some(shelf) => match self.ticket(visit) {
                None => None,
                Some(id) => shelf.get(&id).await?.and_then(|sealed| self.open(&id, &sealed)),
            },
        };
        let over = |limit: i64, since: i64| limit > 0 && now() - since >= limit;
        Ok(session.filter(|session| {
            !over(self.idling, session.renewed) && !over(self.absolute, session.began)
        }))
    }

    /// The number of a browser's session.
    fn ticket(&self, visit: &Visit) -> Option<String> {
        self.read::<Ticket>(visit, &self.name).map(|ticket| ticket.id)
    }

    /// Whether the browser should get its cookie anew, so that the session goes on.
    pub fn is_ageing(&self, session: &Session) -> bool {
        self.idling > 0 && now() - session.renewed >= self.idling / 4
    }

    /// Cookies that keep a session which has begun just now. The error says why it cannot be kept.
    pub async fn begin(
        &self,
        visit: &Visit,
        session: &Session,
    ) -> Result<Vec<HeaderValue>, String> {
        let Some(shelf) = &self.shelf else { return self.write(visit, &self.name, session) };
        // Nobody goes on with a number that was known before.
        if let Some(id) = self.ticket(visit) {
            shelf.remove(&id).await?;
        }
        self.shelve(shelf, random(), visit, session).await
    }

    /// Cookies that keep a session which goes on.
    pub async fn keep(&self, visit: &Visit, session: &Session) -> Result<Vec<HeaderValue>, String> {
        let Some(shelf) = &self.shelf else { return self.write(visit, &self.name, session) };
        let id = self.ticket(visit).ok_or("the session has no number")?;
        self.shelve(shelf, id, visit, session).await
    }

    async fn shelve(
        &self,
        shelf: &Shelf,
        id: String,
        visit: &Visit,
        session: &Session,
    ) -> Result<Vec<HeaderValue>, String> {
        let left = match self.absolute {
            0 => 0,
            absolute => (session.began.saturating_add(absolute) - now()).max(1),
        };
        let seconds = match (self.idling, left) {
            (0, other) | (other, 0) => other,
            (idling, left) => idling.min(left),
        };
        shelf.put(&id, &self.seal(&id, session)?, seconds).await?;
        self.write(visit, &self.name, &Ticket { id })
    }

    /// The name of the cookie of a sign-in that is under way.
    fn underway(&self) -> String {
        format!("{}_signin", self.name)
    }

    /// What was noted when the browser left for the provider.
    pub fn departure<T: DeserializeOwned>(&self, visit: &Visit) -> Option<T> {
        self.read(visit, &self.underway())
    }

    /// Notes something until the browser is back.
    pub fn note<T: Serialize>(&self, visit: &Visit, value: &T) -> Result<Vec<HeaderValue>, String> {
        self.write(visit, &self.underway(), value)
    }

    /// Ends the session; cookies that end it in the browser too, and whatever is under way.
    pub async fn clear(&self, visit: &Visit) -> Result<Vec<HeaderValue>, String> {
        if let Some((shelf, id)) = self.shelf.as_ref().zip(self.ticket(visit)) {
            shelf.remove(&id).await?;
        }
        let session = self.clear_pieces(visit, &self.name, 1);
        Ok(session.chain(self.clear_pieces(visit, &self.underway(), 1)).collect())
    }

    /// Cookies that end what is under way.
    pub fn clear_departure(&self, visit: &Visit) -> Vec<HeaderValue> {
        self.clear_pieces(visit, &self.underway(), 1).collect()
    }

    /// Ends the pieces from `first` on that the browser has.
    fn clear_pieces(
        &self,
        visit: &Visit,
        name: &str,
        first: usize,
    ) -> impl Iterator<Item = HeaderValue> {
        let present = (first..=PIECES_MAX).map(|number| piece(name, number));
        present
            .filter(|name| visit.cookie(name).is_some())
            .filter_map(|name| self.cookie(visit, &name, "", "; Max-Age=0"))
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn cookie(&self, visit: &Visit, name: &str, value: &str, more: &str) -> Option<HeaderValue> {
        let secure = self.secure.unwrap_or_else(|| visit.origin.starts_with("https:"));
        let secure = if secure { "; Secure" } else { "" };
        HeaderValue::try_from(format!("{name}={value}{}{secure}{more}", self.attributes)).ok()
    }

    fn write<T: Serialize>(
        &self,
        visit: &Visit,
        name: &str,
        value: &T,
    ) -> Result<Vec<HeaderValue>, String> {
        let text = URL_SAFE_NO_PAD.encode(self.seal(name, value)?);
        let count = text.len().div_ceil(PIECE_BYTES_MAX);
        if count > PIECES_MAX {
            return Err(format!("the tokens take more than {PIECES_MAX} cookies"));
        }
        let mut cookies = Vec::with_capacity(count);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (part, tail) = rest.split_at(rest.len().min(PIECE_BYTES_MAX));
            let number = cookies.len() + 1;
            let start = if number == 1 { format!("{count}.") } else { String::new() };
            let value = format!("{start}{part}");
            cookies.extend(self.cookie(visit, &piece(name, number), &value, ""));
            rest = tail;
        }
        cookies.extend(self.clear_pieces(visit, name, count + 1));
        Ok(cookies)
    }

    fn read<T: DeserializeOwned>(&self, visit: &Visit, name: &str) -> Option<T> {
        let (count, first) = visit.cookie(name)?.split_once('.')?;
        let count: usize = count.parse().ok().filter(|count| *count <= PIECES_MAX)?;
        let mut text = first.to_owned();
        for number in 2..=count {
            text.push_str(visit.cookie(&piece(name, number))?);
        }
        self.open(name, &URL_SAFE_NO_PAD.decode(text).ok()?)
    }

    /// Seals a value for what has this name.
    fn seal<T: Serialize>(&self, name: &str, value: &T) -> Result<Vec<u8>, String> {
        let text = serde_json::to_vec(value).map_err(|error| error.to_string())?;
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: &text, aad: name.as_bytes() };
        let sealed = self.cipher.encrypt(&nonce.into(), payload).map_err(|_| "cannot be sealed")?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn open<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Option<T> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        serde_json::from_slice(&self.cipher.decrypt(&(*nonce).into(), payload).ok()?).ok()
    }
}

/// The name of a piece of a value that does not fit into one cookie.
fn piece(name: &str, number: usize) -> String {
    if number == 1 { name.to_owned() } else { format!("{name}{number}") }
}

impl Visit {
    fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(cookies: &[HeaderValue]) -> Visit {
        let pair = |cookie: &HeaderValue| {
            let text = cookie.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        Visit {
            is_get: true,
            origin: "https://a".to_owned(),
            path: "/".to_owned(),
            query: String::new(),
            uri: "/".to_owned(),
            cookies: cookies.iter().map(pair).collect(),
        }
    }

    fn jar(secret: &str, more: &serde_json::Value) -> Jar {
        let mut config = serde_json::json!({"secret": secret, "storage": "cookie"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Jar::new(&serde_json::from_value(config).unwrap(), "client", None).unwrap()
    }

    fn session(token: usize, age: i64) -> Session {
        let identity = Identity { access_token: Some("x".repeat(token)), ..Identity::default() };
        Session { identity, expires: 0, began: now() - age, renewed: now() - age }
    }

    #[tokio::test]
    async fn every_length_comes_back_or_is_refused() {
        let jar = jar("one", &serde_json::json!({}));
        // Where one piece becomes two, and two become three.
        for token in (2400..2700).chain(5100..5400) {
            let cookies = jar.keep(&visit(&[]), &session(token, 0)).await.unwrap();
            let found = jar.session(&visit(&cookies)).await.unwrap().unwrap();
            assert_eq!(found.identity.access_token.unwrap().len(), token);
        }
        assert!(jar.keep(&visit(&[]), &session(40_000, 0)).await.is_err());
    }

    #[tokio::test]
    async fn pieces_that_are_not_needed_any_more_are_taken_away() {
        let jar = jar("one", &serde_json::json!({}));
        let large = jar.keep(&visit(&[]), &session(6000, 0)).await.unwrap();
        let small = jar.keep(&visit(&large), &session(10, 0)).await.unwrap();
        let ended = |cookie: &&HeaderValue| cookie.to_str().unwrap().ends_with("; Max-Age=0");
        assert_eq!(small.iter().filter(ended).count(), large.len() - 1);
    }

    #[tokio::test]
    async fn only_the_secret_opens_a_session() {
        let [one, two] = ["one", "two"].map(|secret| jar(secret, &serde_json::json!({})));
        let cookies = one.keep(&visit(&[]), &session(10, 0)).await.unwrap();
        assert!(two.session(&visit(&cookies)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn sessions_end_when_they_idle_or_are_too_old() {
        for (settings, age, good) in [
            (serde_json::json!({}), 800, true),
            (serde_json::json!({}), 1000, false),
            (serde_json::json!({"idling_timeout": 0}), 1000, true),
            (serde_json::json!({"idling_timeout": 0, "rolling_timeout": 500}), 1000, false),
            (serde_json::json!({"idling_timeout": 0, "rolling_timeout": 0}), 80_000, true),
            (serde_json::json!({"idling_timeout": 0, "rolling_timeout": 0}), 90_000, false),
            (serde_json::json!({"cookie": {"lifetime": 100}}), 200, false),
            (
                serde_json::json!({"idling_timeout": 0, "rolling_timeout": 0, "absolute_timeout": 0}),
                90_000,
                true,
            ),
        ] {
            let jar = jar("one", &settings);
            let cookies = jar.keep(&visit(&[]), &session(10, age)).await.unwrap();
            let found = jar.session(&visit(&cookies)).await.unwrap();
            assert_eq!(found.is_some(), good, "{settings} {age}");
        }
    }

    #[tokio::test]
    async fn cookies_have_the_attributes_that_are_configured() {
        let settings = serde_json::json!({"cookie_name": "n", "cookie_path": "/p",
            "cookie_domain": "d", "cookie_http_only": false, "cookie_same_site": "None"});
        let cookies = jar("one", &settings).keep(&visit(&[]), &session(10, 0)).await.unwrap();
        let cookie = cookies.first().unwrap().to_str().unwrap();
        assert!(cookie.starts_with("n=1."), "{cookie}");
        assert!(cookie.ends_with("; Path=/p; Domain=d; SameSite=None; Secure"), "{cookie}");
    }
}
