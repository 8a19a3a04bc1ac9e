//! A receiver of OTLP over HTTP that keeps the bytes as they come: one for all, a path for each sender.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

static ADDRESS: LazyLock<SocketAddr> = LazyLock::new(serve);
static KEPT: LazyLock<Mutex<HashMap<usize, Vec<u8>>>> = LazyLock::new(Mutex::default);

/// One sender's place at the receiver.
#[derive(Debug)]
pub(crate) struct Mailbox(usize);

impl Mailbox {
    /// A new one, empty.
    pub(crate) fn open() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/{}", *ADDRESS, self.0)
    }

    /// Everything that came, one body after the other.
    pub(crate) fn received(&self) -> Vec<u8> {
        KEPT.lock().unwrap().get(&self.0).cloned().unwrap_or_default()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        KEPT.lock().unwrap().remove(&self.0);
    }
}

fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A sender that breaks off has its own reasons; what came until then is kept.
            std::thread::spawn(move || while receive(&stream).is_some() {});
        }
    });
    address
}

/// Takes one request of a connection.
fn receive(mut stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mailbox = line.split(['/', ' ']).nth(2)?.parse().ok()?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().ok()?
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    KEPT.lock().unwrap().entry(mailbox).or_default().extend(body);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()
}
