//! One connection to one broker: a question, an answer, the next question.

use std::time::Duration;

use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    Broker, Error, Settings, sasl,
    wire::{self, Reader, Writer},
};
use crate::log::Stream;

/// Questions by number and version.
const PRODUCE: (i16, i16) = (0, 3);
const METADATA: (i16, i16) = (3, 1);
const HANDSHAKE: (i16, i16) = (17, 1);
const AUTHENTICATE: (i16, i16) = (36, 0);

/// Longer answers are not read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An open connection whose user is signed in.
pub struct Connection {
    stream: Box<dyn Stream>,
    timeout: Duration,
    number: i32,
}

/// Who leads which partition of a topic.
pub struct Metadata {
    brokers: Vec<(i32, String, u16)>,
    /// Partition and leader; -1 is none.
    partitions: Vec<(i32, i32)>,
}

impl Metadata {
    /// The partition for a number, and its leader. Those without a leader are passed over.
    pub fn choose(&self, place: u32) -> Option<(i32, i32)> {
        let count = self.partitions.len();
        let first = usize::try_from(place).ok()?.checked_rem(count)?;
        let mut turn = self.partitions.iter().cycle().skip(first).take(count);
        turn.find(|(_, leader)| *leader >= 0).copied()
    }

    /// Where a broker listens.
    pub fn broker(&self, number: i32) -> Option<(&str, u16)> {
        let found = self.brokers.iter().find(|(other, ..)| *other == number);
        found.map(|(_, host, port)| (&**host, *port))
    }
}

impl Connection {
    /// Connects and signs in.
    pub async fn open(broker: &Broker, timeout: Duration) -> Result<Self, Error> {
        let stream = broker.endpoint.connect().await?;
        let mut connection = Self { stream, timeout, number: 0 };
        if let Some(login) = &broker.login {
            let mut request = Writer::default();
            request.text(login.mechanism.name());
            let answer = connection.ask(HANDSHAKE, &request.0).await?;
            let error = Reader(&answer).i16().ok_or(Error::Answer)?;
            accepted(error)?;
            sasl::sign_in(login, &mut connection).await?;
        }
        Ok(connection)
    }

    /// Hands over what a login wants to say, and answers what the broker says to it.
    pub async fn authenticate(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut request = Writer::default();
        request.block(bytes);
        let answer = self.ask(AUTHENTICATE, &request.0).await?;
        let read = |reader: &mut Reader<'_>| {
            let error = reader.i16()?;
            let _sentence = reader.text()?;
            Some((error, reader.block()?.to_vec()))
        };
        let (error, bytes) = read(&mut Reader(&answer)).ok_or(Error::Answer)?;
        accepted(error).map(|()| bytes)
    }

    /// Asks about a topic.
    pub async fn metadata(&mut self, topic: &str) -> Result<Metadata, Error> {
        let mut request = Writer::default();
        request.i32(1).text(topic);
        let answer = self.ask(METADATA, &request.0).await?;
        let (error, metadata) = metadata(&mut Reader(&answer)).ok_or(Error::Answer)?;
        accepted(error).map(|()| metadata)
    }

    /// Writes a message into a partition.
    pub async fn produce(
        &mut self,
        settings: &Settings,
        partition: i32,
        message: &[u8],
    ) -> Result<(), Error> {
        let now = Timestamp::now().as_millisecond();
        let batch = wire::batch(settings.key.as_deref(), message, now);
        let timeout = i32::try_from(settings.timeout.as_millis()).unwrap_or(i32::MAX);
        let mut request = Writer::default();
        // No transaction.
        request.i16(-1).i16(settings.acks).i32(timeout);
        request.i32(1).text(&settings.topic).i32(1).i32(partition).block(&batch);
        let answer = self.ask(PRODUCE, &request.0).await?;
        let errors = Reader(&answer).list(|topic| {
            topic.text()?;
            topic.list(|partition| {
                let (_number, error) = (partition.i32()?, partition.i16()?);
                // The place in the partition and the time there.
                partition.take(16)?;
                Some(error)
            })
        });
        let error = errors.and_then(|topics| topics.first()?.first().copied());
        accepted(error.ok_or(Error::Answer)?)
    }

    /// Sends a question and waits for its answer.
    async fn ask(&mut self, (kind, version): (i16, i16), body: &[u8]) -> Result<Vec<u8>, Error> {
        self.number = self.number.wrapping_add(1);
        let mut request = Writer::default();
        request.i16(kind).i16(version).i32(self.number).text("gantry").bytes(body);
        let mut framed = Writer::default();
        framed.block(&request.0);
        let stream = &mut self.stream;
        let answer = timeout(self.timeout, async {
            stream.write_all(&framed.0).await?;
            stream.flush().await?;
            let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
            if length > ANSWER_BYTES_MAX {
                return Err(Error::Answer);
            }
            let mut answer = vec![0; length];
            stream.read_exact(&mut answer).await?;
            Ok(answer)
        });
        let mut answer = answer.await??;
        let number = Reader(&answer).i32();
        if number != Some(self.number) {
            return Err(Error::Answer);
        }
        Ok(answer.split_off(4))
    }
}

fn accepted(error: i16) -> Result<(), Error> {
    if error == 0 { Ok(()) } else { Err(Error::Refused(error)) }
}

/// The error of the topic asked about, and what is known about it.
fn metadata(reader: &mut Reader<'_>) -> Option<(i16, Metadata)> {
    let brokers = reader.list(|broker| {
        let (number, host, port) = (broker.i32()?, broker.text()??, broker.i32()?);
        broker.text()?;
        Some((number, host, u16::try_from(port).ok()?))
    })?;
    let _controller = reader.i32()?;
    let mut topics = reader.list(|topic| {
        let (error, _name, _internal) = (topic.i16()?, topic.text()?, topic.i8()?);
        let partitions = topic.list(|partition| {
            let (_error, number, leader) = (partition.i16()?, partition.i32()?, partition.i32()?);
            let (_replicas, _in_sync) =
                (partition.list(Reader::i32)?, partition.list(Reader::i32)?);
            Some((number, leader))
        })?;
        Some((error, partitions))
    })?;
    let (error, mut partitions) = topics.pop()?;
    partitions.sort_unstable();
    Some((error, Metadata { brokers, partitions }))
}
