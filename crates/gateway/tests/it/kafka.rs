//! kafka-logger against a broker that takes requests apart byte by byte.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gantry_testkit::Origin;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    harness::{Rig, local},
    receivers::logged,
};

/// A message as it was written.
#[derive(Debug, PartialEq)]
struct Message {
    topic: String,
    partition: i32,
    acks: i16,
    key: Option<String>,
    value: String,
}

struct Broker {
    address: SocketAddr,
    messages: mpsc::UnboundedReceiver<Message>,
}

/// What the broker knows.
struct Desk {
    address: SocketAddr,
    /// Nobody but jack with his secret may write.
    closed: bool,
    /// What writing is answered with, then 0.
    errors: Mutex<VecDeque<i16>>,
    messages: mpsc::UnboundedSender<Message>,
}

impl Broker {
    async fn start(closed: bool, errors: &[i16]) -> Self {
        let listener = TcpListener::bind(local()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (messages, received) = mpsc::unbounded_channel();
        let errors = Mutex::new(errors.iter().copied().collect());
        let desk = Arc::new(Desk { address, closed, errors, messages });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&desk)));
            }
        });
        Self { address, messages: received }
    }

    async fn message(&mut self) -> Message {
        self.messages.recv().await.unwrap()
    }
}

/// Reads from the front.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take(&mut self, count: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken.to_vec()
    }

    fn number(&mut self, bytes: usize) -> i64 {
        let bytes = self.take(bytes);
        let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        bytes.iter().fold(sign, |number, byte| (number << 8) | i64::from(*byte))
    }

    fn text(&mut self) -> String {
        let length = self.number(2).try_into().unwrap();
        String::from_utf8(self.take(length)).unwrap()
    }

    fn varint(&mut self) -> i64 {
        let (mut number, mut shift) = (0_u64, 0);
        loop {
            let byte = self.take(1)[0];
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
            }
        }
    }

    fn varblock(&mut self) -> Option<String> {
        let length = usize::try_from(self.varint()).ok()?;
        Some(String::from_utf8(self.take(length)).unwrap())
    }
}

/// The checksum bit by bit, another way than the gateway's.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

async fn serve(mut stream: TcpStream, desk: Arc<Desk>) {
    let mut session = Session { signed_in: !desk.closed, ..Session::default() };
    while let Ok(length) = stream.read_i32().await {
        let mut request = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut request).await.unwrap();
        let mut request = Bytes(&request);
        let (kind, version, number) = (request.number(2), request.number(2), request.take(4));
        assert_eq!(request.text(), "gantry");
        let answer = match (kind, version) {
            (17, 1) => session.handshake(&request.text()),
            (36, 0) => session.authenticate(&mut request),
            // Who is not signed in is hung up on, as Kafka does.
            _ if !session.signed_in => return,
            (3, 1) => metadata(&mut request, &desk),
            (0, 3) => produce(&mut request, &desk),
            other => panic!("{other:?}"),
        };
        assert!(request.0.is_empty(), "{:?} is left of {kind}", request.0);
        let answer = [number, answer].concat();
        let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length, &answer[..]].concat()).await.unwrap();
    }
}

/// One topic with two partitions that this broker leads, and one that nobody leads.
fn metadata(request: &mut Bytes<'_>, desk: &Desk) -> Vec<u8> {
    assert_eq!(request.number(4), 1);
    let topic = request.text();
    let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 7];
    answer.extend(text("127.0.0.1"));
    answer.extend(u32::from(desk.address.port()).to_be_bytes());
    answer.extend([0xff, 0xff, 0, 0, 0, 7, 0, 0, 0, 1]);
    answer.extend(if topic == "forbidden" { [0, 29] } else { [0, 0] });
    answer.extend(text(&topic));
    answer.extend([0, 0, 0, 0, 3]);
    for (partition, leader) in [(1, 7_i32), (0, 7), (2, -1)] {
        answer.extend([0, 0, 0, 0, 0, partition]);
        answer.extend(leader.to_be_bytes());
        answer.extend([0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 7]);
    }
    answer
}

