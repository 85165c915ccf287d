//! A server that answers as a test tells it, and remembers what it was asked.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::harness::local;

/// A running stand-in; it ends with the test's runtime.
pub struct StandIn {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    /// Starts a server that answers each request, given as it came, with a status line's end such
    /// as `200 OK`, header lines, and a body.
    pub async fn start(
        answer: impl Fn(&str) -> (&'static str, &'static str, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(local()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (noted, answer) = (Arc::clone(&heard), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                tokio::spawn(async move {
                    while let Some(request) = read(&mut stream).await {
                        let (status, headers, body) = answer(&request);
                        noted.lock().unwrap().push(request);
                        let length = body.len();
                        let head =
                            format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}");
                        let text = format!("{head}\r\n\r\n{body}");
                        let _ = stream.write_all(text.as_bytes()).await;
                    }
                });
            }
        });
        Self { address, heard }
    }

    /// The requests so far, each as it came.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// The next request of a connection, with its body if it declares one.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let declared = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= declared.map_or(0, |length| length.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
}
