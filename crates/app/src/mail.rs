//! Mail to people, over SMTP if the operator named a server. Not in here: what the mails say.

use std::time::Duration;

use gantry_model::{Error, Result, Secret};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

/// Longest that a mail server may take for a whole mail; callers wait for it.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The server that takes our mail.
#[derive(Clone, Debug)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    /// Name and password, if the server asks for them.
    pub login: Option<(String, Secret)>,
    /// Sender of every mail: `gantry@example.com` or `Gantry <gantry@example.com>`.
    pub from: String,
    pub tls: SmtpTls,
}

/// How the connection to the mail server is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// Not at all: for servers on the same machine or network.
    None,
    /// The connection starts plain and must become TLS before anything is said (usually port 587).
    StartTls,
    /// TLS from the first byte (usually port 465).
    Implicit,
}

/// A mail in plain text.
#[derive(Clone, Debug)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub text: String,
}

/// What became of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Delivery {
    /// The mail server has taken it.
    Sent,
    /// No mail server was named: say in another way what the mail would have said.
    NotConfigured,
}

/// Sends mails. Its callers do so after their transaction, and not in dry runs.
pub(crate) struct Mailer(Option<Sender>);

struct Sender {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    timeout: Duration,
}

impl Mailer {
    pub(crate) fn new(smtp: Option<&Smtp>) -> Result<Self> {
        let Some(Smtp { host, port, login, from, tls }) = smtp else { return Ok(Self(None)) };
        let from: Mailbox = from.parse().map_err(|reason| {
            Error::internal(format!("`{from}` is not an address to send mail from: {reason}"))
        })?;
        let trusted = || TlsParameters::new(host.clone()).map_err(Error::internal);
        let tls = match tls {
            SmtpTls::None => Tls::None,
            SmtpTls::StartTls => Tls::Required(trusted()?),
            SmtpTls::Implicit => Tls::Wrapper(trusted()?),
        };
        // "Dangerous" is only the default of this builder, which is no TLS; it is set here.
        let mut transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(*port).tls(tls);
        if let Some((name, password)) = login {
            let password = password.expose().to_owned();
            transport = transport.credentials(Credentials::new(name.clone(), password));
        }
        Ok(Self(Some(Sender { transport: transport.build(), from, timeout: TIMEOUT })))
    }

    /// Whether there is a server to send mail.
    pub(crate) fn is_configured(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a mail to the server and waits until it has taken it.
    pub(crate) async fn send(&self, mail: Mail) -> Result<Delivery> {
        let Some(Sender { transport, from, timeout }) = &self.0 else {
            return Ok(Delivery::NotConfigured);
        };
        let Mail { to, subject, text } = mail;
        let to: Mailbox = to.parse().map_err(|_| {
            Error::invalid_field("email", "must be an address that mail can be sent to", "")
        })?;
        let message = Message::builder().from(from.clone()).to(to).subject(subject);
        // A long line is sent in an encoding that readers only undo for a MIME part.
        let message = message.singlepart(SinglePart::plain(text));
        // The transport's own limit is for connecting only.
        let sending = transport.send(message.map_err(Error::internal)?);
        let sent = tokio::time::timeout(*timeout, sending).await;
        let sent = sent.map_err(|_| Error::internal("the mail server did not answer in time"))?;
        sent.map_err(Error::internal)?;
        Ok(Delivery::Sent)
    }
}

#[cfg(test)]
mod tests {
    use gantry_testkit::smtp::MailServer;

    use super::*;

    fn mail() -> Mail {
        Mail {
            to: "alice@example.com".into(),
            subject: "Grüße".into(),
            text: "https://gantry.example.com/x?token=1\n.\nend".into(),
        }
    }

    fn smtp(server: &MailServer, tls: SmtpTls) -> Smtp {
        let address = server.address;
        Smtp {
            host: address.ip().to_string(),
            port: address.port(),
            login: Some(("mailer".into(), Secret::new("mail-password"))),
            from: "Gantry <gantry@example.com>".into(),
            tls,
        }
    }

    #[tokio::test]
    async fn a_mail_arrives_as_it_was_written() {
        let server = MailServer::start().await;
        let mailer = Mailer::new(Some(&smtp(&server, SmtpTls::None))).unwrap();
        assert_eq!(mailer.send(mail()).await.unwrap(), Delivery::Sent);
        let received = server.received();
        let [one] = received.as_slice() else { panic!("{received:?}") };
        assert_eq!(one.login.as_deref(), Some("mailer:mail-password"));
        assert_eq!(
            (one.from.as_str(), one.to.as_str()),
            ("gantry@example.com", "alice@example.com")
        );
        assert!(one.text.contains("Subject: =?utf-8?b?R3LDvMOfZQ==?="), "{}", one.text);
        assert!(
            one.text.contains("\r\n\r\nhttps://gantry.example.com/x?token=1\r\n.\r\nend\r\n"),
            "{:?}",
            one.text
        );
    }

    #[tokio::test]
    async fn nothing_is_said_to_a_server_without_the_tls_that_was_asked_for() {
        gantry_testkit::client::use_ring();
        let server = MailServer::start().await;
        let mailer = Mailer::new(Some(&smtp(&server, SmtpTls::StartTls))).unwrap();
        assert!(mailer.send(mail()).await.is_err());
        assert!(server.received().is_empty());
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let smtp = Smtp {
            host: address.ip().to_string(),
            port: address.port(),
            login: None,
            from: "gantry@example.com".into(),
            tls: SmtpTls::None,
        };
        let mut mailer = Mailer::new(Some(&smtp)).unwrap();
        if let Some(sender) = &mut mailer.0 {
            sender.timeout = Duration::from_millis(1);
        }
        let sending = mailer.send(mail());
        let refused = tokio::time::timeout(TIMEOUT, sending).await.expect("it gives up by itself");
        let refused = refused.unwrap_err();
        let told = std::error::Error::source(&refused).unwrap().to_string();
        assert!(told.contains("in time"), "{told}");
    }

    #[tokio::test]
    async fn a_refused_address_is_an_error_and_no_server_is_none() {
        let server = MailServer::start().await;
        let mailer = Mailer::new(Some(&smtp(&server, SmtpTls::None))).unwrap();
        let refused = Mail { to: "refused@example.com".into(), ..mail() };
        assert!(mailer.send(refused).await.is_err());
        let injected = Mail { to: "a@example.com\r\nBcc: b@example.com".into(), ..mail() };
        assert!(mailer.send(injected).await.is_err());
        assert!(server.received().is_empty());
        let none = Mailer::new(None).unwrap();
        assert_eq!(none.send(mail()).await.unwrap(), Delivery::NotConfigured);
        let nobody = Smtp { from: "nobody".into(), ..smtp(&server, SmtpTls::None) };
        assert!(Mailer::new(Some(&nobody)).is_err());
    }
}