fn produce(request: &mut Bytes<'_>, desk: &Desk) -> Vec<u8> {
    assert_eq!(request.number(2), -1, "no transaction");
    let acks = i16::try_from(request.number(2)).unwrap();
    assert_eq!(request.number(4), 3000, "timeout");
    assert_eq!(request.number(4), 1);
    let topic = request.text();
    assert_eq!(request.number(4), 1);
    let partition = i32::try_from(request.number(4)).unwrap();
    let length = request.number(4).try_into().unwrap();
    let batch = request.take(length);
    let mut batch = Bytes(&batch);
    assert_eq!(batch.number(8), 0, "first offset");
    assert_eq!(usize::try_from(batch.number(4)).unwrap(), batch.0.len());
    assert_eq!((batch.number(4), batch.number(1)), (-1, 2), "epoch and format");
    let checksum = batch.take(4);
    assert_eq!(checksum, crc32c(batch.0).to_be_bytes());
    assert_eq!((batch.number(2), batch.number(4)), (0, 0), "attributes, last offset");
    let (first, last) = (batch.number(8), batch.number(8));
    assert!(first == last && first > 1_600_000_000_000);
    assert_eq!((batch.number(8), batch.number(2), batch.number(4)), (-1, -1, -1), "producer");
    assert_eq!(batch.number(4), 1, "one message");
    assert_eq!(usize::try_from(batch.varint()).unwrap(), batch.0.len());
    assert_eq!((batch.number(1), batch.varint(), batch.varint()), (0, 0, 0));
    let (key, value) = (batch.varblock(), batch.varblock().unwrap());
    assert_eq!(batch.varint(), 0, "no headers");
    assert!(batch.0.is_empty());
    let error = desk.errors.lock().unwrap().pop_front().unwrap_or(0);
    let mut answer = vec![0, 0, 0, 1];
    answer.extend(text(&topic));
    answer.extend([0, 0, 0, 1]);
    answer.extend(partition.to_be_bytes());
    answer.extend(error.to_be_bytes());
    answer.extend([0; 20]);
    if error == 0 {
        desk.messages.send(Message { topic, partition, acks, key, value }).unwrap();
    }
    answer
}

/// Signing in as jack.
#[derive(Default)]
struct Session {
    signed_in: bool,
    mechanism: String,
    /// What was said so far, in SCRAM.
    said: String,
}

impl Session {
    fn handshake(&mut self, mechanism: &str) -> Vec<u8> {
        mechanism.clone_into(&mut self.mechanism);
        [&[0, 0, 0, 0, 0, 1], &text(mechanism)[..]].concat()
    }

    fn authenticate(&mut self, request: &mut Bytes<'_>) -> Vec<u8> {
        let length = request.number(4).try_into().unwrap();
        let said = String::from_utf8(request.take(length)).unwrap();
        let answer = match &*self.mechanism {
            "PLAIN" => (said == "\0jack\0secret").then(String::new),
            _ if self.said.is_empty() => Some(self.challenge(&said)),
            _ => self.verify(&said),
        };
        let Some(answer) = answer else {
            return [&[0, 58], &text("wrong")[..], &[0, 0, 0, 0]].concat();
        };
        self.signed_in = self.mechanism == "PLAIN" || answer.starts_with("v=");
        let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
        [&[0, 0, 0xff, 0xff], &length[..], answer.as_bytes()].concat()
    }

    fn challenge(&mut self, first: &str) -> String {
        let bare = first.strip_prefix("n,,").unwrap();
        let nonce = bare.strip_prefix("n=jack,r=").unwrap();
        let challenge = format!("r={nonce}xyz,s={},i=7", STANDARD.encode("salt"));
        self.said = format!("{bare},{challenge}");
        challenge
    }

    fn verify(&self, last: &str) -> Option<String> {
        let (bare, proof) = last.rsplit_once(",p=").unwrap();
        let said = format!("{},{bare}", self.said);
        let mac = |key: &[u8], text: &[u8]| {
            let mac = Hmac::<Sha512>::new_from_slice(key).unwrap();
            mac.chain_update(text).finalize().into_bytes().to_vec()
        };
        let xor = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a ^ b).collect::<Vec<_>>();
        let mut salted = mac(b"secret", b"salt\0\0\0\x01");
        let mut round = salted.clone();
        for _ in 1..7 {
            round = mac(b"secret", &round);
            salted = xor(&salted, &round);
        }
        // The proof hides the client's key, of which the server knows the hash.
        let stored = Sha512::digest(mac(&salted, b"Client Key")).to_vec();
        let client = xor(&STANDARD.decode(proof).unwrap(), &mac(&stored, said.as_bytes()));
        let server = mac(&mac(&salted, b"Server Key"), said.as_bytes());
        (Sha512::digest(client).to_vec() == stored)
            .then(|| format!("v={}", STANDARD.encode(server)))
    }
}

