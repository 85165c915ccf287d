//! A mail server that keeps what it receives: SMTP (RFC 5321) over a real socket, without TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A mail as it came in.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// `name:password`, if the client signed in.
    pub login: Option<String>,
    pub from: String,
    pub to: String,
    /// Headers and body.
    pub text: String,
}

/// A running server; it ends with the test's runtime. It refuses recipients named `refused@…`.
pub struct MailServer {
    pub address: SocketAddr,
    received: Arc<watch::Sender<Vec<Received>>>,
}

impl MailServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let received = Arc::new(watch::Sender::new(Vec::new()));
        let kept = received.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that breaks off has nothing delivered.
                tokio::spawn(serve(stream, kept.clone()));
            }
        });
        Self { address, received }
    }

    /// Mails so far, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// The first mail, waiting until it comes.
    pub async fn first(&self) -> Received {
        let mut mails = self.received.subscribe();
        let some = mails.wait_for(|mails| !mails.is_empty());
        let mails = tokio::time::timeout(Duration::from_secs(30), some).await;
        let mails = mails.expect("a mail within 30 seconds").expect("a server that runs");
        mails.first().cloned().expect("at least one")
    }
}

async fn serve(stream: TcpStream, kept: Arc<watch::Sender<Vec<Received>>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut mail, mut line) = (Received::default(), String::new());
    stream.write_all(b"220 mail.example.com ESMTP\r\n").await?;
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let answer = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => "250-mail.example.com\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "AUTH" => {
                let plain = STANDARD.decode(line.rsplit(' ').next().unwrap_or_default());
                let plain = String::from_utf8(plain.unwrap_or_default()).unwrap_or_default();
                mail.login = plain.strip_prefix('\0').map(|login| login.replace('\0', ":"));
                "235 Welcome"
            }
            "MAIL" => {
                mail.from = address(line);
                "250 OK"
            }
            "RCPT" if address(line).starts_with("refused@") => "550 No such mailbox",
            "RCPT" => {
                mail.to = address(line);
                "250 OK"
            }
            "DATA" => {
                stream.write_all(b"354 Go ahead\r\n").await?;
                mail.text = text(&mut stream).await?;
                kept.send_modify(|mails| mails.push(mail.clone()));
                "250 Taken"
            }
            "RSET" | "NOOP" => "250 OK",
            "QUIT" => {
                return stream.write_all(b"221 Bye\r\n").await;
            }
            _ => "502 Not known here",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

fn address(line: &str) -> String {
    let start = line.find('<').map_or(0, |at| at + 1);
    line.get(start..line.rfind('>').unwrap_or(start)).unwrap_or_default().to_owned()
}

/// The text of an ASCII mail: what was quoted to keep lines short is whole again.
fn readable(text: String) -> String {
    if text.contains("Content-Transfer-Encoding: quoted-printable") {
        text.replace("=\r\n", "").replace("=3D", "=")
    } else {
        text
    }
}

/// Lines up to a single dot; a dot that was doubled on the way is one again.
async fn text(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == ".\r\n" {
            return Ok(readable(text));
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
