//! A socket to one server, opened by ourselves, so that a forked child can close it.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_postgres::config::Host;

use super::url::Server;

/// How long one server may take to accept a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// The message that asks a server for TLS: its length and the code of the request (PostgreSQL, "Message Formats", `SSLRequest`).
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn open(server: &Server) -> std::io::Result<Self> {
        match &server.host {
            Host::Unix(directory) => {
                let stream = UnixStream::connect(directory.join(format!(".s.PGSQL.{}", server.port)))?;
                stream.set_nonblocking(true)?;
                Ok(Self::Unix(stream))
            }
            Host::Tcp(name) => {
                let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
                for address in (name.as_str(), server.port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, CONNECT) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            stream.set_nonblocking(true)?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

/// Asks a server whether it speaks TLS; if so, it awaits the handshake next, else the session in clear.
pub(super) async fn speaks_tls(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<bool> {
    stream.write_all(&TLS_REQUEST).await?;
    match stream.read_u8().await? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        // What it has to say instead comes before anybody is known to be the server, so it is not shown.
        _ => Err(std::io::Error::other("the server cannot say whether it speaks TLS")),
    }
}