/// A gateway that logs paths to a broker, one message for each unless told otherwise.
async fn rig(broker: &Broker, origin: &Origin, more: &Value) -> Rig {
    let mut config = json!({
        "brokers": [{"host": "127.0.0.1", "port": broker.address.port()}],
        "kafka_topic": "logs", "batch_max_size": 1, "log_format": {"path": "$uri"},
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Rig::start(&[("routes/1", logged(origin.address, "kafka-logger", &config))]).await
}

#[tokio::test]
async fn messages_without_a_key_take_partitions_in_turn() {
    let (mut broker, origin) = (Broker::start(false, &[]).await, Origin::start("one").await);
    let rig = rig(&broker, &origin, &json!({})).await;
    let mut partitions = Vec::new();
    for number in 0..6 {
        rig.gateway.echo(&format!("/{number}")).await;
        let message = broker.message().await;
        assert_eq!(message.value, format!("{{\"path\":\"/{number}\",\"route_id\":\"1\"}}"));
        assert_eq!((&*message.topic, message.acks, message.key), ("logs", 1, None));
        partitions.push(message.partition);
    }
    partitions.sort_unstable();
    partitions.dedup();
    assert_eq!(partitions, [0, 1], "the one without a leader is passed over");
}

#[tokio::test]
async fn a_key_goes_with_every_message_to_one_partition() {
    let (mut broker, origin) = (Broker::start(false, &[]).await, Origin::start("one").await);
    // By the older list of brokers, two records in a message, acknowledged by all replicas.
    let config = json!({
        "broker_list": {"127.0.0.1": broker.address.port()}, "kafka_topic": "logs", "key": "k",
        "batch_max_size": 2, "required_acks": -1, "producer_type": "sync",
        "log_format": {"path": "$uri"},
    });
    let rig = Rig::start(&[("routes/1", logged(origin.address, "kafka-logger", &config))]).await;
    let mut partitions = Vec::new();
    for _ in 0..2 {
        rig.gateway.echo("/a").await;
        rig.gateway.echo("/b").await;
        let message = broker.message().await;
        let records = r#"[{"path":"/a","route_id":"1"},{"path":"/b","route_id":"1"}]"#;
        assert_eq!((&*message.value, message.acks), (records, -1));
        assert_eq!(message.key.as_deref(), Some("k"));
        partitions.push(message.partition);
    }
    assert_eq!(partitions[0], partitions[1]);
}

#[tokio::test]
async fn requests_go_as_they_came_if_asked_for() {
    let (mut broker, origin) = (Broker::start(false, &[]).await, Origin::start("one").await);
    let config = json!({"meta_format": "origin", "include_req_body": true});
    let rig = rig(&broker, &origin, &config).await;
    let request = rig.gateway.client.post(rig.gateway.url("/a?b=1")).header("X-Test", "1");
    request.body("hello").send().await.unwrap();
    let value = broker.message().await.value;
    assert!(value.starts_with("POST /a?b=1 HTTP/1.1\r\n"), "{value}");
    assert!(value.contains("\r\nx-test: 1\r\n") && value.ends_with("\r\n\r\nhello"), "{value}");
}

#[tokio::test]
async fn a_message_is_written_again_when_leaders_change_and_given_up_at_last() {
    // Not the leader; then too large, three times, which ends the second message.
    let errors = [6, 0, 10, 10, 10];
    let (mut broker, origin) = (Broker::start(false, &errors).await, Origin::start("one").await);
    let rig = rig(&broker, &origin, &json!({})).await;
    rig.gateway.echo("/1").await;
    assert!(broker.message().await.value.contains("/1"));
    rig.gateway.echo("/2").await;
    rig.gateway
        .until(|state| {
            let counts = &state["log_entries"]["kafka-logger"];
            counts["sent"] == json!(1) && counts["failed"] == json!(1)
        })
        .await;
    rig.gateway.echo("/3").await;
    assert!(broker.message().await.value.contains("/3"));
}

#[tokio::test]
async fn clients_sign_in() {
    let origin = Origin::start("one").await;
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let mut broker = Broker::start(true, &[]).await;
        let brokers = |password: &str| {
            json!({"brokers": [{"host": "127.0.0.1", "port": broker.address.port(),
                "sasl_config": {"mechanism": mechanism, "user": "jack", "password": password}}]})
        };
        let stranger = rig(&broker, &origin, &brokers("guess")).await;
        stranger.gateway.echo("/stranger").await;
        stranger
            .gateway
            .until(|state| state["log_entries"]["kafka-logger"]["failed"] == json!(1))
            .await;
        let rig = rig(&broker, &origin, &brokers("secret")).await;
        rig.gateway.echo("/jack").await;
        assert!(broker.message().await.value.contains("/jack"), "{mechanism}");
    }
}

#[tokio::test]
async fn a_topic_that_is_refused_is_a_failure() {
    let (broker, origin) = (Broker::start(false, &[]).await, Origin::start("one").await);
    let rig = rig(&broker, &origin, &json!({"kafka_topic": "forbidden"})).await;
    rig.gateway.echo("/").await;
    rig.gateway.until(|state| state["log_entries"]["kafka-logger"]["failed"] == json!(1)).await;
}
