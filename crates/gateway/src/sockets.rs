//! The listening sockets of a gateway: bound here, or taken over from the gateway before.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
};

use crate::{
    handover,
    options::{Bound, Options},
    run::Error,
};

pub struct Sockets {
    pub http: Option<TcpListener>,
    pub https: Option<TcpListener>,
    pub status: Option<TcpListener>,
}

impl Sockets {
    /// Binds the listeners, or takes them over from the gateway that runs.
    pub fn open(options: &Options) -> Result<(Self, Option<UnixStream>), Error> {
        let (mut taken, predecessor) = if options.upgrade {
            let taken = handover::take(&handover::path(&options.data_dir));
            let (sockets, predecessor) = taken.map_err(Error::Upgrade)?;
            (sockets, Some(predecessor))
        } else {
            (Vec::new(), None)
        };
        let mut open = |address: Option<SocketAddr>| {
            let Some(address) = address else { return Ok(None) };
            let same = |socket: &TcpListener| socket.local_addr().is_ok_and(|own| own == address);
            if let Some(index) = taken.iter().position(same) {
                return Ok(Some(taken.swap_remove(index)));
            }
            let bound = TcpListener::bind(address);
            bound.map(Some).map_err(|error| Error::Listen { address, error })
        };
        let sockets = Self {
            http: open(options.http)?,
            https: open(options.https)?,
            status: open(options.status)?,
        };
        Ok((sockets, predecessor))
    }

    /// All of them, for a successor.
    pub fn clones(&self) -> io::Result<Vec<TcpListener>> {
        let all = [&self.http, &self.https, &self.status];
        all.into_iter().flatten().map(TcpListener::try_clone).collect()
    }

    /// The others are closed here: workers have their own.
    pub fn into_status(self) -> Option<TcpListener> {
        self.status
    }

    pub fn bound(&self) -> io::Result<Bound> {
        let address =
            |socket: &Option<TcpListener>| socket.as_ref().map(TcpListener::local_addr).transpose();
        Ok(Bound {
            http: address(&self.http)?,
            https: address(&self.https)?,
            status: address(&self.status)?,
        })
    }
}
