//! An origin that answers what a test wants, and keeps what it was asked.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::harness::local;

/// What is answered to a request, head and body.
type Script = dyn Fn(&str) -> String + Send + Sync;

/// A running origin. It closes every connection after one answer.
pub struct Scripted {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    arrival: Arc<Notify>,
}

impl Scripted {
    /// Answers every request, head and body, with what `script` makes of it.
    pub async fn start(script: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(local()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, arrival) = (Arc::default(), Arc::new(Notify::new()));
        let scripted =
            Self { address, requests: Arc::clone(&requests), arrival: Arc::clone(&arrival) };
        let script: Arc<Script> = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (script, requests, arrival) =
                    (Arc::clone(&script), Arc::clone(&requests), Arc::clone(&arrival));
                tokio::spawn(async move {
                    let Some(request) = read(&mut stream).await else { return };
                    let answer = script(&request);
                    requests.lock().unwrap().push(request);
                    arrival.notify_one();
                    // Whoever asked may be gone.
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        scripted
    }

    /// Answers 200 with these header lines and the number of the request as body.
    pub async fn counting(headers: &'static str) -> Self {
        let count = std::sync::atomic::AtomicUsize::new(1);
        Self::start(move |_| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
            answer("200 OK", headers, &number)
        })
        .await
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until there have been so many requests.
    pub async fn until(&self, count: usize) -> Vec<String> {
        loop {
            let requests = self.requests();
            if requests.len() >= count {
                return requests;
            }
            self.arrival.notified().await;
        }
    }
}

/// A response with a body of known length; `headers` are complete lines.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

/// A request with its body, whose coding is taken off.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let mut buffer = [0; 16_384];
    loop {
        if let Some(request) = complete(&text) {
            return Some(request);
        }
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
}

fn complete(text: &str) -> Option<String> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let lower = head.to_ascii_lowercase();
    if lower.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n").then(|| {
            let pieces = body.split("\r\n").skip(1).step_by(2);
            format!("{head}\r\n\r\n{}", pieces.collect::<String>())
        });
    }
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    (body.len() >= length.unwrap_or(0)).then(|| text.to_owned())
}
