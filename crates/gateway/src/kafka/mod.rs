//! A producer for one Kafka topic: as much of the protocol as writing messages takes, in versions
//! that all brokers since 0.11 speak.

mod connection;
mod sasl;
mod wire;

use std::{collections::HashMap, time::Duration};

use rand::Rng as _;
use tokio::{sync::Mutex, time::Instant};

use crate::log::Endpoint;
use connection::{Connection, Metadata};
pub use sasl::Login;

/// Tries for one message, while leaders of partitions change.
const TRIES: usize = 3;
/// Pause between them.
const BREATH: Duration = Duration::from_millis(100);

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it took too long")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("the broker's answer cannot be read")]
    Answer,
    #[error("the broker answers with error {0}")]
    Refused(i16),
    #[error("the topic has no partition with a leader")]
    NoLeader,
    #[error("signing in: {0}")]
    Login(&'static str),
    #[error("no broker is configured")]
    NoBroker,
}

/// One broker of the configuration.
#[derive(Clone)]
pub struct Broker {
    pub endpoint: Endpoint,
    pub login: Option<Login>,
}

/// What a producer is told once.
pub struct Settings {
    /// Those that are asked first; they name the others.
    pub brokers: Vec<Broker>,
    pub topic: String,
    /// Goes with every message and chooses its partition; None takes the partitions in turn.
    pub key: Option<String>,
    /// -1 waits for all replicas, 1 for the leader only.
    pub acks: i16,
    pub timeout: Duration,
    /// After this time it is looked up again who leads the partitions.
    pub refresh: Duration,
}

/// Writes messages to one topic.
pub struct Producer {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    metadata: Option<(Metadata, Instant)>,
    /// By the broker's number.
    connections: HashMap<i32, Connection>,
    /// The partition of the next message without a key, as a number that only grows.
    turn: u32,
}

impl Producer {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let state = State { turn: rand::rng().random(), ..State::default() };
        Self { settings, state: Mutex::new(state) }
    }

    /// Writes a message; it is acknowledged when this returns.
    ///
    /// # Errors
    /// When it is not known to be written after some tries.
    pub async fn write(&self, message: &[u8]) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let mut tries = 1;
        loop {
            let Err(error) = self.try_write(&mut state, message).await else { return Ok(()) };
            state.metadata = None;
            state.connections.clear();
            if tries == TRIES {
                return Err(error);
            }
            tries += 1;
            tokio::time::sleep(BREATH).await;
        }
    }

    async fn try_write(&self, state: &mut State, message: &[u8]) -> Result<(), Error> {
        let known = state.metadata.take();
        let fresh = known.filter(|(_, since)| since.elapsed() < self.settings.refresh);
        let (metadata, since) = match fresh {
            Some(known) => known,
            None => (self.look_up().await?, Instant::now()),
        };
        let (metadata, _) = state.metadata.insert((metadata, since));
        let place = match &self.settings.key {
            Some(key) => crc32fast::hash(key.as_bytes()),
            None => {
                state.turn = state.turn.wrapping_add(1);
                state.turn
            }
        };
        let (partition, leader) = metadata.choose(place).ok_or(Error::NoLeader)?;
        let connection = match state.connections.remove(&leader) {
            Some(connection) => connection,
            None => {
                let (host, port) = metadata.broker(leader).ok_or(Error::NoLeader)?;
                self.connect_to(host, port).await?
            }
        };
        // One that fails on the way is dropped: nobody knows what its next bytes mean.
        let connection = state.connections.entry(leader).insert_entry(connection).into_mut();
        connection.produce(&self.settings, partition, message).await
    }

    /// Asks the brokers, one after the other, who leads what.
    async fn look_up(&self) -> Result<Metadata, Error> {
        let mut outcome = Err(Error::NoBroker);
        for broker in &self.settings.brokers {
            outcome = async {
                let mut connection = Connection::open(broker, self.settings.timeout).await?;
                connection.metadata(&self.settings.topic).await
            }
            .await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Connects as the configuration says for this broker, or else for the first one.
    async fn connect_to(&self, host: &str, port: u16) -> Result<Connection, Error> {
        let brokers = &self.settings.brokers;
        let same = |broker: &&Broker| broker.endpoint.host == host && broker.endpoint.port == port;
        let broker = brokers.iter().find(same).or(brokers.first()).ok_or(Error::NoBroker)?;
        let endpoint = Endpoint { host: host.to_owned(), port, ..broker.endpoint.clone() };
        let broker = Broker { endpoint, login: broker.login.clone() };
        Connection::open(&broker, self.settings.timeout).await
    }
}
