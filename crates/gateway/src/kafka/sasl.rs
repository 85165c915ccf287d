//! Signing in at a broker: PLAIN, or SCRAM (RFC 5802), where the password does not travel.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use super::{Error, connection::Connection};

/// More rounds than any server asks for, so that none can keep the gateway busy.
const ROUNDS_MAX: u32 = 100_000;

/// Who signs in, and how.
#[derive(Clone, Deserialize)]
pub struct Login {
    pub mechanism: Mechanism,
    pub user: String,
    pub password: String,
}

/// How a password is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    fn mac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        // HMAC takes keys of any length.
        match self {
            Self::Plain => Vec::new(),
            Self::ScramSha256 => Hmac::<Sha256>::new_from_slice(key)
                .map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
                .unwrap_or_default(),
            Self::ScramSha512 => Hmac::<Sha512>::new_from_slice(key)
                .map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
                .unwrap_or_default(),
        }
    }

    fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::ScramSha512 => Sha512::digest(bytes).to_vec(),
            _ => Sha256::digest(bytes).to_vec(),
        }
    }

    /// The password, salted and hashed so many times.
    fn salted(self, password: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
        let mut round = self.mac(password, &[salt, &1_u32.to_be_bytes()].concat());
        let mut salted = round.clone();
        for _ in 1..rounds {
            round = self.mac(password, &round);
            xor(&mut salted, &round);
        }
        salted
    }
}

fn xor(bytes: &mut [u8], other: &[u8]) {
    for (byte, other) in bytes.iter_mut().zip(other) {
        *byte ^= other;
    }
}

/// Signs in on a connection that has agreed on the mechanism.
pub async fn sign_in(login: &Login, connection: &mut Connection) -> Result<(), Error> {
    if login.mechanism == Mechanism::Plain {
        let message = format!("\0{}\0{}", login.user, login.password);
        return connection.authenticate(message.as_bytes()).await.map(|_| ());
    }
    let scram = Scram::new(login, hex::encode(rand::random::<[u8; 16]>()));
    let challenge = connection.authenticate(scram.first().as_bytes()).await?;
    let (answer, expected) = scram.answer(&challenge)?;
    let verdict = connection.authenticate(answer.as_bytes()).await?;
    let proof = verdict.strip_prefix(b"v=").and_then(|text| STANDARD.decode(text).ok());
    // A server that does not know the password is not the one it says it is.
    match proof {
        Some(proof) if bool::from(proof.ct_eq(&expected)) => Ok(()),
        _ => Err(Error::Login("the broker could not prove that it knows the password")),
    }
}

/// One exchange of SCRAM.
struct Scram<'a> {
    login: &'a Login,
    /// What the client begins with, without channel binding's header.
    bare: String,
    nonce: String,
}

impl<'a> Scram<'a> {
    fn new(login: &'a Login, nonce: String) -> Self {
        let user = login.user.replace('=', "=3D").replace(',', "=2C");
        Self { login, bare: format!("n={user},r={nonce}"), nonce }
    }

    fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The answer to the server's challenge, and how the server will prove itself.
    fn answer(&self, challenge: &[u8]) -> Result<(String, Vec<u8>), Error> {
        const UNREADABLE: Error = Error::Login("the challenge cannot be read");
        let challenge = std::str::from_utf8(challenge).map_err(|_| UNREADABLE)?;
        let field = |name: &str| challenge.split(',').find_map(|field| field.strip_prefix(name));
        let (Some(nonce), Some(salt), Some(rounds)) = (field("r="), field("s="), field("i="))
        else {
            return Err(UNREADABLE);
        };
        if !nonce.starts_with(&self.nonce) {
            return Err(Error::Login("the broker answers somebody else"));
        }
        let salt = STANDARD.decode(salt).map_err(|_| UNREADABLE)?;
        let rounds: u32 = rounds.parse().map_err(|_| UNREADABLE)?;
        if rounds > ROUNDS_MAX {
            return Err(Error::Login("the broker asks for too many rounds"));
        }
        let mechanism = self.login.mechanism;
        let salted = mechanism.salted(self.login.password.as_bytes(), &salt, rounds);
        let client = mechanism.mac(&salted, b"Client Key");
        let bare = format!("c=biws,r={nonce}");
        let said = format!("{},{challenge},{bare}", self.bare);
        let mut proof = mechanism.mac(&mechanism.hash(&client), said.as_bytes());
        xor(&mut proof, &client);
        let server = mechanism.mac(&mechanism.mac(&salted, b"Server Key"), said.as_bytes());
        Ok((format!("{bare},p={}", STANDARD.encode(proof)), server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn scram_is_that_of_the_standard() {
        let login = Login {
            mechanism: Mechanism::ScramSha256,
            user: "user".to_owned(),
            password: "pencil".to_owned(),
        };
        let scram = Scram::new(&login, "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let challenge = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let (answer, server) = scram.answer(challenge.as_bytes()).unwrap();
        let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(answer, format!("c=biws,r={nonce},p={proof}"));
        assert_eq!(STANDARD.encode(server), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        for challenge in ["", "r=other,s=AA==,i=1", &format!("r={nonce},s=AA==,i=1000000")] {
            assert!(scram.answer(challenge.as_bytes()).is_err(), "{challenge}");
        }
    }
}
