//! Names of nodes. Requests read what is known; only the first request for a name waits.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rpds::HashTrieMapSync;
use tokio::sync::OnceCell;

use super::servers::Servers;

/// Bounds how long an answer is taken as fresh, whatever its records say.
const FRESH_MIN: Duration = Duration::from_secs(1);
const FRESH_MAX: Duration = Duration::from_secs(3600);
/// How long a name nobody could resolve is not asked for again.
const FAILED: Duration = Duration::from_secs(1);
/// Bounds memory when configuration names ever new hosts.
const NAMES_MAX: usize = 10_000;

/// How long an answer may take, all servers and repetitions included.
const PATIENCE: Duration = Duration::from_secs(5);

/// One name. Whoever comes while it is asked for waits for the same answer.
#[derive(Default)]
struct Known {
    answer: OnceCell<Answer>,
    /// A newer answer is on its way.
    renewing: AtomicBool,
    turn: AtomicUsize,
}

struct Answer {
    /// Empty if the name could not be resolved.
    addresses: Vec<IpAddr>,
    until: Instant,
    /// The version of the files it comes from.
    version: u64,
}

/// What is known, and who is asked for the rest. Clones share both.
#[derive(Clone, Default)]
pub struct Resolver {
    known: Arc<ArcSwap<HashTrieMapSync<String, Arc<Known>>>>,
    servers: Arc<Servers>,
}

impl Resolver {
    /// Asks these servers, or those of the system if there are none; `/etc/hosts` goes first.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { known: Arc::default(), servers: Arc::new(Servers::new(servers)) }
    }

    /// One address of the name, taking turns if it has several. None if it has none.
    pub async fn resolve(&self, name: &str) -> Option<IpAddr> {
        let known = self.know(name).await;
        let addresses = known.addresses();
        let turn = known.turn.fetch_add(1, Ordering::Relaxed);
        addresses.get(turn % addresses.len().max(1)).copied()
    }

    /// All addresses of the name.
    pub async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.know(name).await.addresses().to_vec()
    }

    async fn know(&self, name: &str) -> Arc<Known> {
        let mut known = self.known.load().get(name).cloned();
        let answer = known.as_ref().and_then(|known| known.answer.get());
        let now = Instant::now();
        let version = self.servers.version(now);
        let is_old = |answer: &&Answer| answer.until <= now || answer.version != version;
        if let Some(Answer { addresses, .. }) = answer.filter(is_old) {
            if addresses.is_empty() {
                known = Some(self.put(name, known.as_ref(), &Arc::default()));
            } else {
                self.renew(name, known.as_ref());
            }
        }
        let known = known.unwrap_or_else(|| self.put(name, None, &Arc::default()));
        known.answer.get_or_init(|| self.ask(name, None)).await;
        known
    }

    /// Asks behind the back of the request, which takes the answer before; that outlives a failure.
    fn renew(&self, name: &str, before: Option<&Arc<Known>>) {
        let Some(before) = before.filter(|it| !it.renewing.swap(true, Ordering::Relaxed)) else {
            return;
        };
        let (resolver, name, before) = (self.clone(), name.to_owned(), Arc::clone(before));
        tokio::spawn(async move {
            let answer = OnceCell::new_with(Some(resolver.ask(&name, Some(&before)).await));
            // With answers that are good for a moment only, all addresses still get their turns.
            let turn = AtomicUsize::new(before.turn.load(Ordering::Relaxed));
            let new = Known { answer, turn, ..Known::default() };
            resolver.put(&name, Some(&before), &Arc::new(new));
        });
    }

    /// Puts one in the place of another, unless somebody else has done so already; answers what is
    /// there then.
    fn put(&self, name: &str, before: Option<&Arc<Known>>, new: &Arc<Known>) -> Arc<Known> {
        let mut there = Arc::clone(new);
        self.known.rcu(|names| {
            let found = names.get(name);
            if let Some(found) = found.filter(|_| found.map(Arc::as_ptr) != before.map(Arc::as_ptr))
            {
                there = Arc::clone(found);
                return Arc::clone(names);
            }
            there = Arc::clone(new);
            let mut names = if found.is_some() || names.size() < NAMES_MAX {
                (**names).clone()
            } else {
                HashTrieMapSync::new_sync()
            };
            names.insert_mut(name.to_owned(), Arc::clone(new));
            Arc::new(names)
        });
        there
    }

    /// Asks the servers; an answer before outlives a failure.
    async fn ask(&self, name: &str, before: Option<&Known>) -> Answer {
        let (version, lookup) = self.servers.lookup(name);
        let found = tokio::time::timeout(PATIENCE, lookup).await;
        let now = Instant::now();
        let (error, kept) = match found {
            Ok(Ok(found)) => {
                let until = found.valid_until().clamp(now + FRESH_MIN, now + FRESH_MAX);
                return Answer { addresses: found.iter().collect(), until, version };
            }
            // The servers say so: whoever has the addresses now is somebody else.
            Ok(Err(error)) if error.is_no_records_found() => (error.to_string(), None),
            Ok(Err(error)) => (error.to_string(), before),
            Err(_) => ("the servers do not answer".to_owned(), before),
        };
        tracing::warn!(name, error, "a node's name could not be resolved");
        let addresses = kept.map_or(&[][..], Known::addresses).to_vec();
        Answer { addresses, until: now + FAILED, version }
    }
}

