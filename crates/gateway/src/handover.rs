//! Handing the listening sockets to a successor, so that a new binary takes over without refusing a
//! single connection: both processes hold the same sockets until the old one lets go.

use std::{
    io::{self, IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixStream as Predecessor},
    },
    path::{Path, PathBuf},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{
    io::{AsyncReadExt, Interest},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

/// Listeners that one message may carry.
const SOCKETS_MAX: usize = 8;
/// What a successor says when it serves.
const SERVING: u8 = b'!';

/// Where a gateway with this data directory meets its successor.
#[must_use]
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("upgrade.sock")
}

/// Waits for a successor; when it serves, `relieved` and then `shutdown` are cancelled.
pub async fn wait(
    path: PathBuf,
    sockets: Vec<TcpListener>,
    shutdown: CancellationToken,
    relieved: CancellationToken,
) {
    tokio::select! {
        outcome = offer(&path, &sockets) => match outcome {
            Ok(()) => {
                tracing::info!("a successor has taken over");
                relieved.cancel();
                shutdown.cancel();
            }
            Err(error) => tracing::warn!(%error, "this gateway cannot be upgraded in place"),
        },
        () = shutdown.cancelled() => {}
    }
}

/// Offers the sockets to whoever connects, until a successor says that it serves.
async fn offer(path: &Path, sockets: &[TcpListener]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Whoever may write in the data directory may take over, and nobody else.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    loop {
        let (successor, _) = listener.accept().await?;
        match relieve(successor, sockets).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::warn!(%error, "a successor gave up"),
        }
    }
}

async fn relieve(mut successor: UnixStream, sockets: &[TcpListener]) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    successor
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut message = SendAncillaryBuffer::new(&mut space);
            if !message.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(io::Error::other("there are too many sockets"));
            }
            let greeting = IoSlice::new(&[SERVING]);
            sendmsg(&successor, &[greeting], &mut message, SendFlags::empty())?;
            Ok(())
        })
        .await?;
    match successor.read_u8().await? {
        SERVING => Ok(()),
        _ => Err(io::Error::other("it does not speak our language")),
    }
}

/// Takes the sockets of a running gateway over. It goes on until it is [dismissed](dismiss), and for
/// good if this process ends before.
pub fn take(path: &Path) -> io::Result<(Vec<TcpListener>, Predecessor)> {
    let predecessor = Predecessor::connect(path)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut greeting = [0];
    let mut buffer = [IoSliceMut::new(&mut greeting)];
    recvmsg(&predecessor, &mut buffer, &mut message, RecvFlags::CMSG_CLOEXEC)?;
    let sockets = message.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let sockets: Vec<OwnedFd> = sockets.flatten().collect();
    if sockets.is_empty() {
        return Err(io::Error::other("the gateway that runs has handed over no sockets"));
    }
    Ok((sockets.into_iter().map(TcpListener::from).collect(), predecessor))
}

/// Tells the gateway from before that this one serves.
pub fn dismiss(mut predecessor: Predecessor) -> io::Result<()> {
    predecessor.write_all(&[SERVING])
}