impl Known {
    fn addresses(&self) -> &[IpAddr] {
        self.answer.get().map_or(&[], |answer| &answer.addresses)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, net::Ipv4Addr, sync::Mutex};

    use hickory_resolver::proto::{
        op::{Message, ResponseCode},
        rr::{RData, Record, RecordType, rdata::A},
    };
    use tokio::net::UdpSocket;

    use super::*;

    /// A server that knows `short.test` for no time and `long.test` for five minutes. Each answer is another
    /// address: 127.0.0.1, 127.0.0.2 and so on.
    async fn server() -> (SocketAddr, Arc<Mutex<HashMap<String, u8>>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked: Arc<Mutex<HashMap<String, u8>>> = Arc::default();
        let counts = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((size, client)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..size]).unwrap();
                let answer = answer(&question, &counts);
                socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        });
        (address, asked)
    }

    fn answer(question: &Message, counts: &Mutex<HashMap<String, u8>>) -> Message {
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.queries.clone_from(&question.queries);
        let query = &question.queries[0];
        let ttl = match query.name().to_ascii().as_str() {
            "short.test." => 0,
            "long.test." => 300,
            _ => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                return answer;
            }
        };
        if query.query_type() == RecordType::A {
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(query.name().to_ascii()).or_default();
            *count += 1;
            let data = RData::A(A(Ipv4Addr::new(127, 0, 0, *count)));
            answer.answers.push(Record::from_rdata(query.name().clone(), ttl, data));
        }
        answer
    }

    #[tokio::test]
    async fn an_answer_is_good_for_as_long_as_its_records_say() {
        let (address, asked) = server().await;
        let resolver = Resolver::new(vec![address]);
        let (first, long) = (IpAddr::from([127, 0, 0, 1]), "long.test");
        let (short, long) = (resolver.know("short.test").await, resolver.know(long).await);
        let until = |known: &Known| known.answer.get().unwrap().until;
        assert!(until(&short) <= Instant::now() + FRESH_MIN);
        assert!(until(&long) > Instant::now() + Duration::from_secs(200));
        // Once its time is over, whoever asks gets it once more and makes it new.
        let over = Answer { addresses: vec![first], until: Instant::now(), version: 0 };
        let over = Known { answer: OnceCell::new_with(Some(over)), ..Known::default() };
        resolver.put("short.test", Some(&short), &Arc::new(over));
        assert_eq!(resolver.resolve("short.test").await, Some(first));
        let renewed = async {
            while resolver.resolve("short.test").await == Some(first) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), renewed).await.unwrap();
        assert_eq!(resolver.resolve("long.test").await, Some(first));
        assert_eq!(asked.lock().unwrap().get("long.test."), Some(&1));
    }

    #[tokio::test]
    async fn what_servers_do_not_know_any_more_has_no_address() {
        let resolver = Resolver::new(vec![server().await.0]);
        let known = resolver.know("long.test").await;
        let later = resolver.ask("unknown.test", Some(&known)).await;
        assert!(!known.addresses().is_empty() && later.addresses.is_empty());
    }

    #[tokio::test]
    async fn addresses_outlive_a_server_that_fails() {
        let resolver = Resolver::new(vec![server().await.0]);
        let known = resolver.know("long.test").await;
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let later = Resolver::new(vec![gone]).ask("long.test", Some(&known)).await;
        assert_eq!(later.addresses, known.addresses());
        assert!(later.until <= Instant::now() + FAILED);
    }

    #[tokio::test]
    async fn files_that_change_are_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["resolv.conf", "hosts"].map(|name| directory.path().join(name));
        let write = |resolv: &str, hosts: &str| {
            for (path, text) in paths.iter().zip([resolv, hosts]) {
                std::fs::write(path, text).unwrap();
            }
        };
        write("nameserver 127.0.0.1\nsearch a.test\n", "127.0.0.5 short.a.test\n");
        let servers = Servers::reading(paths.clone());
        let resolver = Resolver { known: Arc::default(), servers: Arc::new(servers) };
        let until = async |last| {
            let address = Some(IpAddr::from([127, 0, 0, last]));
            let found = async {
                while resolver.resolve("short").await != address {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), found).await.unwrap();
        };
        until(5).await;
        // An hour is not waited for.
        write("nameserver 127.0.0.1\nsearch a.test\n", "127.0.0.66 short.a.test\n");
        until(66).await;
        write(
            "nameserver 127.0.0.1\nsearch other.test a.test\n",
            "127.0.0.66 short.a.test\n127.0.0.7 short.other.test\n",
        );
        until(7).await;
        // What cannot be read changes nothing.
        std::fs::remove_file(&paths[0]).unwrap();
        let before = resolver.servers.version(Instant::now());
        until(7).await;
        assert_eq!(resolver.servers.version(Instant::now()), before);
    }

    fn failed() -> Arc<Known> {
        let answer = Answer { addresses: Vec::new(), until: Instant::now(), version: 0 };
        let answer = OnceCell::new_with(Some(answer));
        Arc::new(Known { answer, ..Known::default() })
    }

    #[tokio::test]
    async fn those_who_ask_for_the_same_name_wait_for_one_answer() {
        let resolver = Resolver::default();
        let first = resolver.put("localhost", None, &failed());
        // Both find the failure, one asks.
        let one = resolver.put("localhost", Some(&first), &Arc::default());
        let other = resolver.put("localhost", Some(&first), &Arc::default());
        assert!(Arc::ptr_eq(&one, &other) && !Arc::ptr_eq(&one, &first));
        let (mine, yours) = tokio::join!(resolver.know("localhost"), resolver.know("localhost"));
        assert!(Arc::ptr_eq(&mine, &yours) && Arc::ptr_eq(&mine, &one));
        assert!(!mine.addresses().is_empty());
    }

    #[test]
    fn a_full_cache_keeps_its_names_when_one_of_them_is_renewed() {
        let resolver = Resolver::default();
        let names = (0..NAMES_MAX).map(|number| (number.to_string(), Arc::default()));
        resolver.known.store(Arc::new(names.collect()));
        let first = resolver.known.load().get("0").cloned();
        resolver.put("0", first.as_ref(), &Arc::default());
        assert_eq!(resolver.known.load().size(), NAMES_MAX);
        resolver.put("one more", None, &Arc::default());
        assert_eq!(resolver.known.load().size(), 1);
    }
}
